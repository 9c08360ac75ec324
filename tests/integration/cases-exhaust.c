/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Processes and descriptors run out. Sessions go on, newcomers hear why there is none for them, and all is well again
 * after. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "instance.h"
#include "linger.h"
#include "process.h"

/* --- processes --- */

#define CGROUP "/sys/fs/cgroup/pl-exhaust"

static unsigned int read_number(const char *path) {
        char text[32] = "";
        int fd = CHECK_CALL(open(path, O_RDONLY | O_CLOEXEC));

        CHECK(read(fd, text, sizeof text - 1) > 0);
        close(fd);
        return (unsigned int)strtoul(text, NULL, 10);
}

static void enter_cgroup(void) {
        write_file(CGROUP "/cgroup.procs", "0");
}

/* So many more processes than there are now. */
static void allow_processes(int more) {
        char text[32] = "max";

        if (more >= 0)
                (void)snprintf(text, sizeof text, "%u", read_number(CGROUP "/pids.current") + (unsigned int)more);
        write_file(CGROUP "/pids.max", text);
}

/* Keepers and closers end by themselves; then there is one process for each that the instance needs. */
static bool has_processes(const void *argument) {
        return read_number(CGROUP "/pids.current") == *(const unsigned int *)argument;
}

static void await_processes(unsigned int n) {
        if (!eventually(has_processes, &n))
                FAIL("%u processes, should be %u", read_number(CGROUP "/pids.current"), n);
}

static struct instance start_in_cgroup(void) {
        (void)mkdir(CGROUP, 0755);
        if (access(CGROUP "/pids.max", F_OK) < 0)
                write_file("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
        allow_processes(-1);
        return instance_start_prepared(NULL, enter_cgroup);
}

/* The answer to HELLO is a refusal that says what to do, and the end comes although nothing can be closed yet. */
static void expect_no_session(const char *path) {
        struct raw raw = raw_connect(path);
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_HELLO, 1);
        CHECK_EQUAL(raw_send(&raw, &packet, packet.header.length, NULL, 0), 0);
        raw_expect_refusal(&raw, PINLEASE_CODE_NO_RESOURCES);
        raw_expect_end(&raw);
        raw.sock = pl_close(raw.sock);
}

/* Connects, has it in flight, and leaves its close to others. */
static void leaves_a_socket(int channel, const void *argument) {
        int sock = linger_socket("alice");
        struct pl_packet packet;
        struct raw raw;

        for (unsigned int i = 0; i < 2; i++) {
                raw = raw_connect(argument);
                pl_packet_init(&packet, PL_OP_REGISTER, 1);
                CHECK_EQUAL(raw_send(&raw, &packet, packet.header.length, &sock, 1), 0);
                if (i == 0)
                        raw_expect_refusal(&raw, PINLEASE_CODE_NO_RESOURCES);
                close(raw.sock);
        }
        close(sock);
        tell(channel);
        await(channel);
}

static void run_processes(const void *argument _unused_) {
        struct instance instance = start_in_cgroup();
        const struct ctl ctl = { instance.directory, NULL };
        struct app other = bystander_start(instance.path), attacker, late;

        await_processes(3);
        allow_processes(0);
        expect_no_session(instance.path);
        bystander_proves(&other);
        json_object_put(ctl_json(&ctl, "list", NULL));

        /* Nobody closes it but a process that is started for it, and there is none. */
        attacker = app_start(leaves_a_socket, instance.path);
        await(attacker.channel);
        for (unsigned int i = 0; i < 3; i++) {
                expect_no_session(instance.path);
                json_object_put(ctl_json(&ctl, "status", NULL));
        }
        bystander_proves(&other);

        allow_processes(-1);
        late = bystander_start(instance.path);
        bystander_stop(&late);
        bystander_stop(&other);
        tell(attacker.channel);
        app_finish(&attacker);
        instance_stop(&instance);
}

