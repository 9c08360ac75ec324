/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "errands.h"

/* --- to the app --- */

static int order(struct registrar *r, enum control_freeze what) {
        int k;

        k = line_tell(&r->line, &(struct control_message) { .type = CONTROL_FREEZE, .value = what }, -1);
        /* No answer has come, rather than "no". */
        if (k < 0 && r->line.telling)
                r->failed = k;
        return k;
}

static int stop_app(void *userdata) {
        return order(userdata, CONTROL_FREEZE_STOP);
}

static void release_app(void *userdata) {
        struct registrar *r = userdata;

        /* If it does not go, the app goes on a little later all the same: freeze.h. */
        (void)line_send(&r->line, &(struct control_message) { .type = CONTROL_FREEZE, .value = CONTROL_FREEZE_RELEASE });
}

static int kill_app(void *userdata) {
        struct registrar *r = userdata;
        int client = r->line.client, k;

        /* It hangs up before the keeper has answered, and what was taken from it is still to be told. */
        r->line.client = -1;
        k = order(r, CONTROL_FREEZE_KILL);
        r->line.client = client;
        return k;
}

const struct force_ops errands_force = { .stop = stop_app, .release = release_app, .kill = kill_app };

bool errands_are_run(const struct registrar *r) {
        struct pollfd p = { .fd = r->line.fd };

        return poll(&p, 1, 0) == 0;
}

/* --- what the app may pin by itself --- */

int errands_raise(void *userdata, uint64_t total, int *ret_error) {
        struct registrar *r = userdata;
        int k, come;

        r->raised = total;
        k = line_try(&r->line,
                     &(const struct control_message) { .type = CONTROL_MEMLOCK_RAISE, .length = total },
                     -1,
                     ret_error,
                     &come);
        if (k == 0)
                pl_close(come);
        return k;
}

int errands_lower(struct registrar *r) {
        int k;

        if (r->raised <= r->state.private_pinned)
                return 0;
        k = line_send(&r->line,
                      &(const struct control_message) { .type = CONTROL_MEMLOCK_LOWER, .length = r->state.private_pinned });
        if (k == 0)
                r->raised = r->state.private_pinned;
        return k == -EAGAIN ? 0 : k;
}

/* --- leases --- */

int errands_lend(void *userdata, const struct guarded *file, int *ret_bell) {
        struct registrar *r = userdata;
        int k, error;

        k = line_try(&r->line,
                     &(const struct control_message) { .type = CONTROL_LEND, .id = file->lease.id },
                     file->lease.lent ? -1 : file->fd,
                     &error,
                     ret_bell);
        if (k < 0)
                return k;
        return error < 0 ? 1 : 0;
}

void errands_unlend(void *userdata, uint32_t id) {
        struct registrar *r = userdata;

        (void)line_send(&r->line, &(const struct control_message) { .type = CONTROL_UNLEND, .id = id });
}
