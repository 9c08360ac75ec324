/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain-options.h"

#include <err.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

static const char help_text[] = "usage: pinleasectl explain [OPTION...] PATH\n"
                                "       pinleasectl explain [OPTION...] --pid PID --fd N\n"
                                "\n"
                                "Would a file, or a descriptor of a process, be registered, how, and by which rule?\n"
                                "\n"
                                "  --access read|write    what the device may do (default write)\n"
                                "  --offset SIZE          where the range begins (default 0)\n"
                                "  --length SIZE          how long it is (default: to the end of the file)\n"
                                "  --methods LIST         what the app accepts: odp, pinned (default both)\n"
                                "  --pid PID              as this process would; else as the caller would\n"
                                "  --uid USER             another user, by number or name\n"
                                "  --gid LIST             other groups, by number or name\n"
                                "  --cgroup PATH          another control group\n"
                                "  --device NAME          the RDMA device (default: the first of this host)\n"
                                "  --offers LIST          what it offers: odp, pinned, dmabuf, odp-unsound\n"
                                "                         (default: what the host's device offers, or odp,\n"
                                "                         pinned)\n"
                                "  --policy FOLDER        policy.json and policy.d of this folder, instead of\n"
                                "                         " POLICY_FOLDER "\n"
                                "  --json                 one JSON document\n"
                                "  --help, --version\n"
                                "\n"
                                "SIZE is a number of bytes; K, M, G, T may follow. The service is not asked, nothing\n"
                                "is opened.\n"
                                "\n"
                                "Exit status: 0 it would be registered; 1 refused; 2 usage, or there is no such file,\n"
                                "process or descriptor, or no policy that can be read.\n";

enum {
        OPTION_ACCESS = 1,
        OPTION_OFFSET,
        OPTION_LENGTH,
        OPTION_METHODS,
        OPTION_PID,
        OPTION_FD,
        OPTION_UID,
        OPTION_GID,
        OPTION_CGROUP,
        OPTION_DEVICE,
        OPTION_OFFERS,
        OPTION_HOST,
        OPTION_POLICY,
        OPTION_JSON,
        OPTION_IGNORED,
        OPTION_HELP,
        OPTION_VERSION,
};

static const struct option longs[] = {
        { "access", required_argument, NULL, OPTION_ACCESS },
        { "offset", required_argument, NULL, OPTION_OFFSET },
        { "length", required_argument, NULL, OPTION_LENGTH },
        { "methods", required_argument, NULL, OPTION_METHODS },
        { "pid", required_argument, NULL, OPTION_PID },
        { "fd", required_argument, NULL, OPTION_FD },
        { "uid", required_argument, NULL, OPTION_UID },
        { "gid", required_argument, NULL, OPTION_GID },
        { "cgroup", required_argument, NULL, OPTION_CGROUP },
        { "device", required_argument, NULL, OPTION_DEVICE },
        { "offers", required_argument, NULL, OPTION_OFFERS },
        { "host", required_argument, NULL, OPTION_HOST },
        { "policy", required_argument, NULL, OPTION_POLICY },
        { "json", no_argument, NULL, OPTION_JSON },
        /* Those of pinleasectl that are for all commands. */
        { "socket", required_argument, NULL, OPTION_IGNORED },
        { "color", no_argument, NULL, OPTION_IGNORED },
        { "no-color", no_argument, NULL, OPTION_IGNORED },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
        { 0 },
};

/* Digits only, and perhaps a unit. */
static int parse_number(const char *text, bool units, uint64_t max, uint64_t *ret_number) {
        static const char suffixes[] = "KMGT";
        const char *suffix = NULL;
        uint64_t n = 0;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
                        return -EINVAL;
        if (*text && units)
                suffix = strchr(suffixes, *text);
        for (const char *p = suffixes; suffix && p <= suffix; p++)
                if (__builtin_mul_overflow(n, UINT64_C(1024), &n))
                        return -EINVAL;
        if ((suffix ? text[1] : text[0]) || n > max)
                return -EINVAL;
        *ret_number = n;
        return 0;
}

static uint64_t need_size(const char *name, const char *text) {
        uint64_t n;

        if (parse_number(text, true, INT64_MAX, &n) < 0)
                errx(EXPLAIN_NO_ANSWER, "--%s: '%s' is not a size such as 4096, 64K, 1G", name, text);
        return n;
}

