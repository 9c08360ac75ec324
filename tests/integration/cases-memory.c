/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests to register what cannot be registered, or not so. Each is refused by its own code; the session goes on. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "dmabuf.h"
#include "fixture.h"
#include "harness.h"
#include "process.h"

#define PAGE 4096

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

struct wrong {
        int (*make)(void);                          /* what is passed instead of a memfd */
        void (*twist)(struct pl_register *request); /* what is asked of it */
        enum pinlease_code code;
        bool ends; /* the session does */
};

/* --- descriptors --- */

static int make_pipe(void) {
        int p[2];

        return pipe2(p, O_CLOEXEC) < 0 ? -1 : p[0];
}
static int make_socket(void) {
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static int make_unix_socket(void) {
        return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}
static int make_path(void) {
        char path[64];
        int fd = memory_file("/mnt/tmpfs", path, 16 * PAGE);

        close(fd);
        fd = open(path, O_PATH | O_CLOEXEC);
        (void)unlink(path);
        return fd;
}
static int make_tmpfs_directory(void) {
        return open("/mnt/tmpfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
static int make_ext4_directory(void) {
        return open("/mnt/ext4", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
static int make_eventfd(void) {
        return eventfd(0, EFD_CLOEXEC);
}
static int make_epoll(void) {
        return epoll_create1(EPOLL_CLOEXEC);
}
static int make_block_device(void) {
        return open("/dev/ram0", O_RDONLY | O_CLOEXEC);
}
static int make_devdax(void) {
        return open("/dev/dax0.0", O_RDWR | O_CLOEXEC);
}
static int make_devdax_read_only(void) {
        return open("/dev/dax0.0", O_RDONLY | O_CLOEXEC);
}
static int make_zero(void) {
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
}
static int make_verbs(void) {
        return rdma_open("rxe_a").context->cmd_fd;
}
static int make_dmabuf(void) {
        return dmabuf_of_heap(16 * PAGE).fd;
}
/* A file that is called like one. */
static int make_called_dmabuf(void) {
        int fd = open("/mnt/tmpfs/dmabuf:", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        (void)unlink("/mnt/tmpfs/dmabuf:");
        return fd < 0 || ftruncate(fd, 16 * PAGE) < 0 ? -1 : fd;
}
/* The guest's root is an overlay. */
static int make_overlay(void) {
        char path[64];
        int fd = memory_file("/var/tmp", path, 16 * PAGE);

        (void)unlink(path);
        return fd;
}
static int make_proc(void) {
        return open("/proc/self/status", O_RDONLY | O_CLOEXEC);
}
static int make_memfd_of(int flags, unsigned int seals, bool present) {
        char path[64];
        static const uint8_t zeros[16 * PAGE];
        int memory, fd;

        memory = memfd_create("pl-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (memory < 0 || ftruncate(memory, 16 * PAGE) < 0 ||
            (present && pwrite(memory, zeros, sizeof zeros, 0) != sizeof zeros) ||
            (seals && fcntl(memory, F_ADD_SEALS, seals) < 0))
                return -1;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
        fd = open(path, flags | O_CLOEXEC);
        close(memory);
        return fd;
}
static int make_read_only(void) {
        return make_memfd_of(O_RDONLY, 0, true);
}
static int make_write_only(void) {
        return make_memfd_of(O_WRONLY, 0, true);
}
static int make_sealed(void) {
        return make_memfd_of(O_RDWR, F_SEAL_WRITE, true);
}
static int make_future_sealed(void) {
        return make_memfd_of(O_RDWR, F_SEAL_FUTURE_WRITE, true);
}
/* Never touched: every page is a hole. */
static int make_hole(void) {
        return make_memfd_of(O_RDWR, 0, false);
}
static int make_on(const char *folder) {
        char path[64];
        int fd = memory_file(folder, path, 16 * PAGE);

        (void)unlink(path);
        CHECK_EQUAL(posix_fallocate(fd, 0, 16 * PAGE), 0);
        return fd;
}
static int make_ext4_dax(void) {
        return make_on("/mnt/ext4-dax");
}
static int make_xfs_dax(void) {
        return make_on("/mnt/xfs-dax");
}
static int make_ext4(void) {
        return make_on("/mnt/ext4");
}
static int make_xfs(void) {
        return make_on("/mnt/xfs");
}

/* --- requests --- */

static void offset_overflows(struct pl_register *r) {
        r->offset = UINT64_MAX - PAGE + 1;
        r->length = 2 * PAGE;
}
static void offset_negative(struct pl_register *r) {
        r->offset = (uint64_t)INT64_MAX + 1;
}
static void address_overflows(struct pl_register *r) {
        r->address = UINT64_MAX - PAGE + 1;
        r->length = 2 * PAGE;
}
static void address_at_the_top(struct pl_register *r) {
        r->address = UINT64_MAX - 2 * PAGE + 1;
        r->length = 2 * PAGE - 1;
}
static void length_huge(struct pl_register *r) {
        r->length = UINT64_MAX;
}
static void one_beyond(struct pl_register *r) {
        r->length = 16 * PAGE + 1;
}
static void offset_beyond(struct pl_register *r) {
        r->offset = 16 * PAGE;
        r->length = 1;
}
static void nothing(struct pl_register *r) {
        r->length = 0;
}
static void misaligned(struct pl_register *r) {
        r->address += 1;
        r->length = 1;
}
static void address_null(struct pl_register *r) {
        r->address = 0;
}
static void unknown_access(struct pl_register *r) {
        r->access |= 1U << 30;
}
static void on_demand_access(struct pl_register *r) {
        r->access |= IBV_ACCESS_ON_DEMAND;
}
static void zero_based(struct pl_register *r) {
        r->access |= IBV_ACCESS_ZERO_BASED;
}
static void remote_without_local(struct pl_register *r) {
        r->access = IBV_ACCESS_REMOTE_WRITE;
}
static void unknown_method(struct pl_register *r) {
        r->methods |= 1U << 7;
}
static void no_method(struct pl_register *r) {
        r->methods = 0;
}
static void wrong_pd(struct pl_register *r) {
        r->pd = 9999;
}
static void wrong_pd_odp(struct pl_register *r) {
        r->pd = UINT32_MAX;
        r->methods = PINLEASE_METHOD_ODP;
}
static void wrong_context(struct pl_register *r) {
        r->context += 1;
}
static void wild_context(struct pl_register *r) {
        r->context = UINT32_MAX;
}
static void pinned(struct pl_register *r) {
        r->methods = PINLEASE_METHOD_PINNED;
}
static void odp(struct pl_register *r) {
        r->methods = PINLEASE_METHOD_ODP;
}
static void read_pinned(struct pl_register *r) {
        r->methods = PINLEASE_METHOD_PINNED;
        r->access = ACCESS_READ;
}
static void read_access(struct pl_register *r) {
        r->access = ACCESS_READ;
}
static void last_byte(struct pl_register *r) {
        r->offset = 16 * PAGE - 1;
        r->address += 16 * PAGE - 1;
        r->length = 1;
}

/* Of a device that is mapped in units of 2 MiB, here from this address on. */
#define DEVICE_AT UINT64_C(0x700000000000)

static void device_misplaced(struct pl_register *r) {
        r->address = DEVICE_AT + PAGE;
}
static void device_misplaced_offset(struct pl_register *r) {
        r->address = DEVICE_AT;
        r->offset = PAGE;
}
static void device_beyond(struct pl_register *r) {
        r->address = DEVICE_AT;
        r->offset = UINT64_C(1) << 40;
}
static void device_across_the_end(struct pl_register *r) {
        r->address = DEVICE_AT;
        r->length = UINT64_C(1) << 40;
}
static void device_place(struct pl_register *r) {
        r->address = DEVICE_AT + 3 * PAGE;
        r->offset = 3 * PAGE;
}
static void device_place_read(struct pl_register *r) {
        device_place(r);
        r->access = ACCESS_READ;
}
static void beyond_any(struct pl_register *r) {
        r->length = UINT64_C(1) << 40;
}
static void device_dmabuf(struct pl_register *r) {
        device_place(r);
        r->methods = PINLEASE_METHOD_DMABUF;
}

/* --- */

/* What a registrar has open, but for the pipe that comes with the first lease, and mapped. */
struct has {
        pid_t registrar;
        unsigned int fds, maps;
};

static struct has has_now(pid_t registrar) {
        return (struct has) {
                .registrar = registrar,
                .fds = process_fds(registrar, NULL) - process_fds(registrar, "pipe:"),
                .maps = process_maps(registrar, "pl-test") + process_maps(registrar, "/dev/dax"),
        };
}

static bool has_no_more(const void *argument) {
        const struct has *before = argument, now = has_now(before->registrar);

        return now.fds == before->fds && now.maps == before->maps;
}

static void run_wrong(const void *argument) {
        const struct wrong *w = argument;
        struct fixture f = fixture_open(NULL);
        struct session session = session_of(getpid());
        struct memory memory = memory_new(MEMORY_MEMFD, 16 * PAGE), first = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_ANY);
        struct pl_register_reply reply;
        struct has before;
        int fd = w->make ? CHECK_CALL(w->make()) : memory.fd;

        /* What guards have for all files is there from the first on. */
        (void)fixture_register(&f, &first, PINLEASE_METHOD_PINNED);
        before = has_now(session.registrar);
        if (w->twist)
                w->twist(&request);

        expect_code(fixture_try(&f, &request, fd, &reply), w->code);
        if (w->ends) {
                raw_expect_end(&f.raw);
                session_await_end(&session);
        } else {
                if (w->code == PINLEASE_CODE_NONE)
                        raw_deregister(&f.raw, reply.id);
                /* Its guards go a moment later. */
                if (!eventually(has_no_more, &before))
                        FAIL("the registrar has the memory still, open or mapped");
                /* And a good request is as good as ever. */
                raw_deregister(&f.raw, fixture_register(&f, &memory, PINLEASE_METHOD_PINNED).id);
        }
        memory_free(&memory);
        memory_free(&first);
        fixture_close(&f);
}

#define FD(make, code) run_wrong, &(const struct wrong) { make, NULL, PINLEASE_CODE_##code, false }, 0
#define ASK(twist, code) run_wrong, &(const struct wrong) { NULL, twist, PINLEASE_CODE_##code, false }, 0
#define BOTH(make, twist, code) run_wrong, &(const struct wrong) { make, twist, PINLEASE_CODE_##code, false }, 0
#define ENDS(make, twist, code) run_wrong, &(const struct wrong) { make, twist, PINLEASE_CODE_##code, true }, 0

const struct test_case cases_memory[] = {
        { "memory: a pipe", FD(make_pipe, NOT_MEMORY) },
        { "memory: a socket", FD(make_socket, NOT_MEMORY) },
        { "memory: a Unix socket", FD(make_unix_socket, NOT_MEMORY) },
        { "memory: O_PATH", FD(make_path, PATH_FD) },
        { "memory: a directory on tmpfs", FD(make_tmpfs_directory, NOT_MEMORY) },
        { "memory: a directory on ext4", FD(make_ext4_directory, NOT_MEMORY) },
        { "memory: an eventfd", FD(make_eventfd, NOT_MEMORY) },
        { "memory: an epoll descriptor", FD(make_epoll, NOT_MEMORY) },
        { "memory: a block device", FD(make_block_device, NOT_MEMORY) },
        { "memory: /dev/zero", FD(make_zero, NOT_MEMORY) },
        { "memory: a verbs context", FD(make_verbs, NOT_MEMORY) },
        { "memory: a dma-buf, pinned", BOTH(make_dmabuf, pinned, NO_DMABUF) },
        { "memory: a dma-buf, beyond its end", BOTH(make_dmabuf, beyond_any, BEYOND_END) },
        { "memory: a file that is called like a dma-buf", BOTH(make_called_dmabuf, odp, NONE) },
        { "memory: a file of /proc", BOTH(make_proc, read_access, BAD_FS) },
        { "memory: a file on overlayfs", ENDS(make_overlay, NULL, HANGING_FILE) },

        { "memory: offset + length overflows", ASK(offset_overflows, RANGE_OVERFLOW) },
        { "memory: offset beyond what a file can have", ASK(offset_negative, RANGE_OVERFLOW) },
        { "memory: address + length overflows", ASK(address_overflows, RANGE_OVERFLOW) },
        { "memory: the address space's last page", ASK(address_at_the_top, RANGE_OVERFLOW) },
        { "memory: length 2^64-1", ASK(length_huge, RANGE_OVERFLOW) },
        { "memory: one byte beyond the end", ASK(one_beyond, BEYOND_END) },
        { "memory: from the end on", ASK(offset_beyond, BEYOND_END) },
        { "memory: the last byte", ASK(last_byte, NONE) },
        { "memory: zero length", ASK(nothing, ZERO_LENGTH) },
        { "memory: misaligned address", ASK(misaligned, MISALIGNED) },
        { "memory: address 0", ASK(address_null, MISALIGNED) },

        { "memory: write access to an O_RDONLY descriptor", FD(make_read_only, FD_MODE) },
        { "memory: O_WRONLY descriptor", FD(make_write_only, FD_MODE) },
        { "memory: read access to an O_WRONLY descriptor", BOTH(make_write_only, read_access, FD_MODE) },
        { "memory: read access to an O_RDONLY descriptor", BOTH(make_read_only, read_access, NONE) },
        { "memory: sealed against writing", FD(make_sealed, SEALED) },
        { "memory: sealed against future writing", FD(make_future_sealed, SEALED) },
        { "memory: read access to a sealed memfd", BOTH(make_sealed, read_access, NONE) },
        { "memory: unknown access bits", ASK(unknown_access, BAD_ACCESS) },
        { "memory: on-demand as an access bit", ASK(on_demand_access, BAD_ACCESS) },
        { "memory: zero-based access", ASK(zero_based, BAD_ACCESS) },
        { "memory: remote write without local write", ASK(remote_without_local, BAD_ACCESS) },
        { "memory: unknown method", ASK(unknown_method, NO_METHOD) },
        { "memory: no method", ASK(no_method, NO_METHOD) },
        { "memory: a PD that does not exist", ASK(wrong_pd, NO_SUCH_PD) },
        { "memory: a PD that cannot exist", ASK(wrong_pd_odp, NO_SUCH_PD) },
        { "memory: a context that is not attached", ASK(wrong_context, NO_SUCH_CONTEXT) },
        { "memory: a context that cannot be", ASK(wild_context, NO_SUCH_CONTEXT) },

        { "memory: a hole, pinned", BOTH(make_hole, pinned, NOT_RESIDENT) },
        { "memory: a hole, by ODP", BOTH(make_hole, odp, NONE) },
        { "memory: ext4-dax, pinned", BOTH(make_ext4_dax, pinned, FSDAX_PIN) },
        { "memory: ext4-dax, pinned for reading", BOTH(make_ext4_dax, read_pinned, FSDAX_PIN) },
        { "memory: ext4-dax, only unsound ODP would do", FD(make_ext4_dax, ODP_UNSOUND) },
        { "memory: ext4-dax, ODP asked for", BOTH(make_ext4_dax, odp, NONE) },
        { "memory: xfs-dax, pinned", BOTH(make_xfs_dax, pinned, FSDAX_PIN) },
        { "memory: ext4's page cache, pinned", BOTH(make_ext4, pinned, PAGECACHE_WRITE_PIN) },
        { "memory: xfs's page cache, pinned", BOTH(make_xfs, pinned, PAGECACHE_WRITE_PIN) },
        { "memory: ext4's page cache, pinned for reading", BOTH(make_ext4, read_pinned, PAGECACHE_READ_PIN) },
        { "memory: xfs's page cache, pinned for reading", BOTH(make_xfs, read_pinned, PAGECACHE_READ_PIN) },

        { "memory: device-dax", BOTH(make_devdax, device_place, NONE) },
        { "memory: device-dax, at an address where it cannot be", BOTH(make_devdax, device_misplaced, MISALIGNED) },
        { "memory: device-dax, mapped from an offset that cannot be", BOTH(make_devdax, device_misplaced_offset, MISALIGNED) },
        { "memory: device-dax, beyond its end", BOTH(make_devdax, device_beyond, BEYOND_END) },
        { "memory: device-dax, across its end", BOTH(make_devdax, device_across_the_end, BEYOND_END) },
        { "memory: device-dax, write access to an O_RDONLY descriptor", BOTH(make_devdax_read_only, device_place, FD_MODE) },
        { "memory: device-dax, read access to an O_RDONLY descriptor", BOTH(make_devdax_read_only, device_place_read, NONE) },
        { "memory: device-dax, as a dma-buf", BOTH(make_devdax, device_dmabuf, NO_DMABUF) },
        { 0 },
};
