/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_PORT  "7471"
#define DEFAULT_SIZES "1,7,4096,4097,64K,1M,16M,64M"

static const char usage_text[] =
        "usage: pinlease-pingpong server (--memfd | --hugetlb | --udmabuf | --file PATH) [OPTION...]\n"
        "       pinlease-pingpong client ADDRESS [OPTION...]\n"
        "\n"
        "The server registers memory through pinlease and offers it; the client writes into it by RDMA and reads it\n"
        "back, and both sides compare every byte. The client's host needs no pinlease. When another program changes the\n"
        "file that is offered, the two pause, and go on over the same connection with what there is then.\n"
        "\n"
        "Both:\n"
        "  --port PORT            default " DEFAULT_PORT "\n"
        "  --bind ADDRESS         server: listen here only, and register at once rather than for the first client;\n"
        "                         client: connect from here\n"
        "  --chatter              a line for every round\n"
        "Server:\n"
        "  --memfd, --hugetlb     memory of a sealed memfd; of huge pages\n"
        "  --udmabuf              a dma-buf of a sealed memfd (/dev/udmabuf); the CPU looks at the memfd behind it\n"
        "  --file PATH            a file; made, or made larger, if --size asks for it\n"
        "  --size BYTES[K|M|G]    how much to register; default: the whole file, 64 MiB\n"
        "  --offset BYTES[K|M|G]  where in the file to begin\n"
        "  --read-only            for RDMA reads only\n"
        "  --method METHOD        odp, pinned, dmabuf, any (default)\n"
        "  --socket PATH          of the service; default $PINLEASE_SOCKET or " PINLEASE_DEFAULT_SOCKET "\n"
        "  --sessions N           leave after N clients; default: serve until a signal comes\n"
        "  --hold                 with --sessions: stay, and keep the memory registered, until a signal comes\n"
        "  --guards LIST          insist on these, of seals, lease, modify, poison\n"
        "  --deaf                 do not listen to the service: the memory, asked back, is taken away by force\n"
        "  --ready-file PATH      written when clients may come; may be a FIFO\n"
        "  --expect-refusal CODE  succeed only if the service refuses with this code\n"
        "Client:\n"
        "  --sizes LIST           default " DEFAULT_SIZES "\n"
        "  --seed N               of the pattern; default: random, and printed\n"
        "  --loops N              how often to go through the sizes; 0: until a signal comes\n"
        "  --duration SECONDS     for how long\n"
        "  --aligned              only at the beginning of the memory, not at odd offsets too\n"
        "\n"
        "Exit status: 0 all bytes equal; 1 a difference, or RDMA failed; 2 usage, or no such memory or address;\n"
        "3 refused by the service, with the reason.\n";

enum {
        OPTION_PORT = 1,
        OPTION_BIND,
        OPTION_CHATTER,
        OPTION_HELP,
        OPTION_MEMFD,
        OPTION_HUGETLB,
        OPTION_UDMABUF,
        OPTION_FILE,
        OPTION_SIZE,
        OPTION_OFFSET,
        OPTION_READ_ONLY,
        OPTION_METHOD,
        OPTION_SOCKET,
        OPTION_SESSIONS,
        OPTION_HOLD,
        OPTION_GUARDS,
        OPTION_DEAF,
        OPTION_READY_FILE,
        OPTION_EXPECT_REFUSAL,
        OPTION_SIZES,
        OPTION_SEED,
        OPTION_LOOPS,
        OPTION_DURATION,
        OPTION_ALIGNED,
};

#define COMMON                                                                                                         \
        { "port", required_argument, NULL, OPTION_PORT }, { "bind", required_argument, NULL, OPTION_BIND },            \
                { "chatter", no_argument, NULL, OPTION_CHATTER }, { "help", no_argument, NULL, OPTION_HELP }

static const struct option server_options[] = {
        COMMON,
        { "memfd", no_argument, NULL, OPTION_MEMFD },
        { "hugetlb", no_argument, NULL, OPTION_HUGETLB },
        { "udmabuf", no_argument, NULL, OPTION_UDMABUF },
        { "file", required_argument, NULL, OPTION_FILE },
        { "size", required_argument, NULL, OPTION_SIZE },
        { "offset", required_argument, NULL, OPTION_OFFSET },
        { "read-only", no_argument, NULL, OPTION_READ_ONLY },
        { "method", required_argument, NULL, OPTION_METHOD },
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "sessions", required_argument, NULL, OPTION_SESSIONS },
        { "hold", no_argument, NULL, OPTION_HOLD },
        { "guards", required_argument, NULL, OPTION_GUARDS },
        { "deaf", no_argument, NULL, OPTION_DEAF },
        { "ready-file", required_argument, NULL, OPTION_READY_FILE },
        { "expect-refusal", required_argument, NULL, OPTION_EXPECT_REFUSAL },
        { 0 },
};

static const struct option client_options[] = {
        COMMON,
        { "sizes", required_argument, NULL, OPTION_SIZES },
        { "seed", required_argument, NULL, OPTION_SEED },
        { "loops", required_argument, NULL, OPTION_LOOPS },
        { "duration", required_argument, NULL, OPTION_DURATION },
        { "aligned", no_argument, NULL, OPTION_ALIGNED },
        { 0 },
};

_Noreturn static void usage(void) {
        (void)fputs(usage_text, stderr);
        exit(STATUS_USAGE);
}

