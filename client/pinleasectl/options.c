/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "admin.h"
#include "pinleasectl.h"
#include "text.h"

#define DEFAULT_WATCH_MS 2000
#define MIN_WATCH_MS     100
#define MAX_TIME_MS      UINT64_C(86400000)

static const char help_text[] = "usage: pinleasectl [OPTION...] COMMAND\n"
                                "\n"
                                "What is registered for RDMA through pinlease, and what to do about it.\n"
                                "\n"
                                "  status                 the service, what is in use, limits\n"
                                "  list                   sessions and their registrations\n"
                                "  show ID                everything about session 7, or registration 7.12\n"
                                "  revoke ID              take registrations away; or --pid, --uid, --path\n"
                                "  release --mount PATH   take away what is registered of a file system, before\n"
                                "                         it is unmounted\n"
                                "  drain                  end all sessions, accept no new ones\n"
                                "  undrain                accept sessions again\n"
                                "  reload                 take the policy anew, for what is registered as well\n"
                                "  metrics                counters and histograms as OpenMetrics text\n"
                                "  devices                RDMA devices of this network namespace\n"
                                "  explain PATH           would it be registered, how, by which rule; why not\n"
                                "\n"
                                "Which sessions and registrations (list: all must match; revoke: exactly one):\n"
                                "  --pid PID              of a process\n"
                                "  --uid UID              of a user, by number or name\n"
                                "  --path PATH            of a file, whatever it is called\n"
                                "revoke, release, drain:\n"
                                "  --grace TIME           what apps get to let go by themselves; at most 10min\n"
                                "status, list:\n"
                                "  --watch[=TIME]         again and again, every 2 s or TIME\n"
                                "explain, after the command (see pinleasectl explain --help):\n"
                                "  --access read|write, --offset SIZE, --length SIZE, --methods LIST, --pid PID,\n"
                                "  --fd N, --uid UID, --gid LIST, --cgroup PATH, --device NAME, --offers LIST,\n"
                                "  --policy FOLDER\n"
                                "All:\n"
                                "  --json                 one JSON document per line, as doc/ADMIN.md describes\n"
                                "  --socket PATH          of the service; default $PINLEASE_ADMIN_SOCKET or\n"
                                "                         " PL_ADMIN_SOCKET "\n"
                                "  --color, --no-color    default: on a terminal, unless NO_COLOR is set\n"
                                "  --help, --version\n"
                                "\n"
                                "TIME is 500ms, 3s, 2min; a number alone counts seconds.\n"
                                "\n"
                                "Exit status: 0 done; 1 failed, or something is still registered; 2 usage;\n"
                                "3 the service cannot be reached; 4 not permitted; 5 no such session or\n"
                                "registration. explain: 0 it would be; 1 refused; 2 no answer.\n";

enum {
        MASK_STATUS = 1 << 0,
        MASK_LIST = 1 << 1,
        MASK_SHOW = 1 << 2,
        MASK_REVOKE = 1 << 3,
        MASK_DRAIN = 1 << 4,
        MASK_UNDRAIN = 1 << 5,
        MASK_METRICS = 1 << 6,
        MASK_DEVICES = 1 << 7,
        MASK_RELEASE = 1 << 8,
        MASK_RELOAD = 1 << 9,
        MASK_ALL = (1 << 10) - 1,
};

/* Ends with a NULL name. */
static const struct command commands[] = {
        { "status", MASK_STATUS, status_run },    { "list", MASK_LIST, list_run },
        { "show", MASK_SHOW, show_run },          { "revoke", MASK_REVOKE, revoke_run },
        { "release", MASK_RELEASE, release_run }, { "drain", MASK_DRAIN, drain_run },
        { "undrain", MASK_UNDRAIN, undrain_run }, { "metrics", MASK_METRICS, metrics_run },
        { "devices", MASK_DEVICES, devices_run }, { "reload", MASK_RELOAD, reload_run },
        { 0 },
};

enum {
        OPTION_PID = 1,
        OPTION_UID,
        OPTION_PATH,
        OPTION_MOUNT,
        OPTION_GRACE,
        OPTION_WATCH,
        OPTION_JSON,
        OPTION_SOCKET,
        OPTION_COLOR,
        OPTION_NO_COLOR,
        OPTION_HELP,
        OPTION_VERSION,
        N_OPTIONS,
};