static uint64_t need_number(const char *name, const char *text, uint64_t max) {
        uint64_t n;

        if (parse_number(text, false, max, &n) < 0)
                errx(EXPLAIN_NO_ANSWER, "--%s: '%s' is not a number up to %llu", name, text, (unsigned long long)max);
        return n;
}

static uid_t need_uid(const char *text) {
        const struct passwd *user;

        if (*text >= '0' && *text <= '9')
                return (uid_t)need_number("uid", text, UINT32_MAX - 1);
        user = getpwnam(text);
        if (!user)
                errx(EXPLAIN_NO_ANSWER, "--uid: there is no user '%s'", text);
        return user->pw_uid;
}

static gid_t need_gid(const char *text) {
        const struct group *group;

        if (*text >= '0' && *text <= '9')
                return (gid_t)need_number("gid", text, UINT32_MAX - 1);
        group = getgrnam(text);
        if (!group)
                errx(EXPLAIN_NO_ANSWER, "--gid: there is no group '%s'", text);
        return group->gr_gid;
}

static void add_gids(struct explain_options *o, char *list) {
        for (char *save = NULL, *word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
                gid_t *more = realloc(o->gids, (o->n_gids + 1) * sizeof *more);

                if (!more)
                        errx(EXPLAIN_NO_ANSWER, "out of memory");
                o->gids = more;
                o->gids[o->n_gids++] = need_gid(word);
        }
        if (!o->gids)
                errx(EXPLAIN_NO_ANSWER, "--gid: a group is needed");
}

/* A list of methods. Those that are a device's only: the unsound one, and dma-bufs, which whoever accepts anything accepts. */
static struct explain_device need_methods(const char *name, const char *list, bool of_device) {
        struct explain_device methods = { 0 };

        while (*list) {
                size_t n = strcspn(list, ",");

                if (n == 3 && strncmp(list, "odp", n) == 0)
                        methods.offered |= PINLEASE_METHOD_ODP;
                else if (n == 6 && strncmp(list, "pinned", n) == 0)
                        methods.offered |= PINLEASE_METHOD_PINNED;
                else if (of_device && n == 6 && strncmp(list, "dmabuf", n) == 0)
                        methods.offered |= PINLEASE_METHOD_DMABUF;
                else if (of_device && n == 11 && strncmp(list, "odp-unsound", n) == 0) {
                        methods.offered |= PINLEASE_METHOD_ODP;
                        methods.unsound |= PINLEASE_METHOD_ODP;
                } else
                        errx(EXPLAIN_NO_ANSWER,
                             "--%s: '%.*s' is not one of odp, pinned%s",
                             name,
                             (int)n,
                             list,
                             of_device ? ", odp-unsound, dmabuf" : "");
                list += n + (list[n] == ',');
        }
        if (!methods.offered)
                errx(EXPLAIN_NO_ANSWER, "--%s: a list of odp, pinned is needed", name);
        return methods;
}

/* NAME=LIST, of pinleasectl. */
static void add_host(struct explain_options *o, char *text) {
        char *list = strrchr(text, '=');

        if (!list || o->n_host == EXPLAIN_MAX_HOST)
                return;
        *list = '\0';
        o->host[o->n_host] = need_methods("host", list + 1, true);
        o->host[o->n_host++].name = text;
}

static bool need_access(const char *text) {
        if (strcmp(text, "read") != 0 && strcmp(text, "write") != 0)
                errx(EXPLAIN_NO_ANSWER, "--access: '%s' is neither read nor write", text);
        return strcmp(text, "write") == 0;
}

static void set_option(struct explain_options *o, int option, char *value) {
        switch (option) {
        case OPTION_ACCESS:
                o->writable = need_access(value);
                break;
        case OPTION_OFFSET:
                o->offset = need_size("offset", value);
                break;
        case OPTION_LENGTH:
                o->length = need_size("length", value);
                o->has_length = true;
                break;
        case OPTION_METHODS:
                o->accepted = need_methods("methods", value, false).offered;
                break;
        case OPTION_PID:
                o->pid = (pid_t)need_number("pid", value, INT32_MAX);
                if (o->pid == 0)
                        errx(EXPLAIN_NO_ANSWER, "--pid: there is no process 0");
                break;
        case OPTION_FD:
                o->fd = (unsigned int)need_number("fd", value, INT32_MAX);
                o->by_fd = true;
                break;
        case OPTION_UID:
                o->uid = need_uid(value);
                o->has_uid = true;
                break;
        case OPTION_GID:
                add_gids(o, value);
                break;
        case OPTION_CGROUP:
                o->cgroup = value;
                break;
        case OPTION_DEVICE:
                o->device = value;
                break;
        case OPTION_OFFERS:
                o->offers = need_methods("offers", value, true);
                o->has_offers = true;
                break;
        case OPTION_HOST:
                add_host(o, value);
                break;
        case OPTION_POLICY:
                o->policy = value;
                break;
        case OPTION_JSON:
                o->json = true;
                break;
        default:
                break;
        }
}

