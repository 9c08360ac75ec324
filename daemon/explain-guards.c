/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which guards could be had: what guard-*.c would find, as far as it can be known of a file that is not open. */

#include "explain.h"

static struct explain_guard no(const char *why) {
        return (struct explain_guard) { FORECAST_NOT, why };
}

static struct explain_guard perhaps(const char *why) {
        return (struct explain_guard) { FORECAST_PERHAPS, why };
}

static bool is_memory(const struct explanation *e) {
        return e->class.kind == PL_FD_SHMEM || e->class.kind == PL_FD_HUGETLB;
}

static struct explain_guard seals(const struct explanation *e) {
        if (!is_memory(e))
                return no("only a memfd has seals");
        if (!e->seals_known)
                return perhaps("if it is sealed (F_SEAL_SHRINK), which cannot be seen from here");
        if (!guard_is_sealed(&e->class))
                return no(e->found.in_memory ? "it is not sealed (F_SEAL_SHRINK)" : "only a memfd has seals");
        return (struct explain_guard) { FORECAST_HOLDS, "it cannot shrink" };
}

static struct explain_guard lease(const struct explanation *e) {
        if (e->class.kind == PL_FD_HUGETLB || pl_fdclass_is_fixed(&e->class) || (is_memory(e) && e->found.in_memory))
                return no("there are none for this memory");
        if (e->subject->uid != e->class.owner)
                return no("only the owner of the file gets one");
        if (e->lease_holder)
                return no("another program has one");
        if ((e->class.flags & O_ACCMODE) == O_RDWR)
                return perhaps("if nobody else has the file open");
        return perhaps("if nobody has the file open for writing");
}

static struct explain_guard modify(const struct explanation *e) {
        if (guard_is_sealed(&e->class))
                return no("there is nothing to tell: it is sealed");
        if (pl_fdclass_is_fixed(&e->class))
                return no("there is nothing to tell: it cannot be made smaller");
        return (struct explain_guard) { FORECAST_HOLDS, "tells after a change" };
}

static struct explain_guard poison(const struct explanation *e) {
        if (e->class.kind == PL_FD_DMABUF)
                return no("only the exporter knows of its memory");
        if (e->class.kind == PL_FD_FILE && !e->class.dax)
                return no("the kernel does not tell of pages of the page cache");
        return (struct explain_guard) { FORECAST_HOLDS, "tells of memory failures" };
}

void explain_forecast(struct explanation *e) {
        e->guards[GUARD_SEALS] = seals(e);
        e->guards[GUARD_LEASE] = lease(e);
        e->guards[GUARD_MODIFY] = modify(e);
        e->guards[GUARD_POISON] = poison(e);
}
