/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What one user's hostility costs another user.
 *
 * The other user (mallory, who is harmless here) has a session and uses it all the time. Every round has a period of each
 * kind, in an order that is drawn anew: undisturbed, beside processes of the attacker that only spin, beside each attack.
 * The figures are medians over the rounds of what is the median in a period.
 *
 * usage: pinlease-bench-attacks [ROUNDS [PATTERN]]   the table, and JSON on descriptor 3 if it is open
 */

#include <fcntl.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "attacks.h"

#define VICTIM     "mallory"
#define PERIOD_MS  500
#define SAMPLES    8192
#define STARTS     5
#define STARTS_MS  3000
#define MAX_ROUNDS 32

/* Of one period: microseconds, then processors and times a second. */
enum figure { TRIP, CYCLE, TRIP_P99, START, SERVICE, RATE, N_FIGURES };

struct figures {
        double values[N_FIGURES];
};

/* --- the victim -------------------------------------------------------------------------------------------------------- */

static double start_once(void) {
        double from = now_us();
        int sock = open_session();
        double took = now_us() - from;

        close(sock);
        return took;
}

static void period(int sock, const struct device *device, uint32_t context, bool starts, struct figures *ret) {
        static double trips[SAMPLES], cycles[SAMPLES], sessions[STARTS];
        double end = now_us() + PERIOD_MS * 1e3;
        size_t n = 0, n_starts = 0;

        while (now_us() < end && n < SAMPLES) {
                double from = now_us(), between;

                ping(sock);
                between = now_us();
                deregister(sock, register_page(sock, device, context));
                trips[n] = between - from;
                cycles[n++] = now_us() - between;
        }
        end = now_us() + STARTS_MS * 1e3;
        while (starts && now_us() < end && n_starts < STARTS)
                sessions[n_starts++] = start_once();

        ret->values[TRIP] = median(trips, n);
        ret->values[TRIP_P99] = quantile(trips, n, 0.99);
        ret->values[CYCLE] = median(cycles, n);
        ret->values[START] = median(sessions, n_starts);
}

/* Does a period whenever it is told to. */
static void victim(int channel) {
        struct device device;
        uint32_t context;
        bool starts;
        int sock;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        enter_host();
        become(VICTIM);
        device = device_open();
        sock = open_session();
        context = attach(sock, &device);
        (void)register_page(sock, &device, context); /* so that all others are warm */
        while (recv(channel, &starts, sizeof starts, 0) == sizeof starts) {
                struct figures figures = { 0 };

                period(sock, &device, context, starts, &figures);
                (void)send(channel, &figures, sizeof figures, 0);
        }
        _exit(EXIT_SUCCESS);
}

static int start_victim(pid_t *ret_pid) {
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                die("socketpair", errno);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                close(pair[0]);
                victim(pair[1]);
        }
        close(pair[1]);
        *ret_pid = pid;
        return pair[0];
}

static struct figures ask(int channel, bool starts) {
        struct figures figures;

        if (send(channel, &starts, sizeof starts, 0) < 0 || recv(channel, &figures, sizeof figures, 0) != sizeof figures)
                die("the victim", ECHILD);
        return figures;
}

/* --- the rounds -------------------------------------------------------------------------------------------------------- */

