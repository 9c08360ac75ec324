/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernels.h"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fdclass.h"
#include "fixture.h"
#include "harness.h"
#include "samples.h"
#include "table.h"

#define PAGE 4096

static void say(const char *what, const char *answer) {
        printf("%s | %s\n", what, answer);
}

static void say_error(const char *what, int error) {
        say(what, table_error_text(error));
}

static void say_have(const char *what, bool have) {
        say(what, have ? "there" : "not there");
}

/* --- registering --- */

static void ask_memory(const struct rdma *rdma, const struct sample *sample) {
        const struct {
                const char *way;
                uint32_t access;
                bool protected;
        } ways[] = {
                { "pinned for writing", ACCESS_READ_WRITE, false },
                { "pinned for reading", ACCESS_READ, false },
                { "by ODP", ACCESS_READ_WRITE | IBV_ACCESS_ON_DEMAND, false },
                /* For good. */
                { "mapped for reading, pinned for reading", ACCESS_READ, true },
        };
        struct memory memory;
        char what[128];

        if (sample->device)
                say_have(sample->device, sample_exists(sample));
        if (!sample_exists(sample))
                return;
        memory = sample_make(sample);
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                if (ways[i].protected)
                        CHECK_CALL(mprotect(memory.start, memory.length, PROT_READ));
                (void)snprintf(what, sizeof what, "%s, %s", sample->name, ways[i].way);
                say_error(what, sample_register(rdma, &memory, ways[i].access));
        }
        sample_free(&memory);
}

/* --- calls that the service has a use for --- */

static int ask_peer_pidfd(void) {
        _cleanup_(pl_closep) int fd = -1;
        socklen_t size = sizeof fd;
        int pair[2], r;

        CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        r = getsockopt(pair[0], SOL_SOCKET, 77 /* SO_PEERPIDFD */, &fd, &size) < 0 ? errno : 0;
        close(pair[0]);
        close(pair[1]);
        return r;
}

static int ask_mount_of(int fd) {
        int r = pl_fdclass_mounted(fd);

        return r < 0 ? -r : 0;
}

static int ask_cachestat(int fd) {
        uint64_t range[2] = { 0, PAGE }, counts[5];

        return syscall(451, fd, range, counts, 0) < 0 ? errno : 0;
}

static int ask_exit_status(void) {
        /* struct pidfd_info, and PIDFD_INFO_EXIT. */
        struct {
                uint64_t mask, cgroup;
                uint32_t ids[11];
                int32_t exit_code;
        } info = { .mask = UINT64_C(1) << 3 };
        _cleanup_(pl_closep) int pidfd = -1;
        pid_t pid = CHECK_CALL(fork());

        if (pid == 0)
                _exit(7);
        pidfd = CHECK_CALL(pidfd_open(pid, 0));
        CHECK_CALL(waitpid(pid, NULL, 0));
        return ioctl(pidfd, _IOWR(0xFF, 11, info), &info) < 0 ? errno : 0;
}

/* A lease for one who writes it: by fcntl(2), of a file that nobody else has open. */
static int ask_lease(int fd) {
        int r = fcntl(fd, F_SETLEASE, F_WRLCK) < 0 ? errno : 0;

        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        return r;
}

static int ask_delegation(int fd) {
        struct {
                uint32_t flags;
                uint16_t type, pad;
        } delegation = { .type = F_WRLCK };
        int r = fcntl(fd, 1024 + 16 /* F_SETDELEG */, &delegation) < 0 ? errno : 0;

        delegation.type = F_UNLCK;
        (void)fcntl(fd, 1024 + 16, &delegation);
        return r;
}

static int ask_before_access(const char *path) {
        _cleanup_(pl_closep) int fd = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);

        CHECK(fd >= 0);
        return fanotify_mark(fd, FAN_MARK_ADD, UINT64_C(0x00100000) /* FAN_PRE_ACCESS */, AT_FDCWD, path) < 0 ? errno
                                                                                                              : 0;
}

struct exchange {
        int32_t file1_fd;
        uint32_t pad;
        uint64_t file1_offset, file2_offset, length, flags;
};

static int ask_exchange(int fd, int other) {
        struct exchange exchange = { .file1_fd = other, .length = PAGE };

        return ioctl(fd, _IOW('X', 129, struct exchange), &exchange) < 0 ? errno : 0;
}

