/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * File systems that become read-only, or are unmounted, while files of theirs are registered: the whole of it, not a
 * mount of it as in the matrix (matrix.h). Nobody waits, and nothing is taken back.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "process.h"
#include "service.h"
#include "subject.h"

static const char *folder;

static void mend(void) {
        char text[96];

        (void)snprintf(text, sizeof text, "mount -o remount,rw %s", folder);
        (void)!system(text);
}

static void remount(const char *options) {
        char text[96];

        (void)snprintf(text, sizeof text, "mount -o remount,%s %s", options, folder);
        command(text);
}

static bool is_read_only(void) {
        struct statvfs sfs;

        CHECK_CALL(statvfs(folder, &sfs));
        return sfs.f_flag & ST_RDONLY;
}

static void expect_readable(struct subject *s) {
        memset(s->f.rdma.buffer, 0, SUBJECT_LENGTH);
        CHECK_EQUAL(rdma_read(&s->f.rdma, s->reply.iova, s->reply.rkey, SUBJECT_LENGTH), IBV_WC_SUCCESS);
        CHECK_EQUAL(memcmp(s->f.rdma.buffer, s->memory.start, SUBJECT_LENGTH), 0);
}

/* By an app that has opened its file for reading, so that it does not stand in the way. */
static void run_read_only(const void *argument) {
        struct subject s = { .f = fixture_open(NULL) };
        struct pl_register request;

        folder = argument;
        at_failure(mend);
        s.memory = subject_file(folder, s.path, SUBJECT_LENGTH);
        memset(s.memory.start, 'x', SUBJECT_LENGTH);
        memory_free(&s.memory);
        s.memory.length = SUBJECT_LENGTH;
        s.memory.fd = CHECK_CALL(open(s.path, O_RDONLY | O_CLOEXEC));
        s.memory.start = mmap(NULL, SUBJECT_LENGTH, PROT_READ, MAP_SHARED | MAP_POPULATE, s.memory.fd, 0);
        CHECK(s.memory.start != MAP_FAILED);
        rdma_connect(&s.f.rdma);
        request = fixture_request(&s.f, &s.memory, PINLEASE_METHOD_ODP);
        request.access = ACCESS_READ;
        s.reply = raw_register(&s.f.raw, &request, s.memory.fd);
        subject_expect_lease(&s.reply);
        expect_readable(&s);

        remount("ro");
        CHECK(is_read_only());
        CHECK_EQUAL(raw_expect_notice(&s.f.raw, PL_NOTICE_READ_ONLY).body.notice.id, s.reply.id);
        expect_readable(&s);

        /* Registered on it, and given back. */
        raw_deregister(&s.f.raw, s.reply.id);
        s.reply = raw_register(&s.f.raw, &request, s.memory.fd);
        expect_readable(&s);

        remount("rw");
        CHECK(!is_read_only());
        expect_readable(&s);
        subject_expect_waits(&s);
        subject_free(&s);
}

/* Somebody may write, so it stays as it is. */
static void run_busy(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct session session = session_of(getpid());
        char text[96];

        folder = argument;
        at_failure(mend);
        (void)snprintf(text, sizeof text, "mount -o remount,ro %s; test $? = 32", folder);
        command(text);
        CHECK(!is_read_only());
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        raw_ping(&s.f.raw);
        CHECK_EQUAL(session_of(getpid()).registrar, session.registrar);
        subject_expect_waits(&s);
        subject_free(&s);
}

/* --- unmounted --- */

#define IMAGE "/mnt/tmpfs/pl-image"
#define MOUNT "/run/pl-remount"

static bool is_gone(const void *unused _unused_) {
        char line[128];

        command_line("losetup --noheadings --output NAME --associated " IMAGE, line, sizeof line);
        return !line[0];
}

static void unmount(void) {
        (void)!system("umount -l " MOUNT "; rm -f " IMAGE);
}

/* Nobody can open it any more; whoever has it open has it, and is what keeps it. */
static void run_unmounted(const void *argument _unused_) {
        struct subject s;

        at_failure(unmount);
        command("modprobe loop && truncate -s 32M " IMAGE " && mkfs.ext4 -q -b 4096 " IMAGE " && mkdir -p " MOUNT
                " && mount -o loop " IMAGE " " MOUNT);
        s = subject_new(MOUNT, NULL);
        CHECK(!is_gone(NULL));
        command("umount -l " MOUNT);
        CHECK_EQUAL(raw_expect_notice(&s.f.raw, PL_NOTICE_UNMOUNTED).body.notice.id, s.reply.id);
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        CHECK(!is_gone(NULL));

        raw_deregister(&s.f.raw, s.reply.id);
        CHECK_CALL(munmap(s.memory.start, s.memory.length));
        close(s.memory.fd);
        /* The app's session goes on, and has nothing of it. */
        CHECK(eventually(is_gone, NULL));
        raw_ping(&s.f.raw);
        fixture_close(&s.f);
        command("rm " IMAGE " && rmdir " MOUNT);
}

const struct test_case cases_remount[] = {
        { "remount: ext4-dax becomes read-only", run_read_only, "/mnt/ext4-dax", 0 },
        { "remount: xfs-dax becomes read-only", run_read_only, "/mnt/xfs-dax", 0 },
        { "remount: ext4 becomes read-only", run_read_only, "/mnt/ext4", 0 },
        { "remount: xfs becomes read-only", run_read_only, "/mnt/xfs", 0 },
        { "remount: tmpfs becomes read-only", run_read_only, "/mnt/tmpfs", 0 },
        { "remount: ext4-dax is registered for writing", run_busy, "/mnt/ext4-dax", 0 },
        { "remount: xfs-dax is registered for writing", run_busy, "/mnt/xfs-dax", 0 },
        { "remount: ext4 is registered for writing", run_busy, "/mnt/ext4", 0 },
        { "remount: tmpfs is registered for writing", run_busy, "/mnt/tmpfs", 0 },
        { "remount: a file system is lazily unmounted", run_unmounted, NULL, 0 },
        { 0 },
};
