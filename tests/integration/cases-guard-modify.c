/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the guard `modify` finds out about every change of a file on every file system, by this kernel. Without the service: the guard
 * itself is linked in. */

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "guards.h"
#include "harness.h"
#include "memory.h"

#define UNITS 8

static struct {
        struct guards guards;
        struct guarded file;
        struct mapping_table mappings;
        struct mapping *mapping;
        struct memory memory;
        uint64_t unit;
        char said[512];
} g;

void guards_report(struct guards *guards _unused_, struct guarded *file _unused_, const struct guard_report *report) {
        static const char *const names[] = {
                [GUARD_UNLINKED] = "unlinked ", [GUARD_UNMOUNTED] = "unmounted ", [GUARD_REMOUNTED] = "remounted ",
                [GUARD_ACTIVITY] = "", [GUARD_CHANGED] = "changed",
        };
        size_t n = strlen(g.said);

        n += (size_t)snprintf(g.said + n, sizeof g.said - n, "%s", names[report->kind]);
        if (report->kind != GUARD_CHANGED)
                return;
        CHECK_EQUAL(report->offset % g.unit, 0);
        if (report->length == UINT64_MAX)
                (void)snprintf(g.said + n, sizeof g.said - n, "(%u-) ", (unsigned int)(report->offset / g.unit));
        else
                (void)snprintf(g.said + n,
                               sizeof g.said - n,
                               "(%u-%u) ",
                               (unsigned int)(report->offset / g.unit),
                               (unsigned int)((report->offset + report->length) / g.unit));
}

static void arm(int fd) {
        g.guards = (struct guards) { .inotify = -1, .first = &g.file, .config.mappings = &g.mappings };
        g.file = (struct guarded) { .fd = fd, .modify.watch = -1 };
        CHECK_EQUAL(pl_fdclass_get(fd, &g.file.class), 0);
        CHECK_EQUAL(guard_modify.arm(&g.guards, &g.file), PINLEASE_GUARD_HOLDS);
}

/* All that has come, and what a look every few seconds finds. */
static const char *turn(void) {
        struct pollfd p = { .fd = guard_modify.fd(&g.guards), .events = POLLIN };

        g.said[0] = 0;
        for (g.file.modify.not_before = 0; poll(&p, 1, 0) == 1; g.file.modify.not_before = 0)
                CHECK_EQUAL(guard_modify.event(&g.guards), 0);
        CHECK_EQUAL(guard_modify.look(&g.guards, &g.file), PINLEASE_GUARD_HOLDS);
        return g.said;
}

static void expect(const char *what, const char *should) {
        const char *said = turn();

        if (strcmp(said, should) != 0)
                FAIL("%s: told \"%s\", should be \"%s\"", what, said, should);
}

/* A file of UNITS pages, in its place, all there. As the registrar has it: mapped, and by a process that nobody may look into. */
static void begin(enum memory_kind kind) {
        struct mapping_request request = { .offset = 0, .writable = true };
        uint64_t start;

        g.unit = kind == MEMORY_HUGETLB ? UINT64_C(2) << 20 : 4096;
        g.memory = memory_new(kind, UNITS * g.unit);
        memset(g.memory.start, 1, g.memory.length);
        CHECK_CALL(fsync(g.memory.fd));
        CHECK_CALL(prctl(PR_SET_DUMPABLE, 0));
        arm(g.memory.fd);
        request.class = &g.file.class;
        request.fd = g.memory.fd;
        request.length = g.memory.length;
        CHECK_EQUAL(mapping_get(&g.mappings, &request, &g.mapping, &start), 0);
        memset((void *)(uintptr_t)start, 1, g.memory.length);
        expect("nothing", "");
}

static void end(void) {
        g.mapping = mapping_put(&g.mappings, g.mapping);
        memory_free(&g.memory);
        guard_modify.disarm(&g.guards, &g.file);
        guard_modify.done(&g.guards);
}

struct change {
        const char *name;
        int mode; /* of fallocate(); or one of these */
        uint64_t first, n;
        const char *told[N_MEMORY_KINDS]; /* NULL: it is not possible there */
};

enum { WRITE = -1, APPEND = -2, TRUNCATE = -3, CLONE = -4, CLONED = -5, CHMOD = -6, TRUNCATE_GROW = -7 };

#define ALL(what) { what, what, what, what, what, what, what }
#define ON_DISK(what) { [MEMORY_EXT4_DAX] = what, [MEMORY_XFS_DAX] = what, [MEMORY_EXT4] = what, [MEMORY_XFS] = what }