static double service_usec(void) {
        char text[64] = "";
        int fd = open(CGROUP "cpu.stat", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
                die(CGROUP "cpu.stat", errno);
        close(fd);
        return strtod(text + strlen("usage_usec "), NULL);
}

static struct figures measure(const struct attack *attack, int channel, struct progress *progress) {
        struct figures figures;
        double from, service;
        uint64_t n;
        pid_t pid;

        pid = attack_start(attack, progress);
        sleep_ms(100);
        from = now_us();
        service = service_usec();
        n = atomic_load(&progress->n);
        figures = ask(channel, !attack->refuses);
        figures.values[RATE] = (double)(atomic_load(&progress->n) - n) / (now_us() - from) * 1e6;
        figures.values[SERVICE] = (service_usec() - service) / (now_us() - from);
        attack_stop(pid, 2);
        return figures;
}

static bool wanted(size_t i, const char *pattern) {
        return i <= TWO_HOGS || !pattern || fnmatch(pattern, attacks[i].name, 0) == 0;
}

static void shuffle(size_t *order) {
        for (size_t i = n_attacks - 1; i > 0; i--) {
                size_t j = (size_t)random() % (i + 1), t = order[i];

                order[i] = order[j];
                order[j] = t;
        }
}

typedef double values_t[N_FIGURES][MAX_ROUNDS];

static void run_rounds(size_t rounds, const char *pattern, values_t *values) {
        struct progress *progress =
                mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        size_t *order = calloc(n_attacks, sizeof *order);
        pid_t pid;
        int channel = start_victim(&pid);

        if (progress == MAP_FAILED || !order)
                die("memory", ENOMEM);
        for (size_t i = 0; i < n_attacks; i++)
                order[i] = i;
        (void)ask(channel, false); /* what happens only the first time */
        pin(pid);
        for (size_t round = 0; round < rounds; round++) {
                shuffle(order);
                for (size_t k = 0; k < n_attacks; k++)
                        if (wanted(order[k], pattern)) {
                                struct figures f = measure(attacks + order[k], channel, progress);

                                for (size_t j = 0; j < N_FIGURES; j++)
                                        values[order[k]][j][round] = f.values[j];
                        }
        }
        free(order);
        close(channel);
}

/* --- the table --------------------------------------------------------------------------------------------------------- */

static void report(size_t rounds, const char *pattern, values_t *values) {
        json_object *rows = json_object_new_array();
        double base[N_FIGURES], hog[N_FIGURES];

        for (size_t j = 0; j < N_FIGURES; j++) {
                base[j] = median(values[UNDISTURBED][j], rounds);
                hog[j] = median(values[ONE_HOG][j], rounds);
        }
        (void)printf("Medians of %zu interleaved rounds. Undisturbed: round trip %.0f µs, register + deregister of 4 KiB %.0f µs,\n"
                     "session start %.0f µs.\n\n"
                     "| beside | times a second | service, processors | round trip | beside 1 spinning: | register + deregister | "
                     "beside 1 spinning: | round trip, 99th percentile | session start |\n"
                     "|---|---|---|---|---|---|---|---|---|\n",
                     rounds,
                     base[TRIP],
                     base[CYCLE],
                     base[START]);
        for (size_t i = 0; i < n_attacks; i++) {
                json_object *row = json_object_new_object();
                double m[N_FIGURES];

                if (!wanted(i, pattern))
                        continue;
                for (size_t j = 0; j < N_FIGURES; j++)
                        m[j] = median(values[i][j], rounds);
                (void)printf("| %s | %.0f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n",
                             attacks[i].name,
                             i > TWO_HOGS ? m[RATE] : 0,
                             m[SERVICE],
                             m[TRIP] / base[TRIP],
                             m[TRIP] / hog[TRIP],
                             m[CYCLE] / base[CYCLE],
                             m[CYCLE] / hog[CYCLE],
                             m[TRIP_P99] / base[TRIP_P99],
                             m[START] / base[START]);
                json_object_object_add(row, "beside", json_object_new_string(attacks[i].name));
                json_object_object_add(row, "round_trip", json_object_new_double(m[TRIP] / base[TRIP]));
                json_object_object_add(row, "register", json_object_new_double(m[CYCLE] / base[CYCLE]));
                json_object_object_add(row, "round_trip_to_spinning", json_object_new_double(m[TRIP] / hog[TRIP]));
                json_object_object_add(row, "register_to_spinning", json_object_new_double(m[CYCLE] / hog[CYCLE]));
                json_object_array_add(rows, row);
        }
        if (fcntl(3, F_GETFD) >= 0)
                (void)dprintf(3, "%s\n", json_object_to_json_string_ext(rows, JSON_C_TO_STRING_PRETTY));
        json_object_put(rows);
}

int main(int argc, char *argv[]) {
        size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5;
        const char *pattern = argc > 2 ? argv[2] : NULL;
        values_t *values = calloc(n_attacks, sizeof *values);

        if (!values)
                die("memory", ENOMEM);
        if (rounds == 0 || rounds > MAX_ROUNDS) {
                (void)fprintf(stderr, "usage: pinlease-bench-attacks [ROUNDS [PATTERN]], up to %d rounds\n", MAX_ROUNDS);
                return 2;
        }
        (void)signal(SIGPIPE, SIG_IGN);
        run_rounds(rounds, pattern, values);
        report(rounds, pattern, values);
        free(values);
        return EXIT_SUCCESS;
}
