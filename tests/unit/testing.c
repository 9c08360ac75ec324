/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned int testing_count_fds(pid_t pid) {
        unsigned int n = 0;
        char path[32];
        DIR *dir;

        (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)(pid ? pid : getpid()));
        dir = opendir(path);
        assert_non_null(dir);
        for (struct dirent *entry; (entry = readdir(dir));)
                if (entry->d_name[0] != '.')
                        n++;
        closedir(dir);
        /* The folder's own descriptor has been counted in this process only. */
        return pid && pid != getpid() ? n : n - 1;
}

unsigned int testing_count_views(void) {
        unsigned int n = 0;
        char line[512];
        FILE *f;

        f = fopen("/proc/self/maps", "re");
        assert_non_null(f);
        while (fgets(line, sizeof line, f))
                if (strstr(line, "/memfd:"))
                        n++;
        (void)fclose(f);
        return n;
}

struct before {
        unsigned int fds, views;
};

static void on_deadline(int signal _unused_) {
        static const char words[] = "this test does not end\n";

        (void)!write(STDERR_FILENO, words, sizeof words - 1);
        _exit(EXIT_FAILURE);
}

void testing_deadline_begin(void) {
        (void)signal(SIGALRM, on_deadline);
        (void)alarm(testing_rounds(TESTING_DEADLINE_S));
}

void testing_deadline_end(void) {
        (void)alarm(0);
}

int testing_leak_setup(void **state) {
        struct before *before = malloc(sizeof *before);

        if (!before)
                return -1;
        testing_deadline_begin();
        *before = (struct before) { .fds = testing_count_fds(0), .views = testing_count_views() };
        *state = before;
        return 0;
}

int testing_leak_teardown(void **state) {
        struct before before = *(struct before *)*state;

        testing_deadline_end();
        free(*state);
        if (testing_count_fds(0) == before.fds && testing_count_views() == before.views)
                return 0;
        print_error("leak: %u descriptors before, %u after; %u views before, %u after\n",
                    before.fds,
                    testing_count_fds(0),
                    before.views,
                    testing_count_views());
        return -1;
}

void testing_seed(struct testing_random *random, const char *test) {
        const char *given = getenv("PINLEASE_TEST_SEED");

        if (given)
                random->state = strtoull(given, NULL, 0);
        else
                assert_int_equal(getrandom(&random->state, sizeof random->state, 0), sizeof random->state);
        print_message("%s: PINLEASE_TEST_SEED=0x%" PRIx64 "\n", test, random->state);
}

/* splitmix64: any seed is as good as any other. */
uint64_t testing_random(struct testing_random *random) {
        uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

unsigned int testing_below(struct testing_random *random, unsigned int n) {
        return (unsigned int)(testing_random(random) % n);
}

unsigned int testing_rounds(unsigned int rounds) {
        const char *factor = getenv("PINLEASE_TEST_ROUNDS");

        return factor ? rounds * (unsigned int)strtoul(factor, NULL, 10) : rounds;
}

uint64_t testing_free_address(uint64_t length) {
        static uint64_t next = UINT64_C(0x480000000000); /* far from where the kernel, or a sanitizer, puts anything */
        void *p;

        p = mmap((void *)(uintptr_t)next, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_ptr_equal(p, (void *)(uintptr_t)next);
        assert_int_equal(munmap(p, length), 0);
        next += UINT64_C(1) << 30;
        return (uintptr_t)p;
}

int testing_memfd(uint64_t size) {
        int fd = memfd_create("pinlease-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        /* Written to: pages that are only allocated (fallocate) do not count as resident. */
        for (uint64_t at = 0; at < size; at += 4096)
                assert_int_equal(pwrite(fd, "x", 1, (off_t)at), 1);
        return fd;
}

int testing_wait_fd(int fd, int events) {
        struct pollfd p = { .fd = fd, .events = (short)events };
        int r;

        do
                r = poll(&p, 1, TESTING_PATIENCE_MS);
        while (r < 0 && errno == EINTR);
        if (r <= 0)
                fail_msg("descriptor %d: waited in vain for events 0x%x", fd, (unsigned int)events);
        return p.revents;
}

pid_t testing_fork(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        return pid;
}

void testing_await_end(pid_t pid) {
        int pidfd = pidfd_open(pid, 0);

        assert_true(pidfd >= 0);
        (void)testing_wait_fd(pidfd, POLLIN);
        pl_close(pidfd);
}

int testing_wait_child(pid_t pid) {
        int status;

        testing_await_end(pid);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

void testing_assert_refusal(int r, const struct refusal *refusal, enum pinlease_code code) {
        size_t n;

        if (r != REFUSED)
                fail_msg("%d instead of the refusal %s", r, pl_code_name(code));
        if (refusal->code != code)
                fail_msg("refused by %s instead of %s: %s", pl_code_name(refusal->code), pl_code_name(code), refusal->sentence);
        assert_true(refusal->error > 0);
        n = strnlen(refusal->sentence, sizeof refusal->sentence);
        /* A sentence that was cut off fills the room and ends anywhere. */
        assert_in_range(n, 10, sizeof refusal->sentence - 2);
        assert_non_null(strchr(".?", refusal->sentence[n - 1]));
        assert_true(strnlen(refusal->rule, sizeof refusal->rule) < sizeof refusal->rule - 1);
}

int testing_send(int sock, int flags, const void *data, size_t size, const int *fds, unsigned int n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(64 * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds > 64)
                return -E2BIG;
        if (n_fds > 0) {
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        return sendmsg(sock, &msg, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

bool testing_kernel_is(unsigned int major, unsigned int minor) {
        unsigned int this_major = 0, this_minor = 0;
        struct utsname name;

        assert_int_equal(uname(&name), 0);
        assert_int_equal(sscanf(name.release, "%u.%u", &this_major, &this_minor), 2);
        return this_major > major || (this_major == major && this_minor >= minor);
}
