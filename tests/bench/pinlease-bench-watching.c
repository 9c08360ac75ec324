/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What others pay for it that files are watched: what is done to files, without the service, and while it watches none,
 * two, and a thousand. Every round has each of these states once, in an order that is drawn anew; the figures are
 * medians over the rounds of what is the median in a round.
 *
 * usage: pinlease-bench-watching [ROUNDS]      the table, and JSON on descriptor 3 if it is open
 */

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "file.h"

#define FOLDER "/mnt/ext4"
#define LENGTH (16 * BENCH_PAGE)
#define N_FILES 1000 /* the last is the one that is written to */
#define N_SESSIONS 4 /* each has leases for 256 files at most */
#define SAMPLES 200
#define PATIENT 30 /* samples between which the lease comes back */
#define REST_MS 15000
#define MAX_ROUNDS 32

enum state { WITHOUT, IDLE, FEW, MANY, N_STATES };

static const char *const state_names[N_STATES] = { "without", "idle", "two", "thousand" };

enum operation {
        OPEN_UNRELATED,
        STAT_UNRELATED,
        WRITE_UNRELATED,
        OPEN,
        OPEN_AT_ONCE,
        STAT,
        READ,
        WRITE,
        N_OPERATIONS,
};

static const struct {
        const char *name, *key;
} operations[N_OPERATIONS] = {
        { "open for reading and close, another file", "open_unrelated_us" },
        { "stat, another file", "stat_unrelated_us" },
        { "write 4 KiB, another file", "write_unrelated_us" },
        { "open for reading and close, a registered file with a lease, 10 ms apart", "open_us" },
        { "the same again and again, mean", "open_at_once_us" },
        { "stat, a registered file with a lease", "stat_us" },
        { "read 4 KiB, a registered file", "read_us" },
        { "write 4 KiB, a registered file", "write_us" },
};

struct bench {
        struct device device;
        struct pinlease *sessions[N_SESSIONS];
        struct file *files; /* N_FILES */
        struct file unrelated;
        int unrelated_fd; /* by which it is written to */
        int other; /* by which the last of the files is read and written to: there since before it is registered */
};

/* --- states --- */

static void systemctl(const char *verb) {
        pid_t pid = fork();
        int status;

        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                (void)execlp("systemctl",
                             "systemctl",
                             verb,
                             "pinlease.socket",
                             "pinlease-session.socket",
                             "pinlease-admin.socket",
                             "pinlease.service",
                             (char *)NULL);
                _exit(127);
        }
        if (waitpid(pid, &status, 0) < 0 || status != 0)
                die("systemctl", EIO);
}

static void register_file(struct bench *b, size_t index) {
        struct pinlease *session = b->sessions[index % N_SESSIONS];

        (void)file_register(b->files + index,
                            session,
                            b->device.pd,
                            0,
                            LENGTH,
                            PINLEASE_METHOD_ODP,
                            index == N_FILES - 1 ? PINLEASE_GUARD_MODIFY : PINLEASE_GUARD_LEASE);
}

static void enter(struct bench *b, enum state state) {
        if (state == WITHOUT)
                systemctl("stop");
        if (state < FEW)
                return;
        for (size_t i = 0; i < N_SESSIONS; i++)
                if (pinlease_connect(NULL, NULL, NULL, b->sessions + i) < 0)
                        die_refused(NULL);
        for (size_t i = 1; state == MANY && i < N_FILES - 1; i++)
                register_file(b, i);
        register_file(b, 0);
        register_file(b, N_FILES - 1);
}

static void leave(struct bench *b, enum state state) {
        for (size_t i = 0; i < N_SESSIONS; i++)
                b->sessions[i] = pinlease_disconnect(b->sessions[i]);
        await_processes(0);
        if (state == WITHOUT)
                systemctl("start");
}

/* --- operations --- */

