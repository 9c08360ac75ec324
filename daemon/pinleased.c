/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleased: options, the listening socket, and then the supervisor. */

#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "supervisor.h"

#define BACKLOG 4096

struct options {
        const char *socket;
        struct stat socket_file; /* what was made there */
        const char *user;
        struct supervisor_config config;
};

static void help(void) {
        (void)printf("pinleased [OPTION]...\n"
                     "\n"
                     "Brokers RDMA memory registration. Normally started by systemd (pinlease.socket, pinlease.service).\n"
                     "\n"
                     "  --socket PATH            listen on PATH instead of a socket from systemd\n"
                     "  --user NAME              user of the registrar processes (default %s)\n"
                     "  --pin-limit BYTES        pinned bytes of one session (default 1 GiB; K, M, G, T may follow)\n"
                     "  --odp-limit BYTES        bytes that one session registers by ODP (default 1 TiB)\n"
                     "  --registration-limit N   registrations of one session (default 32768)\n"
                     "  --max-sessions N         sessions in all (default 4096)\n"
                     "  --sessions-per-user N    sessions of one user (default 1024)\n"
                     "  --grace MS               what apps get to let go when the service stops (default 3000)\n"
                     "  --heartbeat MS           how often a registrar is asked whether it turns (default 2000)\n"
                     "  --hang MS                how long it may owe the answer (default 5000)\n"
                     "  --hello-timeout MS       how long a connection may say nothing (default 10000)\n"
                     "  --session-program PATH   instead of %s\n"
                     "  --help, --version\n",
                     PINLEASE_USER,
                     SESSION_PROGRAM);
}

static int parse_number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *ret_value) {
        static const char suffixes[] = "KMGT";
        unsigned long long value;
        const char *suffix;
        char *end;

        errno = 0;
        value = strtoull(text, &end, 10);
        suffix = *end ? strchr(suffixes, *end) : NULL;
        for (const char *p = suffixes; suffix && p <= suffix; p++)
                if (__builtin_mul_overflow(value, 1024ULL, &value))
                        errno = ERANGE;
        if (errno || text[0] < '0' || text[0] > '9' || (*end && (!suffix || end[1])) || value < min || value > max) {
                (void)fprintf(stderr,
                              "pinleased: --%s=%s: a number from %" PRIu64 " to %" PRIu64 " is needed.\n",
                              name,
                              text,
                              min,
                              max);
                return -EINVAL;
        }
        *ret_value = value;
        return 0;
}

enum { OPT_SOCKET = 256, OPT_USER, OPT_PROGRAM, OPT_HELP, OPT_VERSION, OPT_NUMBER };

/* Numeric options: name, range, default, where the value goes. */
static const struct number {
        const char *name;
        uint64_t min, max, initial;
        size_t offset;
        size_t size;
} numbers[] = {
#define NUMBER(name, min, max, initial, field)                                                                         \
        { name, min, max, initial, offsetof(struct supervisor_config, field), sizeof(((struct supervisor_config *)0)->field) }
        NUMBER("pin-limit", 0, UINT64_C(1) << 60, UINT64_C(1) << 30, limits.pinned),
        NUMBER("odp-limit", 0, UINT64_C(1) << 60, UINT64_C(1) << 40, limits.odp),
        NUMBER("registration-limit", 1, 1 << 20, 1 << 15, limits.registrations),
        NUMBER("max-sessions", 1, 1 << 20, 4096, max_sessions),
        NUMBER("sessions-per-user", 1, 1 << 20, 1024, max_sessions_per_user),
        NUMBER("grace", 0, 600000, 3000, grace_ms),
        NUMBER("heartbeat", 10, 600000, 2000, heartbeat_ms),
        NUMBER("hang", 10, 600000, 5000, hang_ms),
        NUMBER("hello-timeout", 10, 600000, 10000, hello_timeout_ms),
#undef NUMBER
};

static void set_number(struct supervisor_config *config, const struct number *number, uint64_t value) {
        void *field = (uint8_t *)config + number->offset;
        uint32_t narrow = (uint32_t)value;

        if (number->size == sizeof value)
                memcpy(field, &value, sizeof value);
        else
                memcpy(field, &narrow, sizeof narrow);
}