static void ask_files(void) {
        static const struct {
                const char *name, *folder;
        } places[] = { { "ext4", "/mnt/ext4" },
                       { "xfs", "/mnt/xfs" },
                       { "ext4-dax", "/mnt/ext4-dax" },
                       { "xfs-dax", "/mnt/xfs-dax" },
                       { "tmpfs", "/mnt/tmpfs" } };
        char path[64], other_path[64], what[128];

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                int fd = memory_file(places[i].folder, path, PAGE),
                    other = memory_file(places[i].folder, other_path, PAGE);

                CHECK_CALL(posix_fallocate(fd, 0, PAGE));
                CHECK_CALL(posix_fallocate(other, 0, PAGE));
                (void)snprintf(what, sizeof what, "%s, a write lease (F_SETLEASE)", places[i].name);
                say_error(what, ask_lease(fd));
                (void)snprintf(what, sizeof what, "%s, a delegation (F_SETDELEG)", places[i].name);
                say_error(what, ask_delegation(fd));
                (void)snprintf(what, sizeof what, "%s, events before an access (FAN_PRE_ACCESS)", places[i].name);
                say_error(what, ask_before_access(path));
                if (strncmp(places[i].name, "xfs", 3) == 0) {
                        (void)snprintf(what, sizeof what, "%s, two files exchange their blocks", places[i].name);
                        say_error(what, ask_exchange(fd, other));
                }
                close(fd);
                close(other);
                CHECK_CALL(unlink(path));
                CHECK_CALL(unlink(other_path));
        }
}

/* --- the service --- */

static void say_registration(
        const char *what, struct fixture *f, const struct memory *memory, uint32_t access, bool guards) {
        static const char *const names[] = { "seals", "lease", "modify", "poison" };
        struct pl_register request = fixture_request(f, memory, PINLEASE_METHOD_PINNED);
        struct pl_register_reply reply;
        char text[64] = "";
        enum pinlease_code code;

        request.access = access;
        code = fixture_try(f, &request, memory->fd, &reply);
        if (code != PINLEASE_CODE_NONE) {
                say(what, pl_code_name(code));
                return;
        }
        for (unsigned int i = 0; guards && i < PL_N_GUARDS; i++)
                if (pl_guards_held(reply.guards) & 1U << i)
                        (void)snprintf(
                                text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? ", " : "", names[i]);
        say(what, guards ? text : "registered");
        raw_deregister(&f->raw, reply.id);
}

/* Of tmpfs, which every kernel pins. */
static void ask_service(void) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = { .length = PAGE };
        char path[64];

        memory.fd = memory_file("/mnt/tmpfs", path, PAGE);
        CHECK_CALL(pwrite(memory.fd, path, 1, 0));
        memory.start = (void *)UINT64_C(0x700000000000);
        say_registration("service: guards of a file on tmpfs", &f, &memory, ACCESS_READ_WRITE, true);
        say_registration("service: a file on tmpfs, for reading", &f, &memory, ACCESS_READ, false);
        close(memory.fd);
        memory.fd = CHECK_CALL(open(path, O_RDONLY | O_CLOEXEC));
        say_registration("service: a file on tmpfs that is open for reading only", &f, &memory, ACCESS_READ, false);
        close(memory.fd);
        CHECK_CALL(unlink(path));

        memory.fd = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        CHECK_CALL(pwrite(memory.fd, path, PAGE > sizeof path ? sizeof path : PAGE, 0));
        CHECK_CALL(ftruncate(memory.fd, PAGE));
        CHECK_CALL(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE));
        say_registration(
                "service: a memfd that is sealed against writing, for reading", &f, &memory, ACCESS_READ, false);
        close(memory.fd);
        fixture_close(&f);

        /* A file that may hang ends its session. */
        f = fixture_open(NULL);
        memory.fd = CHECK_CALL(open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC));
        say_registration("service: a file of /proc, for reading", &f, &memory, ACCESS_READ, false);
        close(memory.fd);
        fixture_close(&f);
}

int kernels_print(void) {
        struct rdma rdma = rdma_open("rxe_a");
        struct ibv_device_attr_ex attributes;
        char path[64];
        int fd;

        CHECK_EQUAL(ibv_query_device_ex(rdma.context, NULL, &attributes), 0);
        say_have("ODP of soft-RoCE", attributes.odp_caps.general_caps & IBV_ODP_SUPPORT);
        say_have("/dev/dma_heap/system", access("/dev/dma_heap/system", F_OK) == 0);
        for (size_t i = 0; i < n_samples; i++)
                ask_memory(&rdma, samples + i);
        rdma_close(&rdma);

        fd = memory_file("/mnt/ext4", path, PAGE);
        CHECK_CALL(unlink(path));
        say_error("which process has connected (SO_PEERPIDFD)", ask_peer_pidfd());
        say_error("whose exit status (PIDFD_GET_INFO)", ask_exit_status());
        say_error("which file system (statmount by descriptor)", ask_mount_of(fd));
        say_error("how much is in memory (cachestat)", ask_cachestat(fd));
        close(fd);
        ask_files();
        ask_service();
        return fflush(stdout) == 0 ? 0 : 1;
}
