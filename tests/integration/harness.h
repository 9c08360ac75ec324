/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_HARNESS_H
#define TEST_HARNESS_H

/*
 * Named cases, each in a process of its own, each followed by the question whether it left anything behind.
 *
 * A case is a function. It returns when all is well; FAIL() and the CHECK macros end the process otherwise. Cases start
 * further processes ("apps") by app_start(); those may fail in the same way.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util.h"

enum {
        CASE_SHARED = 1 << 0,    /* runs where RDMA devices are shared by all network namespaces */
        CASE_EXCLUSIVE = 1 << 1, /* runs where each has its own */
        CASE_ANYWHERE = CASE_SHARED | CASE_EXCLUSIVE,
        CASE_LONG = 1 << 2, /* may take minutes, in a soak hours */
};

struct test_case {
        const char *name;
        void (*run)(const void *argument);
        const void *argument;
        unsigned int flags; /* 0: CASE_SHARED */
};

/* How long anything that must happen may take. Nothing is ever waited for that long unless it is broken: the emulated
 * machine can stand still for seconds. */
#define PATIENCE_MS 20000

_Noreturn void fail_at(const char *file, int line, const char *format, ...) _printf_(3, 4);
_Noreturn void skip(const char *format, ...) _printf_(1, 2);

/* Called before a failing process ends. */
void at_failure(void (*function)(void));

#define FAIL(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(what) ((what) ? (void)0 : FAIL("not so: %s", #what))
/* For calls that say why by errno. */
#define CHECK_CALL(call)                                                                                               \
        ({                                                                                                             \
                __typeof__(call) result_ = (call);                                                                     \
                if (result_ < 0)                                                                                       \
                        FAIL("%s: %m", #call);                                                                         \
                result_;                                                                                               \
        })
#define CHECK_EQUAL(is, should)                                                                                        \
        ({                                                                                                             \
                long long is_ = (long long)(is), should_ = (long long)(should);                                        \
                if (is_ != should_)                                                                                    \
                        FAIL("%s is %lld, should be %lld (%s)", #is, is_, should_, #should);                           \
        })

/* Is the machine in the mode where every network namespace has its own RDMA devices? */
bool netns_exclusive(void);

/*
 * Another process of the case. Its standard output is the case's; it ends when `function` returns, status 0, or fails.
 * `channel` is one end of a socket pair, by which it may talk to whoever started it.
 */
struct app {
        pid_t pid;
        int pidfd;
        int channel;
};
struct app app_start(void (*function)(int channel, const void *argument), const void *argument);

/* Waits until it has ended by itself, and fails unless it did so with status 0. */
void app_finish(struct app *app);
/* Ends the talk by its channel, for which await_end() waits. */
void app_hang_up(struct app *app);
/* Kills it and waits until it is gone. */
void app_kill(struct app *app);
/* Waits until it has ended, however it did. */
void app_reap(struct app *app);

/* One byte by a channel: "I have come so far". The other side waits for it; both fail if the peer is gone. */
void tell(int channel);
void await(int channel);
/* Numbers by a channel. */
void tell_value(int channel, uint64_t value);
uint64_t await_value(int channel);
/* A packet of exactly this size. what: for the message if it does not come. */
void await_packet(int channel, const char *what, void *packet, size_t size);
/* Of an app that works in rounds: answers, after each, whoever asks how many it has done, and pauses so long in
 * between. False: the channel has ended, it is time to stop. */
bool round_done(int channel, uint64_t round, int pause_ms);
/* Waits until it has done so many more rounds from now on. */
void await_rounds(const struct app *app, uint64_t n);
/* Waits until the peer closes the channel, or has ended. */
void await_end(int channel);

/* Becomes a user of the guest, with the user's groups, for good. */
void become(const char *user);

/* Waits until fd polls readable or has hung up; fails after PATIENCE_MS, saying what it waited for. */
void await_readable(int fd, const char *what);

/*
 * For what the kernel has no event for (counters, lists in /proc): asks until it is so. Returns false after
 * PATIENCE_MS.
 */
bool eventually(bool (*is_so)(const void *argument), const void *argument);

extern const struct test_case cases_protocol[], cases_attach[], cases_memory[], cases_kernel[], cases_hanging[],
        cases_limits[], cases_flood[], cases_identity[], cases_transfer[], cases_ending[], cases_restart[],
        cases_drain[], cases_version[], cases_credit[], cases_model[], cases_campaign[];
extern const struct test_case cases_admin[], cases_ctl[], cases_revoke[], cases_container[], cases_stranger[],
        cases_hostile[], cases_exhaust[], cases_lease[], cases_guard_modify[], cases_poison[], cases_force[];
extern const struct test_case cases_lease_many[], cases_lease_shared[], cases_lease_ending[], cases_poison_session[],
        cases_force_kill[], cases_lease_owner[], cases_lease_model[], cases_remount[], cases_notify[], cases_policy[],
        cases_changed[], cases_explain[], cases_table[], cases_grant[], cases_memlock[], cases_deregister[],
        cases_policy_exporter[], cases_dmabuf[], cases_dmabuf_session[], cases_dmabuf_ends[];

#endif
