/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * inotify(7): told after a change, whoever has made it. What has changed is found by comparing the file with what it was before, see
 * layout.h. Of a memfd the kernel (7.3) tells of truncation only, so what is punched out of one is found when it is looked at.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "guards.h"
#include "util.h"

#define EVENTS                                                                                                                   \
        (IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE | IN_DELETE_SELF | IN_MOVE_SELF)

/* Those after which the layout may be another. An exchange of blocks with another file (EXT4_IOC_MOVE_EXT) is seen by the close
 * only, of whoever has opened the file for it. */
#define MAY_CHANGE (IN_MODIFY | IN_CLOSE_WRITE)

/* No file is compared more often, nor for more than a tenth of the time. */
#define COMPARE_MS 20
#define COMPARE_SHARE 10

/* How long who punches a hole may take from its first step to the last. */
#define DOUBT_MS 1000

/* Events that are read at once: the kernel makes one of those that are the same and follow each other. And how often in a
 * turn; what is still there then comes with the next. */
#define BUFFER_SIZE 4096
#define BUFFERS     16

/* Who writes to a file all the time shall not keep us busy all the time: events that come within this time after others, and
 * within ten times of what those have cost, are taken together. */
#define REST_MS    5
#define REST_SHARE 10

static void tell(struct guards *guards, struct guarded *file, enum guard_report_kind kind, uint64_t offset, uint64_t length) {
        const struct guard_report report = { .kind = kind, .guard = GUARD_MODIFY, .offset = offset, .length = length };

        guards_report(guards, file, &report);
}

/* --- comparing ---------------------------------------------------------------------------------------------------------- */

struct teller {
        struct guards *guards;
        struct guarded *file;
};

static void tell_lost(void *userdata, uint64_t offset, uint64_t length) {
        const struct teller *teller = userdata;

        tell(teller->guards, teller->file, GUARD_CHANGED, offset, length);
}

/* At once, whatever the rest costs. */
static void compare_size(struct guards *guards, struct guarded *file) {
        struct layout *before = &file->modify.layout;
        uint64_t size, blocks;

        if (layout_stat(file->fd, &size, &blocks) < 0 || size >= before->size)
                return;
        before->size = size;
        tell(guards, file, GUARD_CHANGED, size, UINT64_MAX);
}

static uint64_t bytes_of(const struct layout *layout) {
        uint64_t n = 0;

        for (size_t i = 0; i < layout->n_extents; i++)
                n += layout->extents[i].length;
        return n;
}

/*
 * Who punches a hole into huge pages first takes it out of all page tables, and then makes the file smaller. Seen in between, it is
 * a hole that does not count yet (layout.h), and would never if that became what the next look is compared with. So it does only when
 * it has stayed like that for a while: then nobody has ever touched those pages here.
 */
static bool is_doubtful(struct guarded *file, const struct layout *now) {
        const struct layout *before = &file->modify.layout;
        bool doubtful = file->class.kind == PL_FD_HUGETLB && before->known && now->known && now->size >= before->size &&
                now->blocks >= before->blocks && bytes_of(now) < bytes_of(before);

        if (!doubtful) {
                file->modify.doubted = 0;
                return false;
        }
        if (!file->modify.doubted)
                file->modify.doubted = pl_now_ms();
        if (pl_now_ms() < file->modify.doubted + DOUBT_MS)
                return true;
        file->modify.doubted = 0;
        return false;
}

static void compare(struct guards *guards, struct guarded *file) {
        struct teller teller = { .guards = guards, .file = file };
        uint64_t begun = pl_now_ms(), ended;
        struct layout before, now;
        int r;

        file->modify.due = 0;
        r = layout_read(file->fd, &file->class, guards->config.mappings, &now);
        ended = pl_now_ms();
        file->modify.not_before = ended + COMPARE_MS + COMPARE_SHARE * (ended - begun);
        if (r < 0) {
                compare_size(guards, file);
                file->modify.due = file->modify.not_before;
                return;
        }

        if (is_doubtful(file, &now)) {
                layout_done(&now);
                file->modify.due = file->modify.not_before + DOUBT_MS / 10;
                return;
        }
        before = file->modify.layout;
        file->modify.layout = now;
        layout_compare(&file->class, &before, &now, tell_lost, &teller);
        layout_done(&before);
}

