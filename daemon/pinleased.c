/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleased: options, sockets, identity, and then the supervisor. */

#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "check-policy.h"
#include "listener.h"
#include "log.h"
#include "policy-load.h"
#include "supervisor.h"

#define MAX_SESSIONS (1U << 20)

struct options {
        const char *runtime_directory;
        const char *user;
        struct listeners listeners;
        char roster[128];
        struct policy_base base;
        struct supervisor_config config;
        struct check_policy check;
};

static void help(void) {
        (void)printf("pinleased [OPTION]...\n"
                     "\n"
                     "Brokers RDMA memory registration. Normally started by systemd (pinlease.socket, pinlease.service).\n"
                     "\n"
                     "  --runtime-directory DIR  make the sockets in DIR instead of having them from systemd\n"
                     "  --user NAME              user of the registrar processes (default %s)\n"
                     "  --pin-limit BYTES        pinned bytes of one session (default 1 GiB; K, M, G, T may follow)\n"
                     "  --odp-limit BYTES        bytes that one session registers by ODP (default 1 TiB)\n"
                     "  --registration-limit N   registrations of one session (default 32768)\n"
                     "  --user-pin-limit BYTES, --user-odp-limit BYTES, --user-registration-limit N\n"
                     "                           the same for all sessions of one user (default 64 GiB, 16 TiB, 1048576)\n"
                     "  --max-sessions N         sessions in all (default 4096)\n"
                     "  --sessions-per-user N    sessions of one user (default 1024)\n"
                     "  --silent-per-user N      connections of one user that have not said anything yet (default 64)\n"
                     "  --grace MS               what apps get to let go when they are told to (default 3000)\n"
                     "  --on-layout-change WHAT  when a file is about to be truncated, opened by others …: \"revoke\" what is registered\n"
                     "                           of it, within --grace (default), or only \"notify\" who has registered by ODP\n"
                     "  --policy FOLDER          where policy.json and policy.d are, instead of\n"
                     "                           %s\n"
                     "  --force WHAT             what is done to an app whose memory cannot be had otherwise: it may be made to\n"
                     "                           \"stop\" for a moment (default), or \"kill\"ed in the end\n"
                     "  --heartbeat MS           how often a registrar is asked whether it turns (default 2000)\n"
                     "  --hang MS                how long it may owe the answer (default 5000)\n"
                     "  --hello-timeout MS       how long a connection may say nothing (default 10000)\n"
                     "  --admin-group NAME       whose members may do what root may with pinleasectl (default: nobody)\n"
                     "  --session-program PATH   instead of %s\n"
                     "  --print-default-policy   the built-in policy, see pinlease-policy(5)\n"
                     "  --check-policy [FILE]... what is wrong with these files, or with the policy that is installed; --json:\n"
                     "                           for programs\n"
                     "  --help, --version\n",
                     PINLEASE_USER,
                     POLICY_FOLDER,
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

enum {
        OPT_DIRECTORY = 256, OPT_USER, OPT_ADMIN_GROUP, OPT_PROGRAM, OPT_LAYOUT, OPT_FORCE, OPT_POLICY, OPT_CHECK, OPT_JSON, OPT_DEFAULT, OPT_HELP,
        OPT_VERSION, OPT_NUMBER
};

/* Numeric options: name, range, default, where the value goes. */
static const struct number {
        const char *name;
        uint64_t min, max, initial;
        size_t offset;
        size_t size;
} numbers[] = {
#define NUMBER(name, min, max, initial, field) \
        { name, min, max, initial, offsetof(struct options, field), sizeof(((struct options *)0)->field) }
        NUMBER("pin-limit", 0, UINT64_C(1) << 50, UINT64_C(1) << 30, base.limits.session.pinned),
        NUMBER("odp-limit", 0, UINT64_C(1) << 50, UINT64_C(1) << 40, base.limits.session.odp),
        NUMBER("registration-limit", 1, 1 << 20, 1 << 15, base.limits.session.registrations),
        NUMBER("user-pin-limit", 0, UINT64_C(1) << 60, UINT64_C(1) << 36, base.limits.user.pinned),
        NUMBER("user-odp-limit", 0, UINT64_C(1) << 60, UINT64_C(1) << 44, base.limits.user.odp),
        NUMBER("user-registration-limit", 1, 1 << 30, 1 << 20, base.limits.user.registrations),
        NUMBER("max-sessions", 1, MAX_SESSIONS, 4096, base.limits.total_sessions),
        NUMBER("sessions-per-user", 1, 1 << 20, 1024, base.limits.user_sessions),
        NUMBER("silent-per-user", 1, 1 << 20, 64, config.limits.silent_per_user),
        NUMBER("grace", 0, 600000, 3000, config.grace_ms),
        NUMBER("heartbeat", 10, 600000, 2000, config.sessions.heartbeat_ms),
        NUMBER("hang", 10, 600000, 5000, config.sessions.hang_ms),
        NUMBER("hello-timeout", 10, 600000, 10000, config.sessions.hello_timeout_ms),
#undef NUMBER
};

static void set_number(struct options *options, const struct number *number, uint64_t value) {
        void *field = (uint8_t *)options + number->offset;
        uint32_t narrow = (uint32_t)value;

        if (number->size == sizeof value)
                memcpy(field, &value, sizeof value);
        else
                memcpy(field, &narrow, sizeof narrow);
}

/* One of two words: 0 or 1. */
static int parse_word(const char *name, const char *text, const char *const words[2], unsigned int *ret_word) {
        for (unsigned int i = 0; i < 2; i++)
                if (strcmp(text, words[i]) == 0) {
                        *ret_word = i;
                        return 0;
                }
        (void)fprintf(stderr, "pinleased: --%s is \"%s\" or \"%s\", not \"%s\".\n", name, words[0], words[1], text);
        return -EINVAL;
}

static const char *const layout_words[2] = { "revoke", "notify" };
static const char *const force_words[2] = { "stop", "kill" };

#define N_WORDS 12 /* options that are no numbers */

static int parse_files(int n, char *files[], struct options *options) {
        if (options->check.wanted) {
                options->check.files = (const char *const *)files;
                options->check.n_files = (size_t)n;
                return 0;
        }
        if (options->check.json || n > 0) {
                (void)fprintf(stderr, "pinleased: unexpected argument \"%s\", see pinleased --help.\n", n > 0 ? files[0] : "--json");
                return -EINVAL;
        }
        return 0;
}

static int set_named_number(struct options *options, const struct number *number, const char *text) {
        uint64_t value;
        int r;

        r = parse_number(number->name, text, number->min, number->max, &value);
        if (r == 0)
                set_number(options, number, value);
        return r;
}

/* Returns 0 to go on, 1 when all is done (help), or a negative errno. */
static int parse_options(int argc, char *argv[], struct options *options) {
        struct option longs[ELEMENTSOF(numbers) + N_WORDS + 1] = {
                { "runtime-directory", required_argument, NULL, OPT_DIRECTORY },
                { "user", required_argument, NULL, OPT_USER },
                { "admin-group", required_argument, NULL, OPT_ADMIN_GROUP },
                { "session-program", required_argument, NULL, OPT_PROGRAM },
                { "on-layout-change", required_argument, NULL, OPT_LAYOUT },
                { "force", required_argument, NULL, OPT_FORCE },
                { "policy", required_argument, NULL, OPT_POLICY },
                { "check-policy", no_argument, NULL, OPT_CHECK },
                { "json", no_argument, NULL, OPT_JSON },
                { "print-default-policy", no_argument, NULL, OPT_DEFAULT },
                { "help", no_argument, NULL, OPT_HELP },
                { "version", no_argument, NULL, OPT_VERSION },
        };
        unsigned int word;
        int c, r;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                longs[N_WORDS + i] = (struct option) { numbers[i].name, required_argument, NULL, OPT_NUMBER + (int)i };
                set_number(options, numbers + i, numbers[i].initial);
        }

        while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
                switch (c) {
                case OPT_DIRECTORY:
                        options->runtime_directory = optarg;
                        break;
                case OPT_ADMIN_GROUP:
                        options->config.admin_group = optarg;
                        break;
                case OPT_USER:
                        options->user = optarg;
                        break;
                case OPT_PROGRAM:
                        options->config.sessions.session_program = optarg;
                        break;
                case OPT_LAYOUT:
                        r = parse_word("on-layout-change", optarg, layout_words, &word);
                        if (r < 0)
                                return r;
                        options->base.on_layout_change = word ? POLICY_LAYOUT_NOTIFY : POLICY_LAYOUT_REVOKE;
                        break;
                case OPT_FORCE:
                        r = parse_word("force", optarg, force_words, &word);
                        if (r < 0)
                                return r;
                        options->base.force = word ? POLICY_FORCE_KILL : POLICY_FORCE_STOP;
                        break;
                case OPT_POLICY:
                        options->config.policy.folder = optarg;
                        break;
                case OPT_CHECK:
                        options->check.wanted = true;
                        break;
                case OPT_JSON:
                        options->check.json = true;
                        break;
                case OPT_DEFAULT:
                        (void)fputs(policy_default_text, stdout);
                        return 1;
                case OPT_HELP:
                        help();
                        return 1;
                case OPT_VERSION:
                        (void)puts(PACKAGE_STRING);
                        return 1;
                case '?':
                        return -EINVAL;
                default:
                        r = set_named_number(options, numbers + (c - OPT_NUMBER), optarg);
                        if (r < 0)
                                return r;
                }
        return parse_files(argc - optind, argv + optind, options);
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
        options->config.sessions.uid = pw->pw_uid;
        options->config.sessions.gid = pw->pw_gid;
        return 0;
}

static void fit_grace(struct options *options) {
        uint32_t wait_ms = policy_lease_break_ms(), grace_ms = options->config.grace_ms;

        options->config.policy.lease_break_ms = wait_ms;
        options->base.grace_ms = policy_fit_grace(grace_ms, wait_ms);
        if (options->base.grace_ms < grace_ms)
                log_line(LOG_WARNING,
                         "--grace is %u ms, but /proc/sys/fs/lease-break-time is %u ms: for changes of files apps get %u ms",
                         grace_ms,
                         wait_ms,
                         options->base.grace_ms);
}

/* A session takes three descriptors here, a silent connection two; what is left over is for administrators, keepers that
 * come by themselves, and the daemon's own. */
#define FDS_PER_SESSION 3
#define FDS_RESERVED    128

/* No client may use up what the others need: fewer sessions rather than no descriptors. */
static void fit_descriptors(struct supervisor_config *config) {
        struct rlimit rl;
        rlim_t fits;

        config->max_sessions = 1;
        if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
                return;
        rl.rlim_cur = rl.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &rl);

        fits = rl.rlim_cur > FDS_RESERVED + FDS_PER_SESSION ? (rl.rlim_cur - FDS_RESERVED) / FDS_PER_SESSION : 1;
        config->max_sessions = fits < MAX_SESSIONS ? (unsigned int)fits : MAX_SESSIONS;
}