/* Returns 0 to go on, 1 when all is done (help), or a negative errno. */
static int parse_options(int argc, char *argv[], struct options *options) {
        struct option longs[ELEMENTSOF(numbers) + 6] = {
                { "socket", required_argument, NULL, OPT_SOCKET },
                { "user", required_argument, NULL, OPT_USER },
                { "session-program", required_argument, NULL, OPT_PROGRAM },
                { "help", no_argument, NULL, OPT_HELP },
                { "version", no_argument, NULL, OPT_VERSION },
        };
        int c, r;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                longs[5 + i] = (struct option) { numbers[i].name, required_argument, NULL, OPT_NUMBER + (int)i };
                set_number(&options->config, numbers + i, numbers[i].initial);
        }

        while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
                switch (c) {
                case OPT_SOCKET:
                        options->socket = optarg;
                        break;
                case OPT_USER:
                        options->user = optarg;
                        break;
                case OPT_PROGRAM:
                        options->config.session_program = optarg;
                        break;
                case OPT_HELP:
                        help();
                        return 1;
                case OPT_VERSION:
                        (void)puts(PACKAGE_STRING);
                        return 1;
                case '?':
                        return -EINVAL;
                default: {
                        const struct number *number = numbers + (c - OPT_NUMBER);
                        uint64_t value;

                        r = parse_number(number->name, optarg, number->min, number->max, &value);
                        if (r < 0)
                                return r;
                        set_number(&options->config, number, value);
                }
                }
        if (optind < argc) {
                (void)fprintf(stderr, "pinleased: unexpected argument \"%s\", see pinleased --help.\n", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

/* A socket file that nobody listens on is what a former daemon left; anything else at that place is not ours to remove. */
static int bind_socket(int fd, const struct sockaddr_un *address) {
        _cleanup_(pl_closep) int probe = -1;
        struct stat st;

        if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
                return 0;
        if (errno != EADDRINUSE)
                return -errno;
        if (lstat(address->sun_path, &st) < 0)
                return -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;

        probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (probe < 0)
                return -errno;
        if (connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;
        if (unlink(address->sun_path) < 0)
                return -errno;
        return bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
}

static int open_socket(const char *path, gid_t gid, int *ret_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(pl_closep) int fd = -1;
        int r;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        (void)umask(0117);
        r = bind_socket(fd, &address);
        if (r < 0)
                return r;
        if (lchown(path, (uid_t)-1, gid) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        *ret_fd = pl_steal_fd(&fd);
        return 0;
}

static int get_listener(struct options *options, int *ret_fd) {
        int n, r;

        n = sd_listen_fds(1);
        if (n > 1 || (n == 1 && sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) <= 0)) {
                log_line(LOG_ERR, "was handed something else than one listening SOCK_SEQPACKET socket; see pinlease.socket");
                return -EINVAL;
        }
        if (n == 1) {
                *ret_fd = SD_LISTEN_FDS_START;
                return 0;
        }
        if (!options->socket) {
                log_line(LOG_ERR, "has no socket: start pinlease.socket, or give --socket PATH");
                return -ENOTCONN;
        }

        r = open_socket(options->socket, options->config.gid, ret_fd);
        if (r == 0)
                r = lstat(options->socket, &options->socket_file) < 0 ? -errno : 0;
        if (r < 0)
                log_line(LOG_ERR, "cannot listen on %s: %s", options->socket, strerror(-r));
        return r;
}

/* Unless it is a successor's by now. */
static void remove_socket(const struct options *options) {
        struct stat st;

        if (options->socket_file.st_ino && lstat(options->socket, &st) == 0 && st.st_ino == options->socket_file.st_ino &&
            st.st_dev == options->socket_file.st_dev)
                (void)unlink(options->socket);
}

/* Registrars run as a user of their own; the daemon needs the right to become it. */
static int get_identity(struct options *options) {
        const struct passwd *pw;

        if (geteuid() != 0) {
                log_line(LOG_ERR, "must be started as root: it starts processes of other users");
                return -EPERM;
        }
        pw = getpwnam(options->user);
        if (!pw || pw->pw_uid == 0) {
                log_line(LOG_ERR,
                         "needs an unprivileged user \"%s\" for its registrars: run systemd-sysusers, or give --user NAME",
                         options->user);
                return -ENOENT;
        }
        options->config.uid = pw->pw_uid;
        options->config.gid = pw->pw_gid;
        return 0;
}

/* Registrars get their pin limit as RLIMIT_MEMLOCK. Lowering needs no privilege; raising is the unit's matter. */
static int check_memlock(uint64_t needed) {
        struct rlimit rl;

        if (getrlimit(RLIMIT_MEMLOCK, &rl) < 0)
                return -errno;
        if (rl.rlim_max >= needed)
                return 0;

        rl.rlim_max = needed;
        if (setrlimit(RLIMIT_MEMLOCK, &rl) < 0) {
                log_line(LOG_ERR,
                         "may lock %" PRIu64 " bytes, but --pin-limit is %" PRIu64 ": set LimitMEMLOCK=infinity in its unit",
                         (uint64_t)rl.rlim_cur,
                         needed);
                return -errno;
        }
        return 0;
}

/* Every session takes two descriptors here. */
static void raise_nofile(void) {
        struct rlimit rl;

        if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
                rl.rlim_cur = rl.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &rl);
        }
}

int main(int argc, char *argv[]) {
        struct options options = {
                .user = PINLEASE_USER,
                .config.session_program = SESSION_PROGRAM,
        };
        int r;

        r = parse_options(argc, argv, &options);
        if (r != 0)
                return r > 0 ? EXIT_SUCCESS : 2;

        log_open("pinleased", LOG_JOURNAL_SOCKET);
        r = get_identity(&options);
        if (r == 0)
                r = check_memlock(options.config.limits.pinned);
        if (r == 0)
                r = get_listener(&options, &options.config.listener);
        if (r < 0)
                return EXIT_FAILURE;

        raise_nofile();
        r = supervisor_run(&options.config);
        remove_socket(&options);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
