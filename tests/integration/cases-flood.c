/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Apps that do too much or too little, while another session goes on with its work. */

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "linger.h"
#include "process.h"

#define PAGE 4096
#define MANY 100000
#define FDS_PER_FLOOD 253

/* One descriptor in each packet, and never a look at the answers. */
static void never_reads(int channel, const void *argument) {
        struct raw raw = raw_open(argument);
        int memory = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));
        struct pl_packet packet;
        unsigned int sent = 0, refused = 0;

        CHECK_CALL(fcntl(raw.sock, F_SETFL, O_NONBLOCK));
        pl_packet_init(&packet, PL_OP_REGISTER, 1);
        for (unsigned int i = 0; i < MANY; i++)
                if (raw_send(&raw, &packet, packet.header.length, &memory, 1) == 0)
                        sent++;
                else
                        refused++;
        /* Queues of both directions are full, and that is all. */
        CHECK(sent < MANY && refused > 0);
        tell_value(channel, sent);
        await(channel);
}

static void run_never_reads(const void *argument _unused_) {
        struct app other = bystander_start(NULL), flood = app_start(never_reads, NULL);
        struct session session = session_of(flood.pid);

        bystander_proves(&other);
        await(flood.channel);
        /* It has taken in what it can hold an answer for; the rest waits in the socket. */
        CHECK(process_fds(session.registrar, NULL) < 16);
        bystander_proves(&other);
        app_kill(&flood);
        session_await_end(&session);
        bystander_stop(&other);
}

/* As many descriptors as the kernel lets a packet carry, again and again by new sessions, answers unread. */
static void run_many_fds(const void *argument _unused_) {
        unsigned int rounds = getenv("PINLEASE_SOAK") ? (MANY + FDS_PER_FLOOD - 1) / FDS_PER_FLOOD : 40;
        struct app other = bystander_start(NULL);
        int fds[FDS_PER_FLOOD];
        struct pl_packet packet;

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));
        pl_packet_init(&packet, PL_OP_REGISTER, 1);
        for (unsigned int i = 0; i < rounds; i++) {
                struct raw raw = raw_connect(NULL);

                /* Until the session has ended of it. */
                while (raw_send(&raw, &packet, packet.header.length, fds, ELEMENTSOF(fds)) == 0)
                        ;
                raw.sock = pl_close(raw.sock);
        }
        bystander_stop(&other);
}

static void run_padding(const void *argument _unused_) {
        struct app other = bystander_start(NULL);
        uint8_t bytes[PL_MAX_PACKET * 16] = { 0 };
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_PING, 1);
        memcpy(bytes, &packet, packet.header.length);
        for (unsigned int i = 0; i < 30; i++) {
                struct raw raw = raw_open(NULL);

                CHECK_EQUAL(raw_send(&raw, bytes, packet.header.length + 1 + i * 500, NULL, 0), 0);
                raw_expect_refusal(&raw, PINLEASE_CODE_BAD_LENGTH);
                raw_expect_end(&raw);
                raw_close(&raw);
        }
        bystander_stop(&other);
}

static void run_silent(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--hello-timeout", "500", NULL });
        struct app other = bystander_start(instance.path);
        struct raw raws[8];

        for (size_t i = 0; i < ELEMENTSOF(raws); i++)
                raws[i] = raw_connect(instance.path);
        bystander_proves(&other);
        for (size_t i = 0; i < ELEMENTSOF(raws); i++) {
                raw_expect_end(&raws[i]);
                raw_close(&raws[i]);
        }
        bystander_stop(&other);
        instance_stop(&instance);
}

/* Has as many sessions as it may have; connects once more, sends the socket, and leaves its close to others. */
static void leaves_a_socket(int channel, const void *argument) {
        struct pl_packet packet;
        struct raw first, second;
        int sock = linger_socket("alice");

        first = raw_open(argument);
        tell(channel);
        await(channel);
        second = raw_connect(argument);
        pl_packet_init(&packet, PL_OP_REGISTER, 1);
        CHECK_EQUAL(raw_send(&second, &packet, packet.header.length, &sock, 1), 0);
        close(sock);
        second.sock = pl_close(second.sock);
        tell(channel);
        await(channel);
        raw_close(&first);
}

/* What is in flight on a connection without a session is closed by nobody whom others wait for. */
static void run_linger(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--sessions-per-user", "1", NULL });
        struct app attacker = app_start(leaves_a_socket, instance.path), other;

        await(attacker.channel);
        /* It has all in place before the daemon accepts. */
        CHECK_CALL(pidfd_send_signal(instance.pidfd, SIGSTOP, NULL, 0));
        tell(attacker.channel);
        await(attacker.channel);
        CHECK_CALL(pidfd_send_signal(instance.pidfd, SIGCONT, NULL, 0));

        other = bystander_start(instance.path);
        bystander_stop(&other);
        tell(attacker.channel);
        app_finish(&attacker);
        instance_stop(&instance);
}

/* Comes and goes, without a word or after one. */
static void run_come_and_go(const void *argument _unused_) {
        struct app other = bystander_start(NULL);

        for (unsigned int i = 0; i < 40; i++) {
                struct raw raw = raw_connect(NULL);
                struct pl_packet packet;

                pl_packet_init(&packet, PL_OP_HELLO, 1);
                if (i % 2)
                        (void)raw_send(&raw, &packet, packet.header.length, NULL, 0);
                raw.sock = pl_close(raw.sock);
        }
        bystander_stop(&other);
}

const struct test_case cases_flood[] = {
        { "flood: 10^5 descriptors, answers never read", run_never_reads, NULL, 0 },
        { "flood: packets with 253 descriptors", run_many_fds, NULL, 0 },
        { "flood: padded messages", run_padding, NULL, 0 },
        { "flood: connections that say nothing", run_silent, NULL, 0 },
        { "flood: a socket that lingers, and no session to close it", run_linger, NULL, 0 },
        { "flood: connections that come and go", run_come_and_go, NULL, 0 },
        { 0 },
};
