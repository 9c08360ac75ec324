/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registry.h"

#include "events.h"
#include "util.h"

static struct pl_registration **bucket(const struct pinlease *p, uint64_t id) {
        /* Fibonacci hashing: the high bits of the product are the well mixed ones. */
        return p->buckets + ((id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % p->n_buckets;
}

static void put_in_bucket(struct pinlease *p, struct pl_registration *reg) {
        struct pl_registration **first = bucket(p, reg->id);

        reg->bucket_next = *first;
        *first = reg;
}

/* Without memory the chains grow longer, and without any table all registrations are looked through: slow, not wrong. */
static void grow(struct pinlease *p) {
        size_t n = p->n_buckets ? 2 * p->n_buckets : 64;
        struct pl_registration **buckets;

        if (p->n_registrations < p->n_buckets)
                return;
        buckets = calloc(n, sizeof *buckets);
        if (!buckets)
                return;
        free(p->buckets);
        p->buckets = buckets;
        p->n_buckets = n;
        for (struct pl_registration *reg = p->registrations; reg; reg = reg->next)
                put_in_bucket(p, reg);
}

void pl_registry_add(struct pinlease *p, struct pl_registration *reg) {
        grow(p);
        reg->previous = NULL;
        reg->next = p->registrations;
        if (reg->next)
                reg->next->previous = reg;
        p->registrations = reg;
        p->n_registrations++;
        if (p->n_buckets)
                put_in_bucket(p, reg);
}

void pl_registry_unlink(struct pinlease *p, struct pl_registration *reg) {
        if (p->n_buckets) {
                struct pl_registration **at = bucket(p, reg->id);

                while (*at != reg)
                        at = &(*at)->bucket_next;
                *at = reg->bucket_next;
        }
        if (reg->previous)
                reg->previous->next = reg->next;
        else
                p->registrations = reg->next;
        if (reg->next)
                reg->next->previous = reg->previous;
        p->n_registrations--;
}

void pl_registry_remove(struct pinlease *p, struct pl_registration *reg) {
        pl_registry_unlink(p, reg);
        pl_events_free_registration(p, reg);
}

struct pl_registration *pl_registry_find(const struct pinlease *p, uint64_t id) {
        struct pl_registration *reg;

        if (!p->n_buckets) {
                for (reg = p->registrations; reg && reg->id != id;)
                        reg = reg->next;
                return reg;
        }
        for (reg = *bucket(p, id); reg && reg->id != id;)
                reg = reg->bucket_next;
        return reg;
}
