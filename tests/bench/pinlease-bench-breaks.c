/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How long another program waits that truncates a file of which something is registered, beside a bare loop of
 * ibv_dereg_mr() of the same registrations in the app itself.
 *
 * A file has one registration of each of its pages but the last, and the other program cuts that off, or puts it back:
 * so what it does itself is next to nothing. When the last registration is gone is seen by a probe on the kernel's
 * ib_dereg_mr_user(), which is there in all measurements, so that it slows all of them down.
 *
 *   released  the app has no function for it: the library's default handler gives back what is asked for, at once
 *   forced    the app does not listen; for a service with --grace 0
 *
 * usage: pinlease-bench-breaks released|forced [ROUNDS]      the table, and JSON on descriptor 3 if it is open
 */

#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "file.h"

#define TRACING "/sys/kernel/tracing/"
#define INSTANCE TRACING "instances/pinlease-bench/"
#define MAX_N 10000

static const struct target {
        const char *name, *folder;
        enum pinlease_method method;
} targets[] = {
        { "ext4, DAX; odp", "/mnt/ext4-dax", PINLEASE_METHOD_ODP },
        { "tmpfs; pinned", "/mnt/tmpfs", PINLEASE_METHOD_PINNED },
};

/* How many registrations, and how often that is measured in each round. */
static const struct amount { size_t n, times; } amounts[] = { { 1, 7 }, { 100, 4 }, { MAX_N, 1 } };

enum figure { BARE, ONE_BY_ONE, BREAK_LAST, BREAK_RETURN, N_FIGURES };

static const char *const figure_names[N_FIGURES] = { "bare_us", "one_by_one_us", "break_last_us", "break_return_us" };

/* The other program's, in memory that both share. */
struct breaker {
        double began, returned;
        char path[96];
        off_t size;
};

struct bench {
        struct device device;
        struct pinlease *session;
        bool listens;
        struct file files[ELEMENTSOF(targets)];
        struct breaker *breaker;
        int channel; /* to it: a byte: do it; from it: it is done */
        size_t n_settled;
        json_object *rows;
};

/* --- the probe --- */

static void write_text(const char *path, int flags, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC | flags);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                die(path, errno);
        close(fd);
}

static void probe_open(void) {
        write_text(TRACING "kprobe_events", O_APPEND, "r:pinlease_bench/gone ib_dereg_mr_user\n");
        if (mkdir(INSTANCE, 0700) < 0)
                die(INSTANCE, errno);
        write_text(INSTANCE "trace_clock", 0, "mono");
        write_text(INSTANCE "buffer_size_kb", 0, "8192");
        write_text(INSTANCE "events/pinlease_bench/gone/enable", 0, "1");
}

static void probe_close(void) {
        write_text(INSTANCE "events/pinlease_bench/gone/enable", 0, "0");
        (void)rmdir(INSTANCE);
        write_text(TRACING "kprobe_events", O_APPEND, "-:pinlease_bench/gone\n");
}

static void probe_clear(void) {
        write_text(INSTANCE "trace", O_TRUNC, "");
}

/* When the last of n was gone. A line is "comm-PID [CPU] flags SECONDS: gone: ...". */
static double probe_last(size_t n) {
        FILE *f = fopen(INSTANCE "trace", "re");
        char line[512], *at;
        double last = 0;
        size_t seen = 0;

        if (!f)
                die(INSTANCE "trace", errno);
        while (fgets(line, sizeof line, f)) {
                at = strstr(line, ": gone: ");
                if (line[0] == '#' || !at)
                        continue;
                while (at > line && at[-1] != ' ')
                        at--;
                last = strtod(at, NULL) * 1e6;
                seen++;
        }
        (void)fclose(f);
        if (seen != n) {
                (void)fprintf(stderr, "pinlease-bench-breaks: %zu deregistrations were seen, not %zu\n", seen, n);
                exit(EXIT_FAILURE);
        }
        return last;
}

/* --- the other program --- */

static _Noreturn void breaker_run(struct breaker *breaker, int channel) {
        char c;

        while (read(channel, &c, 1) == 1) {
                breaker->began = now_us();
                if (truncate(breaker->path, breaker->size) < 0)
                        die(breaker->path, errno);
                breaker->returned = now_us();
                if (write(channel, &c, 1) != 1)
                        break;
        }
        _exit(EXIT_SUCCESS);
}