static const struct option longs[] = {
        { "pid", required_argument, NULL, OPTION_PID },
        { "uid", required_argument, NULL, OPTION_UID },
        { "path", required_argument, NULL, OPTION_PATH },
        { "mount", required_argument, NULL, OPTION_MOUNT },
        { "grace", required_argument, NULL, OPTION_GRACE },
        { "watch", optional_argument, NULL, OPTION_WATCH },
        { "json", no_argument, NULL, OPTION_JSON },
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "color", no_argument, NULL, OPTION_COLOR },
        { "no-color", no_argument, NULL, OPTION_NO_COLOR },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { 0 },
};

/* Which commands know an option; those not listed are for all. */
static const unsigned int masks[N_OPTIONS] = {
        [OPTION_PID] = MASK_LIST | MASK_REVOKE,
        [OPTION_UID] = MASK_LIST | MASK_REVOKE,
        [OPTION_PATH] = MASK_LIST | MASK_REVOKE,
        [OPTION_MOUNT] = MASK_RELEASE,
        [OPTION_GRACE] = MASK_REVOKE | MASK_RELEASE | MASK_DRAIN,
        [OPTION_WATCH] = MASK_STATUS | MASK_LIST,
};

/* Only digits: strtoull() takes blanks, "+" and "-1". Returns what follows them, or NULL. */
static const char *digits(const char *text, uint64_t *ret_number) {
        uint64_t n = 0;

        if (*text < '0' || *text > '9')
                return NULL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
                        return NULL;
        *ret_number = n;
        return text;
}

int options_parse_time(const char *text, uint64_t *ret_ms) {
        static const struct {
                const char *name;
                uint64_t ms;
        } units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 } };
        uint64_t n;

        text = digits(text, &n);
        for (size_t i = 0; text && i < ELEMENTSOF(units); i++)
                if (strcmp(text, units[i].name) == 0) {
                        if (__builtin_mul_overflow(n, units[i].ms, &n))
                                return -EINVAL;
                        *ret_ms = n;
                        return 0;
                }
        return -EINVAL;
}

static uint64_t need_time(const char *name, const char *text, uint64_t min, uint64_t max) {
        uint64_t ms;

        if (options_parse_time(text, &ms) < 0)
                errx(STATUS_USAGE, "--%s: '%s' is not a time such as 500ms, 3s, 2min", name, text);
        if (ms < min || ms > max)
                errx(STATUS_USAGE,
                     "--%s: '%s' is not between %" PRIu64 " ms and %" PRIu64 " s",
                     name,
                     text,
                     min,
                     max / 1000);
        return ms;
}

static uint32_t need_number(const char *name, const char *text, uint64_t min, uint64_t max) {
        const char *rest;
        uint64_t n;

        rest = digits(text, &n);
        if (!rest || *rest || n < min || n > max)
                errx(STATUS_USAGE, "--%s: '%s' is not a number from %" PRIu64 " to %" PRIu64, name, text, min, max);
        return (uint32_t)n;
}

static uint32_t need_uid(const char *text) {
        const struct passwd *user;

        if (*text >= '0' && *text <= '9')
                return need_number("uid", text, 0, UINT32_MAX - 1);
        user = getpwnam(text);
        if (!user)
                errx(STATUS_USAGE, "--uid: there is no user '%s'", text);
        return user->pw_uid;
}

static const char *need_id(const char *text) {
        uint64_t n;
        const char *rest = digits(text, &n);

        if (rest && *rest == '.')
                rest = digits(rest + 1, &n);
        if (!rest || *rest)
                errx(STATUS_USAGE, "'%s' is not an ID such as 7 (a session) or 7.12 (a registration)", text);
        return text;
}