static void open_and_close(const struct file *file) {
        int fd = open(file->path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                die(file->path, errno);
        close(fd);
}

static void status(const struct file *file) {
        struct stat st;

        if (stat(file->path, &st) < 0)
                die(file->path, errno);
}

static void transfer(int fd, bool write) {
        static char page[BENCH_PAGE];
        ssize_t n = write ? pwrite(fd, page, sizeof page, 0) : pread(fd, page, sizeof page, 0);

        if (n != sizeof page)
                die("read or write", errno);
}

static void do_it(struct bench *b, enum operation operation) {
        switch (operation) {
        case OPEN_UNRELATED:
                open_and_close(&b->unrelated);
                break;
        case STAT_UNRELATED:
                status(&b->unrelated);
                break;
        case WRITE_UNRELATED:
                transfer(b->unrelated_fd, true);
                break;
        case OPEN:
        case OPEN_AT_ONCE:
                open_and_close(b->files);
                break;
        case STAT:
                status(b->files);
                break;
        default:
                transfer(b->other, operation == WRITE);
        }
}

static void await_lease(const struct bench *b) {
        for (unsigned int i = 0; fcntl(b->files[0].fd, F_GETLEASE) != F_WRLCK; i++) {
                if (i > 20000)
                        die("the lease does not come back", ETIMEDOUT);
                sleep_ms(1);
        }
}

static double measure(struct bench *b, enum state state, enum operation operation) {
        size_t n = operation == OPEN ? PATIENT : SAMPLES;
        double values[SAMPLES], begun;

        if (state >= FEW)
                await_lease(b);
        begun = now_us();
        for (size_t i = 0; i < n; i++) {
                double from;

                if (operation == OPEN && state >= FEW)
                        await_lease(b);
                if (operation == OPEN)
                        sleep_ms(10); /* in all states; and what else there is to do for a lease is done */
                from = now_us();
                do_it(b, operation);
                values[i] = now_us() - from;
        }
        return operation == OPEN_AT_ONCE ? (now_us() - begun) / (double)n : median(values, n);
}

/* Of one processor, what the service uses while somebody writes to the file without end, and while nobody does
 * anything. */
static double percent(struct bench *b, unsigned int ms, bool write) {
        double before = service_cpu_us(), begun = now_us(), end = begun + ms * 1e3;

        while (write && now_us() < end)
                do_it(b, WRITE);
        if (!write)
                sleep_ms(ms);
        return (service_cpu_us() - before) * 100 / (now_us() - begun);
}

/* --- rounds --- */

static double values[N_STATES][N_OPERATIONS][MAX_ROUNDS], writing[N_STATES][MAX_ROUNDS], resting[N_STATES];

static void run_round(struct bench *b, size_t round) {
        enum state order[N_STATES] = { WITHOUT, IDLE, FEW, MANY };

        for (size_t i = N_STATES - 1; i > 0; i--) {
                size_t j = (size_t)random() % (i + 1);
                enum state t = order[i];

                order[i] = order[j];
                order[j] = t;
        }
        for (size_t i = 0; i < N_STATES; i++) {
                enum state state = order[i];

                enter(b, state);
                sleep_ms(1000); /* what that has left to be done is done */
                for (unsigned int o = 0; o < N_OPERATIONS; o++)
                        values[state][o][round] = measure(b, state, (enum operation)o);
                if (state >= FEW)
                        writing[state][round] = percent(b, 2000, true);
                if (state >= FEW && round == 0)
                        resting[state] = percent(b, REST_MS, false);
                leave(b, state);
        }
}

static void report(size_t rounds, bool json) {
        json_object *top = json_object_new_object();
        double m[N_STATES];

        (void)printf("Medians of %zu rounds, microseconds:\n\n"
                     "| what | without the service | nothing registered | two files registered | %d files "
                     "|\n|---|---|---|---|---|\n",
                     rounds,
                     N_FILES);
        for (unsigned int o = 0; o < N_OPERATIONS; o++) {
                json_object *row = json_object_new_object();

                for (size_t s = 0; s < N_STATES; s++) {
                        m[s] = median(values[s][o], rounds);
                        json_object_object_add(row, state_names[s], json_object_new_double(m[s]));
                }
                json_object_object_add(top, operations[o].key, row);
                (void)printf("| %s | %.1f | %.1f | %.1f | %.1f |\n",
                             operations[o].name,
                             m[WITHOUT],
                             m[IDLE],
                             m[FEW],
                             m[MANY]);
        }
        (void)printf("\nOf a processor the service uses, with two files and with %d: while one is written to without "
                     "end %.1f %% and "
                     "%.1f %%, while nothing is done %.2f %% and %.2f %%.\n",
                     N_FILES,
                     median(writing[FEW], rounds),
                     median(writing[MANY], rounds),
                     resting[FEW],
                     resting[MANY]);
        json_object_object_add(top, "writing_two_percent", json_object_new_double(median(writing[FEW], rounds)));
        json_object_object_add(top, "writing_thousand_percent", json_object_new_double(median(writing[MANY], rounds)));
        json_object_object_add(top, "resting_two_percent", json_object_new_double(resting[FEW]));
        json_object_object_add(top, "resting_thousand_percent", json_object_new_double(resting[MANY]));
        if (json)
                (void)dprintf(3, "%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY));
        json_object_put(top);
}

int main(int argc, char *argv[]) {
        size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5;
        bool json = fcntl(3, F_GETFD) >= 0; /* before anything of ours has that number */
        struct rlimit files = { 4096, 4096 };
        struct bench b = { .files = calloc(N_FILES, sizeof *b.files) };
        char name[32];

        if (rounds == 0 || rounds > MAX_ROUNDS) {
                (void)fprintf(stderr, "usage: pinlease-bench-watching [ROUNDS], %d at most\n", MAX_ROUNDS);
                return 2;
        }
        if (!b.files || setrlimit(RLIMIT_NOFILE, &files) < 0)
                die("resources", errno);
        enter_host();
        b.device = device_open();
        for (size_t i = 0; i < N_FILES; i++) {
                (void)snprintf(name, sizeof name, "pinlease-bench-%zu", i);
                b.files[i] = file_make(FOLDER, name, LENGTH);
        }
        b.unrelated = file_make(FOLDER, "pinlease-bench", LENGTH);
        b.unrelated_fd = open(b.unrelated.path, O_RDWR | O_CLOEXEC);
        b.other = open(b.files[N_FILES - 1].path, O_RDWR | O_CLOEXEC);
        if (b.unrelated_fd < 0 || b.other < 0)
                die(FOLDER, errno);

        for (size_t round = 0; round < rounds; round++)
                run_round(&b, round);
        report(rounds, json);
        for (size_t i = 0; i < N_FILES; i++)
                file_free(b.files + i);
        file_free(&b.unrelated);
        free(b.files);
        return EXIT_SUCCESS;
}
