/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FAKE_ADMIN_H
#define PL_FAKE_ADMIN_H

/*
 * An admin socket for pinleasectl to talk to: a child process that follows a script; and pinleasectl itself, the program
 * that has been built, with what it writes. What the script does not expect ends the child with a message and a status
 * that fails the test in admin_end().
 */

#include "admin.h"
#include "testing.h"

struct fake_admin {
        pid_t pid;
        char folder[64];
        char path[96]; /* the socket */
        int listener;
        int sock;
        uint32_t seq; /* of the call received last */
        const void *argument;
};

typedef void admin_script(struct fake_admin *f);

void fake_admin_start(struct fake_admin *f, admin_script *script, const void *argument);

/* Waits for the end of the script, which must have been content, and removes the folder. */
void fake_admin_end(struct fake_admin *f);

/* --- for the script --- */

void fake_admin_accept(struct fake_admin *f);

/* Waits for a call, whose body must be this text, to the byte. NULL: any. */
void fake_admin_expect(struct fake_admin *f, const char *body);

/* Waits for a call and leaves it where it is. */
void fake_admin_wait(struct fake_admin *f);

/* Waits until the other side has hung up. */
void fake_admin_expect_end(struct fake_admin *f);

void fake_admin_item(struct fake_admin *f, const char *body);
void fake_admin_result(struct fake_admin *f, const char *body); /* END */

/* One call, and the answer to it: items up to NULL, and the result. */
struct exchange {
        const char *call; /* NULL: any */
        const char *items[8];
        const char *result;
};
void fake_admin_follow(struct fake_admin *f); /* the argument is an exchange */

/* Any bytes with any header; whether they arrive does not matter. */
void fake_admin_send(struct fake_admin *f, const struct pl_header *header, const void *body, size_t size, bool with_fd);
struct pl_header fake_admin_header(const struct fake_admin *f, uint16_t opcode, size_t body_size);

/* --- pinleasectl --- */

struct ctl {
        int status;  /* exit status; death by a signal fails the test */
        long max_kb; /* memory that it had at most */
        char *out, *err;
};

/* What the program's standard output is. */
enum ctl_output {
        CTL_FILE,
        CTL_TERMINAL, /* of 100 columns and 24 rows */
        CTL_NULL,
        CTL_FULL, /* /dev/full */
};

/*
 * Runs it with these arguments (the last is NULL), in the locale C.UTF-8 unless setenv() has been used, and with
 * --socket if `f` is given. Returns when it has ended. milliseconds: then it is interrupted (SIGINT), which is status 130.
 */
void ctl_run(struct ctl *ctl, const struct fake_admin *f, enum ctl_output output, int milliseconds, const char *const arguments[]);
void ctl_free(struct ctl *ctl);

#define CTL_RUN(ctl, f, ...) ctl_run(ctl, f, CTL_FILE, 0, (const char *const[]) { __VA_ARGS__, NULL })

/* Runs it against one exchange. */
#define TALK(ctl, exchange, output, ...)                                                      \
        do {                                                                                  \
                struct fake_admin talk_;                                                      \
                fake_admin_start(&talk_, fake_admin_follow, exchange);                        \
                ctl_run(ctl, &talk_, output, 0, (const char *const[]) { __VA_ARGS__, NULL }); \
                fake_admin_end(&talk_);                                                       \
        } while (0)

/* Status, and no word on standard error, or some. */
void ctl_assert_ok(const struct ctl *ctl);
void ctl_assert_failed(const struct ctl *ctl, int status, const char *words);

/* No line is wider than that, none has a control character, an escape sequence, or a byte that is not UTF-8. */
void ctl_assert_fits(const char *text, int columns);

void ctl_assert_contains(const char *text, const char *part);

/* What ADMIN.md shows. */
extern const char fake_admin_status[], fake_admin_session[], fake_admin_registration[], fake_admin_metrics[];

#endif