static int get_listeners(struct options *options) {
        struct listeners *l = &options->listeners;
        char *slash;
        int r;

        r = listeners_get(options->runtime_directory, options->config.sessions.gid, l);
        if (r < 0)
                return r;
        options->config.clients = l->fds[LISTENER_CLIENT];
        options->config.keepers = l->fds[LISTENER_SESSION];
        options->config.admins = l->fds[LISTENER_ADMIN];
        options->config.sessions.session_socket = l->paths[LISTENER_SESSION];

        /* Beside the socket that keepers come to. */
        slash = strrchr(l->paths[LISTENER_SESSION], '/');
        (void)snprintf(options->roster,
                       sizeof options->roster,
                       "%.*s/roster",
                       (int)(slash - l->paths[LISTENER_SESSION]),
                       l->paths[LISTENER_SESSION]);
        options->config.roster = options->roster;
        return 0;
}

int main(int argc, char *argv[]) {
        struct options options = {
                .user = PINLEASE_USER,
                .base = { .limits.total = { UINT64_MAX, UINT64_MAX, UINT64_MAX }, .on_layout_change = POLICY_LAYOUT_REVOKE, .force = POLICY_FORCE_STOP },
                .config.sessions.session_program = SESSION_PROGRAM,
                .config.policy = { .base = &options.base, .folder = POLICY_FOLDER, .check_owner = true },
        };
        int r;

        r = parse_options(argc, argv, &options);
        if (r != 0)
                return r > 0 ? EXIT_SUCCESS : 2;

        if (options.check.wanted)
                return check_policy(&options.check);

        log_open("pinleased", LOG_JOURNAL_SOCKET);
        r = get_identity(&options);
        if (r == 0)
                r = get_listeners(&options);
        if (r < 0)
                return EXIT_FAILURE;

        fit_descriptors(&options.config);
        fit_grace(&options);
        r = supervisor_run(&options.config);
        listeners_remove(&options.listeners);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