static void set_option(struct options *o, int option, const char *value) {
        switch (option) {
        case OPTION_PID:
                o->by_pid = true;
                o->pid = need_number("pid", value, 1, INT32_MAX);
                break;
        case OPTION_UID:
                o->by_uid = true;
                o->uid = need_uid(value);
                break;
        case OPTION_PATH:
                o->path = value;
                break;
        case OPTION_MOUNT:
                o->mount = value;
                break;
        case OPTION_GRACE:
                o->has_grace = true;
                o->grace_ms = need_time("grace", value, 0, PL_ADMIN_MAX_GRACE_MS);
                break;
        case OPTION_WATCH:
                o->watch_ms = value ? need_time("watch", value, MIN_WATCH_MS, MAX_TIME_MS) : DEFAULT_WATCH_MS;
                break;
        case OPTION_JSON:
                o->json = true;
                break;
        case OPTION_SOCKET:
                o->socket = value;
                break;
        case OPTION_COLOR:
                o->colour = COLOUR_ALWAYS;
                break;
        case OPTION_NO_COLOR:
                o->colour = COLOUR_NEVER;
                break;
        default:
                break;
        }
}

static const struct command *need_command(const char *name) {
        for (const struct command *command = commands; command->name; command++)
                if (strcmp(command->name, name) == 0)
                        return command;
        errx(STATUS_USAGE, "there is no command '%s'; see pinleasectl --help", name);
}

/* "--watch 5": what follows is not a command or an ID's place, as neither status nor list takes one. */
static const char *detached_time(int argc, char *const argv[]) {
        uint64_t ms;

        if (optarg)
                return optarg;
        return optind < argc && options_parse_time(argv[optind], &ms) == 0 ? argv[optind++] : NULL;
}

static void check(struct options *o, unsigned int used, int n_arguments, char *const arguments[]) {
        int selectors = o->by_pid + o->by_uid + (o->path != NULL);
        const char *name = o->command->name;
        bool takes_id = o->command->run == show_run || o->command->run == revoke_run;

        for (size_t i = 0; longs[i].name; i++)
                if (used & 1U << longs[i].val && masks[longs[i].val] && !(masks[longs[i].val] & o->command->mask))
                        errx(STATUS_USAGE, "%s: --%s is not for this command; see pinleasectl --help", name, longs[i].name);

        if (takes_id && n_arguments > 0) {
                o->id = need_id(*arguments++);
                n_arguments--;
        }
        if (n_arguments > 0)
                errx(STATUS_USAGE, "%s: there is nothing to do with '%s'; see pinleasectl --help", name, *arguments);
        if (o->command->run == show_run && !o->id)
                errx(STATUS_USAGE, "show: the ID of a session or a registration is needed; see pinleasectl list");
        if (o->command->run == revoke_run && selectors + (o->id != NULL) != 1)
                errx(STATUS_USAGE, "revoke: exactly one of ID, --pid, --uid, --path is needed");
        if (o->command->run == release_run && !o->mount)
                errx(STATUS_USAGE, "release: --mount is needed, where the file system is mounted");
}

int options_find_explain(int argc, char *argv[]) {
        int option, at;

        /* What is wrong is said by who knows the command. */
        opterr = 0;
        do
                option = getopt_long(argc, argv, "+", longs, NULL);
        while (option >= 0 && option != '?');
        at = optind;
        /* From the beginning, with the C library's own state as well. */
        optind = 0;
        opterr = 1;
        return option < 0 && at < argc && strcmp(argv[at], "explain") == 0 ? at : 0;
}

int options_parse(int argc, char *argv[], struct options *ret_options) {
        const char *socket = getenv("PINLEASE_ADMIN_SOCKET");
        struct options o = { .socket = socket && *socket ? socket : PL_ADMIN_SOCKET };
        unsigned int used = 0;
        int option;

        while ((option = getopt_long(argc, argv, "", longs, NULL)) >= 0)
                switch (option) {
                case OPTION_HELP:
                        (void)fputs(help_text, stdout);
                        return STATUS_OK;
                case OPTION_VERSION:
                        (void)puts("pinleasectl " PACKAGE_VERSION);
                        return STATUS_OK;
                case '?':
                        return STATUS_USAGE;
                default:
                        used |= 1U << option;
                        set_option(&o, option, option == OPTION_WATCH ? detached_time(argc, argv) : optarg);
                }

        if (optind == argc) {
                (void)fputs(help_text, stderr);
                return STATUS_USAGE;
        }
        o.command = need_command(argv[optind]);
        check(&o, used, argc - optind - 1, argv + optind + 1);
        *ret_options = o;
        return -1;
}
