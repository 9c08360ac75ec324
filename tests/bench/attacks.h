/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ATTACKS_H
#define ATTACKS_H

/* What a hostile user does, each for ever, until it is killed. */

#include <stdatomic.h>

#include "bench.h"

#define ATTACKER "alice"
#define CGROUP   "/sys/fs/cgroup/system.slice/pinlease.service/"

/* Shared with whoever watches. */
struct progress {
        _Atomic uint32_t ready; /* it is under way */
        _Atomic uint64_t n;     /* how often it has done it */
};

struct attack {
        const char *name;
        void (*run)(struct progress *progress);
        bool as_root; /* root has a part in it; it becomes the attacker by itself */
        bool refuses; /* nobody gets a session meanwhile, by design */
};

/* The first are not attacks but what they are compared to: nothing, and processes of the attacker that only spin. */
enum { UNDISTURBED, ONE_HOG, TWO_HOGS };

extern const struct attack attacks[];
extern const size_t n_attacks;

/* Starts one in a process group of its own, and waits until it is under way. */
pid_t attack_start(const struct attack *attack, struct progress *progress);
/* Kills it, and waits until the service has n processes of sessions left. */
void attack_stop(pid_t pid, size_t n);

#endif