static const struct change changes[] = {
        { "write", WRITE, 1, 1, { "", "", NULL, "", "", "", "" } },
        { "append", APPEND, 8, 1, { "", "", NULL, "", "", "", "" } },
        { "grow", TRUNCATE, 9, 0, ALL("") },
        { "truncate", TRUNCATE, 5, 0, ALL("changed(5-) ") },
        { "truncate and grow", TRUNCATE_GROW, 5, 8, ALL("changed(5-8) ") },
        { "chmod", CHMOD, 0, 0, ALL("") },
        { "allocate", 0, 0, 12, ALL("") },
        { "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 1, ALL("changed(2-3) ") },
        { "collapse", FALLOC_FL_COLLAPSE_RANGE, 2, 1, ON_DISK("changed(2-) ") },
        { "insert", FALLOC_FL_INSERT_RANGE, 2, 1, ON_DISK("changed(2-8) ") },
        /* On ext4 the blocks are as many as before, and who writes may not be waited for: nothing tells. */
        { "zero", FALLOC_FL_ZERO_RANGE, 5, 1,
          { [MEMORY_EXT4_DAX] = "changed(5-6) ", [MEMORY_XFS_DAX] = "changed(5-6) ", [MEMORY_EXT4] = "", [MEMORY_XFS] = "changed(5-6) " } },
        { "clone onto", CLONE, 0, 0, { [MEMORY_XFS_DAX] = "changed(0-8) ", [MEMORY_XFS] = "changed(0-8) " } },
        /* What is shared moves when it is written to: on persistent memory that is the memory itself. */
        { "clone from, write", CLONED, 3, 1, { [MEMORY_XFS_DAX] = "changed(3-4) ", [MEMORY_XFS] = "" } },
};

static void clone_it(const struct change *c, enum memory_kind kind) {
        struct memory other = memory_new(kind, UNITS * g.unit);
        char page[4096] = "x";

        CHECK_CALL(fsync(other.fd));
        if (c->mode == CLONE)
                CHECK_CALL(ioctl(g.memory.fd, FICLONE, other.fd));
        else {
                CHECK_CALL(ioctl(other.fd, FICLONE, g.memory.fd));
                expect("clone from", "");
                CHECK_EQUAL(pwrite(g.memory.fd, page, sizeof page, (off_t)(c->first * g.unit)), sizeof page);
                CHECK_CALL(fsync(g.memory.fd));
        }
        memory_free(&other);
}

static void make(const struct change *c, enum memory_kind kind) {
        int fd = g.memory.fd;
        off_t first = (off_t)(c->first * g.unit), n = (off_t)(c->n * g.unit);
        char page[4096] = "x";

        switch (c->mode) {
        case WRITE:
        case APPEND:
                CHECK_EQUAL(pwrite(fd, page, sizeof page, first), sizeof page);
                break;
        case TRUNCATE:
                CHECK_CALL(ftruncate(fd, first));
                break;
        case TRUNCATE_GROW:
                CHECK_CALL(ftruncate(fd, first));
                CHECK_CALL(ftruncate(fd, n));
                break;
        case CHMOD:
                CHECK_CALL(fchmod(fd, 0640));
                break;
        case CLONE:
        case CLONED:
                clone_it(c, kind);
                break;
        default:
                CHECK_CALL(fallocate(fd, c->mode, first, n));
        }
}

static void run_changes(const void *argument) {
        enum memory_kind kind = (enum memory_kind)(uintptr_t)argument;

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                const struct change *c = changes + i;

                if (!c->told[kind])
                        continue;
                begin(kind);
                make(c, kind);
                expect(c->name, c->told[kind]);
                expect("after that", "");
                end();
        }
}

/* Of its own, so that it may be unmounted. */
static void run_mount(const void *argument _unused_) {
        static const char folder[] = "/run/pl-guard-modify";
        char path[64];
        int fd;

        g.unit = 4096;
        CHECK_CALL(mkdir(folder, 0755));
        CHECK_CALL(mount("none", folder, "tmpfs", 0, NULL));
        close(memory_file(folder, path, UNITS * g.unit));
        fd = CHECK_CALL(open(path, O_RDONLY | O_CLOEXEC));
        arm(fd);
        expect("nothing", "");
        CHECK_CALL(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL));
        expect("remount", "remounted ");
        expect("after that", "");
        CHECK_CALL(mount(NULL, folder, NULL, MS_REMOUNT, NULL));
        expect("remount for writing", "");
        CHECK_CALL(unlink(path));
        expect("unlink", "unlinked ");
        CHECK_CALL(umount2(folder, MNT_DETACH));
        expect("lazy unmount", "unmounted ");
        expect("after that", "");
        guard_modify.disarm(&g.guards, &g.file);
        guard_modify.done(&g.guards);
        close(fd);
        CHECK_CALL(rmdir(folder));
}

#define CHANGES(name, kind) { "guard modify: " name, run_changes, (const void *)(uintptr_t)(kind), 0 }

const struct test_case cases_guard_modify[] = {
        CHANGES("memfd", MEMORY_MEMFD),
        CHANGES("tmpfs", MEMORY_TMPFS),
        CHANGES("hugetlbfs", MEMORY_HUGETLB),
        CHANGES("ext4 with DAX", MEMORY_EXT4_DAX),
        CHANGES("xfs with DAX", MEMORY_XFS_DAX),
        CHANGES("ext4", MEMORY_EXT4),
        CHANGES("xfs", MEMORY_XFS),
        { "guard modify: remount, unlink, lazy unmount", run_mount, NULL, 0 },
        { .name = NULL },
};
