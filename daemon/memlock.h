/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MEMLOCK_H
#define PL_MEMLOCK_H

/*
 * The limits of locked memory (RLIMIT_MEMLOCK) that a keeper sets: what its registrar may pin, and what its app may
 * where a rule has private memory pinned. The kernel charges such a pin to the app, which registers by itself, and
 * holds it against the app's own limit.
 *
 * The app's limit is what it would be without this, and so many bytes more: what the app locks by itself it still can.
 * As long as it is raised the app may change it, as it always may. What it has then when all is given back is never
 * more than it could have had by itself: the hard limit is back, or where the app has put it below that, and so is the
 * soft one.
 *
 * Both are known by number, which is somebody else's once they are dead: the pidfd is asked before and after, and what
 * has been done to another process in between is undone.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct memlock {
        /* Set by the owner. Pidfds are borrowed, where they stand; -1: dead, or not known. */
        const int *app, *registrar;
        pid_t app_pid, registrar_pid;
        bool allowed; /* some rule of the policy has private memory pinned */

        uint64_t total;           /* bytes; 0: the app's limit is its own */
        struct rlimit underlying; /* what it would be without us */
        struct rlimit set;        /* what we have made of it */
};

/* The app is to be able to pin so many bytes, in all; that is more than before. Returns 0; -EACCES: no rule has private
 * memory pinned; -ESRCH: the app is gone, or not known; or another negative errno. Whatever is not 0 has changed
 * nothing. */
int memlock_raise(struct memlock *memlock, uint64_t total);

/* It needs only so many; what is more than before is not done. What it has pinned stays pinned: the kernel looks at the
 * limit when something is pinned. */
void memlock_lower(struct memlock *memlock, uint64_t total);

/* Both together may pin so many bytes: the registrar what the app may not. */
void memlock_ceiling(struct memlock *memlock, uint64_t pinned);

#endif