/* There is room for a keeper, but not for its registrar. */
static void run_half_a_session(const void *argument _unused_) {
        struct instance instance = start_in_cgroup();
        struct app other = bystander_start(instance.path), late;

        await_processes(3);
        allow_processes(1);
        expect_no_session(instance.path);
        bystander_proves(&other);
        allow_processes(-1);
        late = bystander_start(instance.path);
        bystander_stop(&late);
        bystander_stop(&other);
        instance_stop(&instance);
}

/* --- descriptors ----------------------------------------------------------------------------------------------------
 */

/* What is reserved, and three sessions. */
#define FDS (128 + 3 * 3)
#define SESSIONS 3

static void have_few_descriptors(void) {
        CHECK_CALL(setrlimit(RLIMIT_NOFILE, &(const struct rlimit) { FDS, FDS }));
}

static void run_descriptors(const void *argument _unused_) {
        struct instance instance = instance_start_prepared(NULL, have_few_descriptors);
        const struct ctl ctl = { instance.directory, NULL };
        struct app other = bystander_start(instance.path);
        struct raw raws[SESSIONS - 1];

        for (size_t i = 0; i < ELEMENTSOF(raws); i++)
                raws[i] = raw_open(instance.path);
        for (unsigned int i = 0; i < 20; i++) {
                struct raw raw = raw_connect(instance.path);

                raw_expect_refusal(&raw, PINLEASE_CODE_NO_RESOURCES);
                raw_expect_end(&raw);
                close(raw.sock);
        }
        json_object_put(ctl_json(&ctl, "status", NULL));
        bystander_proves(&other);
        raw_close(&raws[0]);
        if (!eventually(raw_can_open, instance.path))
                FAIL("the place of a session that has ended is not free");
        raw_close(&raws[1]);
        bystander_stop(&other);
        instance_stop(&instance);
}

/* Clock ticks that it has worked. */
static unsigned long long work_of(pid_t pid) {
        unsigned long long user = 0, system = 0;
        char path[64];
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        CHECK(f);
        CHECK_EQUAL(fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system), 2);
        (void)fclose(f);
        return user + system;
}

/* Processes of root that come as keepers take what descriptors there are, until their time is over. */
static void run_keepers(const void *argument _unused_) {
        struct instance instance = instance_start_prepared(NULL, have_few_descriptors);
        const struct ctl ctl = { instance.directory, NULL };
        struct app other = bystander_start(instance.path);
        unsigned long long before, ticks = (unsigned long long)sysconf(_SC_CLK_TCK);
        struct raw raws[80]; /* two descriptors each */
        uint64_t began;
        char path[128];

        (void)snprintf(path, sizeof path, "%s/session.sock", instance.directory);
        for (size_t i = 0; i < ELEMENTSOF(raws); i++)
                raws[i] = raw_connect(path);
        began = pl_now_ms();
        before = work_of(instance.pid);
        bystander_proves(&other);
        /* Those that were taken are told to go, and give back what they have taken. */
        for (size_t i = 0; i < 40; i++)
                raw_expect_end(&raws[i]);
        printf("%llu ticks of work in %" PRIu64 " ms\n", work_of(instance.pid) - before, pl_now_ms() - began);
        CHECK((work_of(instance.pid) - before) * 1000 / ticks < (pl_now_ms() - began) / 2);
        for (size_t i = 0; i < ELEMENTSOF(raws); i++)
                close(raws[i].sock);
        json_object_put(ctl_json(&ctl, "status", NULL));
        CHECK(raw_can_open(instance.path));
        bystander_stop(&other);
        instance_stop(&instance);
}

const struct test_case cases_exhaust[] = {
        { "exhaust: no more processes", run_processes, NULL, 0 },
        { "exhaust: a process for the keeper, none for its registrar", run_half_a_session, NULL, 0 },
        { "exhaust: descriptors for few sessions", run_descriptors, NULL, 0 },
        { "exhaust: keepers that take all descriptors", run_keepers, NULL, 0 },
        { 0 },
};
