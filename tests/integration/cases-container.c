/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An app in a container: user, process, mount and network namespaces of its own, and the service's socket mounted
 * there. */

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "process.h"

#define LENGTH (64U << 10)

/* As `unshare -r` does: outside it is who it was, inside it is root. */
static void become_root_inside(uid_t uid, gid_t gid) {
        char map[64];

        (void)snprintf(map, sizeof map, "0 %u 1", uid);
        write_file("/proc/self/uid_map", map);
        write_file("/proc/self/setgroups", "deny");
        (void)snprintf(map, sizeof map, "0 %u 1", gid);
        write_file("/proc/self/gid_map", map);
}

/* Nothing outside sees these mounts. */
static void make_mounts(void) {
        CHECK_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        CHECK_CALL(mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=8m"));
        CHECK_CALL(mount("run", "/mnt/tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "size=8m"));
        close(CHECK_CALL(open("/mnt/tmpfs/pinlease.sock", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
        CHECK_CALL(mount("/run/pinlease/client.sock", "/mnt/tmpfs/pinlease.sock", NULL, MS_BIND, NULL));
}

static struct memory inner_file(const char *path) {
        struct memory m = { .length = LENGTH };

        m.fd = CHECK_CALL(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        CHECK_CALL(ftruncate(m.fd, LENGTH));
        m.start = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        memset(m.start, 1, LENGTH);
        return m;
}

#define SOCKET "/mnt/tmpfs/pinlease.sock"

/* The first process of the container. */
static void inside(int channel) {
        struct memory memories[3];
        struct fixture f;

        CHECK_EQUAL(getpid(), 1);
        CHECK_EQUAL(getuid(), 0);
        /* The device is opened here; where each namespace has its own, this one is the host's, see contained(). */
        f = (struct fixture) { .rdma = rdma_open("rxe_a"), .raw = raw_open(SOCKET) };
        f.context = raw_attach(&f.raw, f.rdma.context->cmd_fd);
        rdma_connect(&f.rdma);

        memories[0] = memory_new(MEMORY_MEMFD, LENGTH);
        memories[1] = inner_file("/dev/shm/inner");
        memories[2] = inner_file("/mnt/tmpfs/inner");
        for (size_t i = 0; i < ELEMENTSOF(memories); i++) {
                struct pl_register_reply r = fixture_register(&f, memories + i, PINLEASE_METHOD_PINNED);

                CHECK_EQUAL(r.backing, PINLEASE_BACKING_SHMEM);
                CHECK_EQUAL(r.method, PINLEASE_METHOD_PINNED);
                rdma_transfer(&f.rdma, r.iova, r.rkey, memories[i].start, LENGTH, i + 1);
                r = fixture_register(&f, memories + i, PINLEASE_METHOD_ODP);
                rdma_transfer(&f.rdma, r.iova, r.rkey, memories[i].start, LENGTH, i + 11);
        }
        tell(channel);
        await_end(channel);
        fixture_close(&f);
}

/* argument: the user outside; NULL: root. */
static void contained(int channel, const void *argument) {
        int namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS, status;
        uid_t uid;
        gid_t gid;
        pid_t pid;

        /* A soft-RoCE device that is moved loses its QP 1: so the container has the network of the device, if it
         * matters. */
        enter_host("hosta");
        if (!netns_exclusive())
                namespaces |= CLONE_NEWNET;
        if (argument)
                become(argument);
        uid = geteuid();
        gid = getegid();
        CHECK_CALL(prctl(PR_SET_DUMPABLE, 1));
        CHECK_CALL(unshare(namespaces));
        become_root_inside(uid, gid);
        make_mounts();
        pid = CHECK_CALL(fork());
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                inside(channel);
                _exit(0);
        }
        tell_value(channel, (uint64_t)pid);
        CHECK_CALL(waitpid(pid, &status, 0));
        CHECK_EQUAL(status, 0);
}

static void run_container(const void *argument) {
        const struct passwd *user = getpwnam(argument ? argument : "root");
        struct app other = bystander_start(NULL), app = app_start(contained, argument);
        struct json_object *documents, *session;
        char pid[16], value[64];
        struct session processes;
        pid_t inner;

        inner = (pid_t)await_value(app.channel);
        await(app.channel);
        /* The number that it has here, and the user that it is here. */
        (void)snprintf(pid, sizeof pid, "%d", (int)inner);
        CHECK(process_status(inner, "NSpid", value, sizeof value));
        CHECK(strstr(value, "\t1") && strncmp(value, pid, strlen(pid)) == 0);
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        session = ctl_find(documents, "session", "pid", pid);
        CHECK(session);
        CHECK_EQUAL(ctl_number(session, "uid"), user->pw_uid);
        CHECK_EQUAL(ctl_number(session, "gid"), user->pw_gid);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), 6);
        /* By the name that it has there. */
        CHECK(ctl_find(documents, "registration", "name", "/dev/shm/inner"));
        CHECK(ctl_find(documents, "registration", "name", "/mnt/tmpfs/inner"));
        json_object_put(documents);
        processes = session_of(inner);
        CHECK(process_status(processes.registrar, "VmPin", value, sizeof value));
        CHECK_EQUAL(strtoll(value, NULL, 10), 3 * LENGTH / 1024);

        bystander_proves(&other);
        app_hang_up(&app);
        app_finish(&app);
        session_await_end(&processes);
        bystander_stop(&other);
}

const struct test_case cases_container[] = {
        { "container: a user's", run_container, "alice", CASE_ANYWHERE },
        { "container: root's", run_container, NULL, CASE_ANYWHERE },
        { 0 },
};
