/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_EXPLAIN_OPTIONS_H
#define PL_EXPLAIN_OPTIONS_H

/* The command line of `pinleasectl explain`, which pinleasectl hands on. */

#include "subject.h"

#define EXPLAIN_MAX_HOST 64

/* What an app accepts, and a device offers, unless something else is said. */
#define EXPLAIN_METHODS ((unsigned int)(PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED))

enum explain_status {
        EXPLAIN_ALLOWED = 0,
        EXPLAIN_REFUSED = 1,
        EXPLAIN_NO_ANSWER = 2, /* usage, or what was asked about is not there */
};

/* A device, and the ways to register that it offers (enum pinlease_method). */
struct explain_device {
        const char *name; /* NULL: none */
        unsigned int offered, unsound;
};

struct explain_options {
        const char *path; /* NULL: by descriptor */
        pid_t pid;        /* 0: not given */
        bool by_fd;
        unsigned int fd;

        bool writable;
        uint64_t offset, length;
        bool has_length; /* else up to the end of the file */
        unsigned int accepted;

        /* Instead of the caller's, or the process's. */
        bool has_uid;
        uid_t uid;
        gid_t *gids; /* NULL: not given */
        size_t n_gids;
        const char *cgroup;

        const char *device;
        bool has_offers;
        struct explain_device offers;                 /* without a name */
        struct explain_device host[EXPLAIN_MAX_HOST]; /* what pinleasectl has found here */
        size_t n_host;

        const char *policy; /* NULL: that which is installed */
        bool json;
};

/* Returns -1 to go on, or an exit status when all is done. */
int explain_options_parse(int argc, char *argv[], struct explain_options *ret_options);
void explain_options_done(struct explain_options *options);

/* Who is meant by them. Returns 0 or a negative errno; subject_done(). */
int explain_subject(const struct explain_options *options, struct subject *ret_subject);

#endif
