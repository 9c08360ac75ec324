/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_H
#define PINLEASECTL_H

/*
 * pinleasectl: what an administrator sees of pinlease, and can do to it. doc/ADMIN.md is what it says to the service.
 *
 *   pinleasectl.c   main: which command, --watch
 *   options.c       options and their help
 *   adminclient.c   one call over the admin socket; trusts nothing that comes back
 *   field.c         members of JSON objects that may be missing, or of another type
 *   jsonline.c      --json: what the service sent, made harmless
 *   text.c          strings of strangers, sizes and ages, for a terminal
 *   terminal.c      what the terminal is, and lines on it
 *   table.c         columns
 *   status.c, list.c, actions.c, metrics.c, openmetrics.c, devices.c, deviceview.c: the commands
 *   explain.c       runs the program that explains
 *   kernel.c        /proc
 *
 * Functions that can fail return an exit status after they have said on standard error what failed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "terminal.h"
#include "util.h"

/* Exit statuses */
enum status {
        STATUS_OK = 0,
        STATUS_FAILED = 1,        /* the service said no, something was kept, or the answer made no sense */
        STATUS_USAGE = 2,
        STATUS_UNREACHABLE = 3,   /* the service is not running */
        STATUS_NOT_PERMITTED = 4,
        STATUS_NOT_FOUND = 5,
};

struct options {
        const struct command *command;
        const char *socket;
        bool json;
        enum colour colour;
        uint64_t watch_ms; /* 0: once */

        /* Which sessions and registrations; at most one is needed by revoke, list combines them. */
        const char *id, *path;
        bool by_pid, by_uid;
        uint32_t pid, uid;

        const char *mount; /* release */

        bool has_grace;
        uint64_t grace_ms;
};

struct context {
        const struct options *options;
        struct terminal terminal;
        struct admin *admin; /* NULL: not connected */
};

struct command {
        const char *name;
        unsigned int mask; /* enum of options.c */
        enum status (*run)(struct context *context);
};

/* Returns -1 to go on, or an exit status when all is done (help, or a mistake). */
int options_parse(int argc, char *argv[], struct options *ret_options);

/* Where "explain" stands in argv as the command; 0: it is another. Its options are not read here. */
int options_find_explain(int argc, char *argv[]);

/* Returns in no case. */
enum status explain_exec(int argc, char *argv[], int command);

/* "500ms", "3s", "2min", "1h"; a plain number counts seconds. Returns 0 or -EINVAL. */
int options_parse_time(const char *text, uint64_t *ret_ms);

enum status status_run(struct context *context);
enum status list_run(struct context *context);
enum status show_run(struct context *context);
enum status revoke_run(struct context *context);
enum status release_run(struct context *context);
enum status drain_run(struct context *context);
enum status undrain_run(struct context *context);
enum status reload_run(struct context *context);
enum status metrics_run(struct context *context);
enum status devices_run(struct context *context);

#endif
