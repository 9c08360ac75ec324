/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SUBJECT_H
#define PL_SUBJECT_H

/* Who asks: the user, groups and control group of an app, as they were when its session began. */

#include "policy.h"

struct subject {
        struct policy_subject policy; /* of what is below */
        gid_t *gids;
        char *cgroup;
};

/*
 * client: the app's connection. app: its pidfd, or -1: then nothing is believed of the number `pid`, and the control group is not
 * known. Returns 0 or a negative errno; *ret_subject must not be moved.
 */
int subject_get(int client, pid_t pid, int app, struct subject *ret_subject);
void subject_done(struct subject *subject);

/* The control group of a process, of the unified hierarchy; the caller's to free. NULL: not known. */
char *subject_read_cgroup(pid_t pid);

#endif
