/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_OBITUARY_H
#define PL_OBITUARY_H

/*
 * How the keeper of a resumed session has ended. It was started by a former pinleased, so it is no child of this one,
 * and somebody else hears its exit status. The kernel tells who has a pidfd of it all the same, from Linux 6.15 on, but
 * only when that somebody has done so.
 */

#include <systemd/sd-event.h>

#include "log.h"

/* It has ended: says so, EVENT_KEEPER_FAILED, unless it has ended well; and nothing where the kernel cannot tell. Not
 * all at once, by the event loop. Takes the pidfd over, whatever happens. */
void obituary_write(sd_event *event, int pidfd, const struct log_subject *subject);

/* 0 and the status as of waitpid(2); -EAGAIN: nobody has heard it yet; -EOPNOTSUPP: the kernel does not tell. */
int obituary_status(int pidfd, int *ret_status);

#endif