static uint64_t number(const char *name, const char *value) {
        uint64_t n;

        if (size_parse(value, &n) < 0)
                errx(STATUS_USAGE, "--%s: '%s' is not a number", name, value);
        return n;
}

static void parse_sizes(struct options *o, const char *list) {
        char *copy = strdup(list), *state = NULL;

        if (!copy)
                err(STATUS_FAILED, "--sizes");
        o->n_sizes = 0;
        for (char *size = strtok_r(copy, ",", &state); size; size = strtok_r(NULL, ",", &state)) {
                if (o->n_sizes == MAX_SIZES)
                        errx(STATUS_USAGE, "--sizes: more than %d", MAX_SIZES);
                o->sizes[o->n_sizes] = number("sizes", size);
                if (o->sizes[o->n_sizes++] == 0)
                        errx(STATUS_USAGE, "--sizes: a size of 0");
        }
        if (o->n_sizes == 0)
                errx(STATUS_USAGE, "--sizes: the list is empty");
        free(copy);
}

static unsigned int parse_method(const char *name) {
        for (unsigned int method = PINLEASE_METHOD_ODP; method <= PINLEASE_METHOD_ANY; method++)
                if (strcmp(name, pinlease_strmethod((enum pinlease_method)method)) == 0)
                        return method;
        errx(STATUS_USAGE, "--method: '%s' is none of odp, pinned, dmabuf, any", name);
}

static unsigned int parse_guards(const char *list) {
        char *copy = strdup(list), *state = NULL;
        unsigned int guards = 0;

        if (!copy)
                err(STATUS_FAILED, "--guards");
        for (char *name = strtok_r(copy, ",", &state); name; name = strtok_r(NULL, ",", &state)) {
                unsigned int guard = 1;

                while (guard & PINLEASE_GUARD_ALL && strcmp(name, pinlease_strguard((enum pinlease_guard)guard)) != 0)
                        guard <<= 1;
                if (!(guard & PINLEASE_GUARD_ALL))
                        errx(STATUS_USAGE, "--guards: '%s' is none of seals, lease, modify, poison", name);
                guards |= guard;
        }
        free(copy);
        return guards;
}

static void set_option(struct options *o, int option, const char *name, const char *value, bool is_server) {
        switch (option) {
        case OPTION_PORT:
                o->port = value;
                break;
        case OPTION_BIND:
                *(is_server ? &o->address : &o->source) = value;
                break;
        case OPTION_ALIGNED:
                o->aligned = true;
                break;
        case OPTION_CHATTER:
                o->chatter = true;
                break;
        case OPTION_HELP:
                (void)fputs(usage_text, stdout);
                exit(0);
        case OPTION_MEMFD:
                o->memfd = true;
                break;
        case OPTION_HUGETLB:
                o->hugetlb = true;
                break;
        case OPTION_UDMABUF:
                o->udmabuf = true;
                break;
        case OPTION_FILE:
                o->file = value;
                break;
        case OPTION_SIZE:
                o->size = number(name, value);
                break;
        case OPTION_OFFSET:
                o->offset = number(name, value);
                break;
        case OPTION_READ_ONLY:
                o->read_only = true;
                break;
        case OPTION_METHOD:
                o->methods = parse_method(value);
                break;
        case OPTION_SOCKET:
                o->socket = value;
                break;
        case OPTION_SESSIONS:
                o->sessions = number(name, value);
                break;
        case OPTION_HOLD:
                o->hold = true;
                break;
        case OPTION_GUARDS:
                o->guards = parse_guards(value);
                break;
        case OPTION_DEAF:
                o->deaf = true;
                break;
        case OPTION_READY_FILE:
                o->ready_file = value;
                break;
        case OPTION_EXPECT_REFUSAL:
                o->expect_refusal = value;
                break;
        case OPTION_SIZES:
                parse_sizes(o, value);
                break;
        case OPTION_SEED:
                o->seed = number(name, value);
                break;
        case OPTION_LOOPS:
                o->loops = number(name, value);
                break;
        case OPTION_DURATION:
                o->duration = number(name, value);
                o->loops = 0;
                break;
        default:
                usage();
        }
}

int main(int argc, char *argv[]) {
        struct options o = { .port = DEFAULT_PORT, .methods = PINLEASE_METHOD_ANY, .loops = 1 };
        bool is_server;
        int option, index = 0;

        if (argc < 2)
                usage();
        if (strcmp(argv[1], "--help") == 0)
                set_option(&o, OPTION_HELP, NULL, NULL, false);
        is_server = strcmp(argv[1], "server") == 0;
        if (!is_server && strcmp(argv[1], "client") != 0)
                usage();

        /* Progress is for watching, also through a pipe. */
        (void)setvbuf(stdout, NULL, _IOLBF, 0);

        parse_sizes(&o, DEFAULT_SIZES);
        if (getrandom(&o.seed, sizeof o.seed, 0) != sizeof o.seed)
                err(STATUS_FAILED, "getrandom");
        o.seed >>= 32; /* short enough to type */

        argc--;
        argv++;
        while ((option = getopt_long(argc, argv, "", is_server ? server_options : client_options, &index)) >= 0)
                set_option(&o, option, (is_server ? server_options : client_options)[index].name, optarg, is_server);

        if (is_server) {
                if (optind != argc || o.memfd + o.hugetlb + o.udmabuf + (o.file != NULL) != 1)
                        usage();
                return server_run(&o);
        }

        if (optind != argc - 1)
                usage();
        o.address = argv[optind];
        return client_run(&o);
}