static void breaker_start(struct bench *b) {
        int channel[2];
        pid_t pid;

        b->breaker = mmap(NULL, sizeof *b->breaker, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (b->breaker == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
                die("the other program", errno);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                close(channel[0]);
                breaker_run(b->breaker, channel[1]);
        }
        close(channel[1]);
        b->channel = channel[0];
}

/* --- measuring --- */

static double bare(struct bench *b, const struct target *target, const struct file *file, size_t n) {
        static struct ibv_mr *mrs[MAX_N];
        unsigned int access = ACCESS_READ_WRITE | (target->method == PINLEASE_METHOD_ODP ? IBV_ACCESS_ON_DEMAND : 0U);
        double from;

        for (size_t i = 0; i < n; i++) {
                mrs[i] = ibv_reg_mr(b->device.pd, file->memory + i * BENCH_PAGE, BENCH_PAGE, access);
                if (!mrs[i])
                        die("ibv_reg_mr (as root, or with a larger ulimit -l)", errno);
        }
        from = now_us();
        for (size_t i = 0; i < n; i++)
                if (ibv_dereg_mr(mrs[i]))
                        die("ibv_dereg_mr", errno);
        return now_us() - from;
}

static struct pinlease_mr *mrs[MAX_N];

static void register_all(struct bench *b, const struct target *target, const struct file *file, size_t n) {
        for (size_t i = 0; i < n; i++)
                mrs[i] = file_register(file,
                                       b->session,
                                       b->device.pd,
                                       i * BENCH_PAGE,
                                       BENCH_PAGE,
                                       target->method,
                                       PINLEASE_GUARD_LEASE);
}

static double deregister_all(struct bench *b, size_t n) {
        double from = now_us();

        for (size_t i = 0; i < n; i++)
                if (pinlease_dereg(b->session, mrs[i]) < 0)
                        die_refused(b->session);
        return now_us() - from;
}

static void on_settled(struct pinlease *p _unused_,
                       void *cookie _unused_,
                       uint64_t size _unused_,
                       const char *sentence _unused_,
                       void *userdata) {
        struct bench *b = userdata;

        b->n_settled++;
}

static void await_breaker(const struct bench *b) {
        char c;

        if (read(b->channel, &c, 1) != 1)
                die("the other program", EIO);
}

static void break_once(
        struct bench *b, const struct target *target, const struct file *file, size_t n, double took[N_FIGURES]) {
        struct pollfd p = { .fd = pinlease_get_fd(b->session), .events = POLLIN };
        struct stat st;

        register_all(b, target, file, n);
        probe_clear();
        if (fstat(file->fd, &st) < 0)
                die(file->path, errno);
        b->breaker->size = (size_t)st.st_size == file->length ? st.st_size - BENCH_PAGE : (off_t)file->length;
        memcpy(b->breaker->path, file->path, sizeof b->breaker->path);
        b->n_settled = 0;
        if (write(b->channel, "", 1) != 1)
                die("the other program", EIO);
        if (!b->listens)
                await_breaker(b);
        while (b->n_settled < n)
                if (poll(&p, 1, -1) < 0 || pinlease_dispatch(b->session) < 0)
                        die_refused(b->session);
        if (b->listens)
                await_breaker(b);
        took[BREAK_LAST] = probe_last(n) - b->breaker->began;
        took[BREAK_RETURN] = b->breaker->returned - b->breaker->began;
        (void)deregister_all(b, n);
}

/* Each once, in any order. */
static void measure(
        struct bench *b, const struct target *target, const struct file *file, size_t n, double took[N_FIGURES]) {
        unsigned int first = (unsigned int)random() % 3;

        for (unsigned int i = 0; i < 3; i++)
                switch ((first + i) % 3) {
                case 0:
                        probe_clear();
                        took[BARE] = bare(b, target, file, n);
                        (void)probe_last(n);
                        break;
                case 1:
                        register_all(b, target, file, n);
                        took[ONE_BY_ONE] = deregister_all(b, n);
                        break;
                default:
                        break_once(b, target, file, n, took);
                }
}

static void report(struct bench *b, const struct target *target, size_t n, double *values[N_FIGURES], size_t rounds) {
        json_object *row = json_object_new_object();
        double m[N_FIGURES];

        json_object_object_add(row, "target", json_object_new_string(target->name));
        json_object_object_add(row, "registrations", json_object_new_int64((int64_t)n));
        for (size_t i = 0; i < N_FIGURES; i++) {
                m[i] = median(values[i], rounds);
                json_object_object_add(row, figure_names[i], json_object_new_double(m[i]));
        }
        json_object_array_add(b->rows, row);
        (void)printf("| %s | %zu | %zu | %.2f | %.2f | %.2f | %.2f | %.2f |\n",
                     target->name,
                     n,
                     rounds,
                     m[BARE] / 1e3,
                     m[ONE_BY_ONE] / 1e3,
                     m[BREAK_LAST] / 1e3,
                     m[BREAK_LAST] / m[BARE],
                     m[BREAK_RETURN] / 1e3);
        (void)fflush(stdout);
}

static void measure_amount(struct bench *b, const struct amount *amount, size_t rounds) {
        double *values[ELEMENTSOF(targets)][N_FIGURES], took[N_FIGURES];

        for (size_t t = 0; t < ELEMENTSOF(targets); t++)
                for (size_t i = 0; i < N_FIGURES; i++) {
                        values[t][i] = calloc(rounds, sizeof *values[t][i]);
                        if (!values[t][i])
                                die("memory", ENOMEM);
                }
        for (size_t round = 0; round < rounds; round++) {
                size_t first = (size_t)random() % ELEMENTSOF(targets);

                for (size_t k = 0; k < ELEMENTSOF(targets); k++) {
                        size_t t = (first + k) % ELEMENTSOF(targets);

                        measure(b, targets + t, b->files + t, amount->n, took);
                        for (size_t i = 0; i < N_FIGURES; i++)
                                values[t][i][round] = took[i];
                }
        }
        for (size_t t = 0; t < ELEMENTSOF(targets); t++) {
                report(b, targets + t, amount->n, values[t], rounds);
                for (size_t i = 0; i < N_FIGURES; i++)
                        free(values[t][i]);
        }
}

int main(int argc, char *argv[]) {
        const struct pinlease_listener listener = { .settled = on_settled };
        struct bench b = { .rows = json_object_new_array() };
        size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 3;
        bool json = fcntl(3, F_GETFD) >= 0; /* before anything of ours has that number */

        if (argc < 2 || (strcmp(argv[1], "released") != 0 && strcmp(argv[1], "forced") != 0) || rounds == 0) {
                (void)fprintf(stderr, "usage: pinlease-bench-breaks released|forced [ROUNDS]\n");
                return 2;
        }
        b.listens = strcmp(argv[1], "released") == 0;
        enter_host();
        breaker_start(&b);
        b.device = device_open();
        for (size_t t = 0; t < ELEMENTSOF(targets); t++)
                b.files[t] = file_make(targets[t].folder, "pinlease-bench", (MAX_N + 1) * BENCH_PAGE);
        if (pinlease_connect(NULL, &listener, &b, &b.session) < 0)
                die_refused(NULL);
        if (pinlease_attach(b.session, b.device.context) < 0)
                die_refused(b.session);
        probe_open();
        for (size_t t = 0; t < ELEMENTSOF(targets); t++) {
                double took[N_FIGURES];

                measure(&b, targets + t, b.files + t, 1, took); /* what happens only the first time */
        }

        (void)printf(
                "%s, medians, milliseconds:\n\n"
                "| file | registrations | rounds | bare loop | by the service, one by one | break: last one gone | "
                "ratio to the bare loop | break: truncate returns |\n|---|---|---|---|---|---|---|---|\n",
                argv[1]);
        for (size_t i = 0; i < ELEMENTSOF(amounts); i++)
                measure_amount(&b, amounts + i, rounds * amounts[i].times);

        probe_close();
        b.session = pinlease_disconnect(b.session);
        for (size_t t = 0; t < ELEMENTSOF(targets); t++)
                file_free(b.files + t);
        if (json)
                (void)dprintf(3, "%s\n", json_object_to_json_string_ext(b.rows, JSON_C_TO_STRING_PRETTY));
        json_object_put(b.rows);
        return EXIT_SUCCESS;
}