static void compare_soon(struct guards *guards, struct guarded *file) {
        if (pl_now_ms() >= file->modify.not_before)
                compare(guards, file);
        else {
                compare_size(guards, file);
                file->modify.due = pl_earlier(file->modify.due, file->modify.not_before);
        }
}

/*
 * Pages come without an event. Those that have come since the file was looked at, and are registered now, are not missed
 * when they go unless it is known that they were there.
 */
static void modify_cover(struct guards *guards, struct guarded *file, uint64_t offset, uint64_t length) {
        if (file->modify.watch >= 0 && !layout_has(&file->modify.layout, offset, length))
                compare(guards, file);
}

static unsigned int names_left(const struct guarded *file) {
        struct statx sx;

        return statx(file->fd, "", AT_EMPTY_PATH, STATX_NLINK, &sx) < 0 ? 1 : sx.stx_nlink;
}

/* The last unlink is IN_ATTRIB: IN_DELETE_SELF comes when the last descriptor goes, and there is one here. */
static void look_at_names(struct guards *guards, struct guarded *file) {
        bool unlinked = names_left(file) == 0;

        if (unlinked && !file->modify.unlinked)
                tell(guards, file, GUARD_UNLINKED, 0, UINT64_MAX);
        file->modify.unlinked = unlinked;
}

static bool is_read_only(const struct guarded *file) {
        struct statfs sfs;

        return fstatfs(file->fd, &sfs) == 0 && (unsigned long)sfs.f_flags & ST_RDONLY;
}

/* --- beginning, ending ------------------------------------------------------------------------------------------------- */

static int why_not(int error) {
        switch (error) {
        case ENOSPC: /* watches, of this user */
        case EMFILE: /* instances, of this user; descriptors */
        case ENFILE:
        case ENOMEM:
                return PINLEASE_GUARD_NO_RESOURCES;
        default: /* EACCES: whose session this is may not read the file; the kernel has no inotify */
                return PINLEASE_GUARD_UNSUPPORTED;
        }
}

static int modify_arm(struct guards *guards, struct guarded *file) {
        char path[32];

        if (pl_fdclass_is_fixed(&file->class))
                return PINLEASE_GUARD_NOT_FOR_THIS;
        if (file->fd < 0)
                return guard_without_fd(file);
        if (file->modify.watch >= 0)
                return PINLEASE_GUARD_HOLDS;

        if (guards->inotify < 0)
                guards->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (guards->inotify < 0)
                return why_not(errno);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
        file->modify.watch = inotify_add_watch(guards->inotify, path, EVENTS);
        if (file->modify.watch < 0)
                return why_not(errno);

        /* Of huge-page memory nothing is mapped yet: it counts as there, until it is looked at for the first time. */
        layout_done(&file->modify.layout);
        if (layout_read(file->fd, &file->class, NULL, &file->modify.layout) < 0)
                (void)layout_stat(file->fd, &file->modify.layout.size, &file->modify.layout.blocks);
        file->modify.seen = 0;
        file->modify.doubted = 0;
        file->modify.not_before = pl_now_ms() + COMPARE_MS;
        file->modify.due = !file->modify.layout.known || file->class.kind == PL_FD_HUGETLB ? file->modify.not_before : 0;
        file->modify.unlinked = names_left(file) == 0;
        file->modify.read_only = is_read_only(file);
        file->modify.mounted = pl_fdclass_mounted(file->fd) > 0;
        return PINLEASE_GUARD_HOLDS;
}

static void modify_disarm(struct guards *guards, struct guarded *file) {
        if (file->modify.watch >= 0)
                (void)inotify_rm_watch(guards->inotify, file->modify.watch);
        file->modify.watch = -1;
        file->modify.seen = 0;
        file->modify.due = 0;
        layout_done(&file->modify.layout);
}

static void modify_done(struct guards *guards) {
        guards->inotify = pl_close(guards->inotify);
}

