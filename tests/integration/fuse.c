/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness.h"

#define FILE_NODE 2
#define FILE_SIZE (1 << 20)

/* Of the case's one connection: so that a failure can free who hangs in it, the failing process first. */
static pid_t server_to_kill;

static void kill_server(void) {
        if (server_to_kill > 0)
                (void)kill(server_to_kill, SIGKILL);
}

static void answer(int device, const struct fuse_in_header *in, int error, const void *body, size_t size) {
        uint8_t buffer[512];
        struct fuse_out_header out = {
                .len = (uint32_t)(sizeof out + size),
                .error = error,
                .unique = in->unique,
        };

        memcpy(buffer, &out, sizeof out);
        if (size > 0)
                memcpy(buffer + sizeof out, body, size);
        (void)!write(device, buffer, out.len);
}

static struct fuse_attr attributes(uint64_t node) {
        return (struct fuse_attr) {
                .ino = node,
                .size = node == FILE_NODE ? FILE_SIZE : 0,
                .mode = node == FILE_NODE ? S_IFREG | 0666 : S_IFDIR | 0777,
                .nlink = 1,
                .blksize = 4096,
        };
}

/* Returns true once the file is open. */
static bool serve_one(int device, const struct fuse_in_header *in, const void *body) {
        switch (in->opcode) {
        case FUSE_INIT: {
                const struct fuse_init_in *init = body;
                struct fuse_init_out out = {
                        .major = FUSE_KERNEL_VERSION,
                        .minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor : FUSE_KERNEL_MINOR_VERSION,
                        .max_write = 65536,
                        .max_background = 8,
                };

                answer(device, in, 0, &out, sizeof out);
                return false;
        }
        case FUSE_LOOKUP: {
                struct fuse_entry_out out = { .nodeid = FILE_NODE, .attr = attributes(FILE_NODE) };

                answer(device, in, 0, &out, sizeof out);
                return false;
        }
        case FUSE_GETATTR: {
                struct fuse_attr_out out = { .attr = attributes(in->nodeid) };

                answer(device, in, 0, &out, sizeof out);
                return false;
        }
        case FUSE_OPEN: {
                struct fuse_open_out out = { .fh = 1 };

                answer(device, in, 0, &out, sizeof out);
                return true;
        }
        default:
                answer(device, in, -ENOSYS, NULL, 0);
                return false;
        }
}

static _Noreturn void serve(int device) {
        static union {
                struct fuse_in_header header;
                uint8_t bytes[FUSE_MIN_READ_BUFFER + 65536];
        } request;
        ssize_t n;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        do {
                n = read(device, &request, sizeof request);
                if (n < 0 && errno != EINTR)
                        FAIL("FUSE server: %m");
        } while (n < 0 || !serve_one(device, &request.header, &request.header + 1));
        for (;;)
                (void)pause();
}

struct fuse fuse_start(bool for_all) {
        struct fuse fuse = { .fd = -1 };
        char options[128];
        int device;

        (void)snprintf(fuse.folder, sizeof fuse.folder, "/run/pl-fuse-%d", (int)getpid());
        CHECK_CALL(mkdir(fuse.folder, 0777));
        device = CHECK_CALL(open("/dev/fuse", O_RDWR | O_CLOEXEC));
        (void)snprintf(options,
                       sizeof options,
                       "fd=%d,rootmode=40000,user_id=0,group_id=0%s",
                       device,
                       for_all ? ",allow_other" : "");
        CHECK_CALL(mount("pl-silent", fuse.folder, "fuse.pl-silent", MS_NOSUID | MS_NODEV, options));

        fuse.server = CHECK_CALL(fork());
        if (fuse.server == 0)
                serve(device);
        server_to_kill = fuse.server;
        at_failure(kill_server);
        /* The server's copy is the last. */
        close(device);
        return fuse;
}

void fuse_open(struct fuse *fuse) {
        char path[96];

        (void)snprintf(path, sizeof path, "%s/file", fuse->folder);
        fuse->fd = CHECK_CALL(open(path, O_RDWR | O_CLOEXEC));
}

void fuse_abort(struct fuse *fuse) {
        CHECK_CALL(kill(fuse->server, SIGKILL));
        CHECK_CALL(waitpid(fuse->server, NULL, 0));
        server_to_kill = 0;
        fuse->fd = pl_close(fuse->fd);
        CHECK_CALL(umount2(fuse->folder, MNT_DETACH));
        CHECK_CALL(rmdir(fuse->folder));
}
