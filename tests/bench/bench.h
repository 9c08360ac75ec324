/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_H
#define BENCH_H

/* What the measuring programs share: a clock, medians, a client that speaks the protocol by itself. Failures end the program. */

#include <infiniband/verbs.h>
#include <stddef.h>

#include "util.h"
#include "wire.h"

#define BENCH_PAGE 4096

_Noreturn void die(const char *what, int error);

double now_us(void);
void sleep_ms(unsigned int ms);

/* Sorts them. */
double median(double *values, size_t n);
double quantile(double *values, size_t n, double q);

/* Enters the host that has a device, if it is in another network namespace than we are. */
void enter_host(void);
/* Becomes a user of the guest, in the service's group whether the user is its member or not. */
void become(const char *user);

/* A device of this network namespace, and a page to register. */
struct device {
        struct ibv_context *context;
        struct ibv_pd *pd;
        int memory; /* memfd */
        void *page; /* its mapping */
};

struct device device_open(void);

/* Where the service listens for apps, keepers, administrators. */
#define CLIENT_SOCKET  "/run/pinlease/client.sock"
#define SESSION_SOCKET "/run/pinlease/session.sock"
#define ADMIN_SOCKET   "/run/pinlease/admin.sock"

/* Connects. Returns a descriptor or a negative errno. */
int dial(const char *path, int flags);

/* Sends a request, with a descriptor unless that is -1. Returns the code of the answer or a negative errno. */
int call(int sock, struct pl_packet *packet, int fd, struct pl_packet *ret_reply);

/* The following end the program when they fail. */
void say_hello(int sock);
int open_session(void); /* dial() and say_hello() */
uint32_t attach(int sock, const struct device *device);
uint64_t register_page(int sock, const struct device *device, uint32_t context);
void deregister(int sock, uint64_t id);
void ping(int sock);

/* Processes of this name whose command line contains `what`. Returns how many; at most `max` of them are stored. */
#define SESSION_COMM "pinlease-sessio" /* cut to 15 characters */
size_t find_processes(const char *comm, const char *what, pid_t *ret_pids, size_t max);
/* Until there are not more than n of sessions: two each. */
void await_processes(size_t n);

/*
 * Puts an app and its session on the first processor, so that a round trip is two context switches there, undisturbed or not.
 * Across two processors it would be what it takes to wake an idle one: in an emulated machine that is much more, and less of it
 * the busier the machine is otherwise. Everybody else goes where the kernel likes. Takes root.
 */
void pin(pid_t app);

/* Sum of the lines of a file in /proc/PID that begin with one of the names (NULL-terminated), as numbers. */
double sum_lines(pid_t pid, const char *file, const char *const *names);

/* The only number in a file. -1: it is not there. */
double read_number(const char *path);

/* Processor time that the service has used so far. */
#define SERVICE_CGROUP "/sys/fs/cgroup/system.slice/pinlease.service/"
double service_cpu_us(void);

#endif