/* --- looking ------------------------------------------------------------------------------------------------------------ */

/* inotify(7) tells of neither: IN_UNMOUNT would come when the last descriptor goes. */
static void look_at_mount(struct guards *guards, struct guarded *file) {
        bool read_only = is_read_only(file), mounted = pl_fdclass_mounted(file->fd) > 0;

        if (read_only && !file->modify.read_only)
                tell(guards, file, GUARD_REMOUNTED, 0, UINT64_MAX);
        if (!mounted && file->modify.mounted)
                tell(guards, file, GUARD_UNMOUNTED, 0, UINT64_MAX);
        file->modify.read_only = read_only;
        file->modify.mounted = mounted;
}

static int modify_look(struct guards *guards, struct guarded *file) {
        if (file->modify.watch < 0)
                return modify_arm(guards, file);
        look_at_mount(guards, file);
        look_at_names(guards, file);
        compare_soon(guards, file);
        return PINLEASE_GUARD_HOLDS;
}

/* --- events ------------------------------------------------------------------------------------------------------------- */

static int modify_fd(const struct guards *guards) {
        return pl_now_ms() < guards->inotify_rest ? -1 : guards->inotify;
}

static uint64_t modify_due(const struct guards *guards) {
        uint64_t due = guards->inotify_rest;

        for (const struct guarded *file = guards->first; file; file = file->next)
                due = pl_earlier(due, file->modify.due);
        return due;
}

/* A watch of -1 is that of IN_Q_OVERFLOW: events have been lost, so all files are looked at. */
static void note(struct guards *guards, int watch, uint32_t mask) {
        for (struct guarded *file = guards->first; file; file = file->next)
                if (file->modify.watch >= 0 && (watch < 0 || file->modify.watch == watch))
                        file->modify.seen |= watch < 0 ? IN_MODIFY | IN_ATTRIB : mask;
}

static void handle(struct guards *guards, struct guarded *file) {
        uint32_t seen = file->modify.seen;

        file->modify.seen = 0;
        if (seen & IN_UNMOUNT && file->modify.mounted) {
                file->modify.mounted = false;
                tell(guards, file, GUARD_UNMOUNTED, 0, UINT64_MAX);
        }
        /* The kernel has taken the watch away itself. */
        if (seen & IN_IGNORED)
                file->modify.watch = -1;
        if (seen & IN_ATTRIB)
                look_at_names(guards, file);
        if (seen & MAY_CHANGE)
                compare_soon(guards, file);
        tell(guards, file, GUARD_ACTIVITY, 0, UINT64_MAX);
}

/* Returns whether there were any. */
static bool read_events(struct guards *guards) {
        char buffer[BUFFER_SIZE] __attribute__((aligned(__alignof__(struct inotify_event))));
        bool any = false;

        for (unsigned int i = 0; guards->inotify >= 0 && i < BUFFERS; i++) {
                ssize_t n = read(guards->inotify, buffer, sizeof buffer);

                for (const char *p = buffer; n > 0 && p < buffer + n;) {
                        const struct inotify_event *event = (const void *)p;

                        note(guards, event->wd, event->mask);
                        p += sizeof *event + event->len;
                }
                if (n <= 0)
                        break;
                any = true;
        }
        return any;
}

static int modify_event(struct guards *guards) {
        uint64_t begun = pl_now_us();
        struct guarded *next;
        bool any = read_events(guards);

        for (struct guarded *file = guards->first; file; file = next) {
                next = file->next;
                if (file->modify.seen)
                        handle(guards, file);
                else if (file->modify.due && pl_now_ms() >= file->modify.due)
                        compare(guards, file);
        }
        guards->inotify_rest = any ? pl_now_ms() + REST_MS + REST_SHARE * (pl_now_us() - begun) / 1000 : 0;
        return 0;
}

const struct guard_ops guard_modify = {
        .name = "modify",
        .arm = modify_arm,
        .disarm = modify_disarm,
        .cover = modify_cover,
        .look = modify_look,
        .fd = modify_fd,
        .due = modify_due,
        .event = modify_event,
        .done = modify_done,
};