int explain_options_parse(int argc, char *argv[], struct explain_options *ret_options) {
        struct explain_options o = { .writable = true, .accepted = EXPLAIN_METHODS };
        int option;

        while ((option = getopt_long(argc, argv, "", longs, NULL)) >= 0)
                switch (option) {
                case OPTION_HELP:
                        (void)fputs(help_text, stdout);
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        (void)puts("pinleasectl " PACKAGE_VERSION);
                        return EXIT_SUCCESS;
                case '?':
                        return EXPLAIN_NO_ANSWER;
                default:
                        set_option(&o, option, optarg);
                }

        if (argc - optind > 1)
                errx(EXPLAIN_NO_ANSWER,
                     "there is nothing to do with '%s'; see pinleasectl explain --help",
                     argv[optind + 1]);
        if (optind < argc)
                o.path = argv[optind];
        if (!!o.path == o.by_fd)
                errx(EXPLAIN_NO_ANSWER, "a path is needed, or --pid and --fd; see pinleasectl explain --help");
        if (o.by_fd && !o.pid)
                errx(EXPLAIN_NO_ANSWER, "--fd: --pid is needed as well");
        *ret_options = o;
        return -1;
}

void explain_options_done(struct explain_options *options) {
        free(options->gids);
}

/* --- who --- */

static int groups_of_user(uid_t uid, struct subject *subject) {
        const struct passwd *user = getpwuid(uid);
        int n = 65536;
        gid_t *gids;

        if (!user)
                return 0;
        gids = calloc((size_t)n, sizeof *gids);
        if (!gids)
                return -ENOMEM;
        subject->gids = gids;
        if (getgrouplist(user->pw_name, user->pw_gid, gids, &n) >= 0)
                subject->policy.n_gids = (size_t)n;
        return 0;
}

static int read_process(pid_t pid, struct subject *subject) {
        _cleanup_(pl_freep) char *line = NULL;
        unsigned int uid, gid;
        size_t room = 0;
        char path[64];
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        subject->gids = calloc(65537, sizeof *subject->gids);
        while (subject->gids && getline(&line, &room, f) > 0) {
                /* The effective ones, as SO_PEERCRED. */
                if (sscanf(line, "Uid: %*u %u", &uid) == 1)
                        subject->policy.uid = uid;
                else if (sscanf(line, "Gid: %*u %u", &gid) == 1)
                        subject->gids[subject->policy.n_gids++] = gid;
                else if (strncmp(line, "Groups:", 7) == 0)
                        for (char *p = line + 7, *end; subject->policy.n_gids < 65537; p = end) {
                                unsigned long n = strtoul(p, &end, 10);

                                if (end == p)
                                        break;
                                subject->gids[subject->policy.n_gids++] = (gid_t)n;
                        }
        }
        (void)fclose(f);
        return subject->gids ? 0 : -ENOMEM;
}

int explain_subject(const struct explain_options *options, struct subject *ret_subject) {
        struct subject subject = { 0 };
        pid_t pid = options->pid ? options->pid : getpid();
        int r;

        r = read_process(pid, &subject);
        if (r == 0 && options->has_uid) {
                free(subject.gids);
                subject = (struct subject) { .policy.uid = options->uid };
                r = groups_of_user(options->uid, &subject);
        }
        if (r < 0) {
                subject_done(&subject);
                return r;
        }
        subject.cgroup = options->cgroup ? strdup(options->cgroup) : options->has_uid ? NULL : subject_read_cgroup(pid);
        subject.policy.cgroup = subject.cgroup;
        subject.policy.gids = options->gids ? options->gids : subject.gids;
        if (options->gids)
                subject.policy.n_gids = options->n_gids;
        *ret_subject = subject;
        return 0;
}
