/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "backing.h"
#include "residency.h"

/*
 * F_SEAL_WRITE cannot come as long as the memory is mapped for writing, here or anywhere (EBUSY). F_SEAL_FUTURE_WRITE
 * can, and it leaves alone what is mapped already: a view of an earlier registration would still be good for one more.
 */
static int verify_seals(const struct verify *v, struct refusal *ret_refusal) {
        int seals;

        if ((v->class->kind != PL_FD_SHMEM && v->class->kind != PL_FD_HUGETLB) || v->class->seals & F_SEAL_SEAL ||
            !backing_access_writable(v->request->access))
                return 0;
        seals = fcntl(v->fd, F_GET_SEALS);
        if (seals < 0)
                return refuse_errno(
                        ret_refusal, PINLEASE_CODE_KERNEL, errno, "The file's seals could not be read again.");
        if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
                return refuse(ret_refusal,
                              PINLEASE_CODE_CHANGED,
                              "The memfd was sealed against writing while it was being registered for writing. "
                              "Register it for "
                              "reading, or before it is sealed.");
        return 0;
}

/* *ret_touched: the pages that it has now need not be those that it had. */
static int verify_file(const struct verify *v, bool *ret_touched, struct refusal *ret_refusal) {
        const struct pl_fdclass *class = v->class;
        struct pl_fdclass now;
        int r;

        r = verify_seals(v, ret_refusal);
        if (r < 0)
                return r;
        if (class->seals & F_SEAL_SHRINK || class->kind == PL_FD_DMABUF) {
                *ret_touched = false;
                return 0;
        }

        r = pl_fdclass_again(v->fd, class, &now);
        if (r == -ENODEV)
                return refuse(ret_refusal, PINLEASE_CODE_CHANGED, "The device has gone while it was being registered.");
        if (r < 0)
                return refuse_errno(ret_refusal, PINLEASE_CODE_KERNEL, r, "The file's size could not be read again.");
        /* They cannot be others. But they have come with the size, so it costs nothing not to rely on that. */
        if (now.dev != class->dev || now.inode != class->inode || now.dax != class->dax)
                return refuse(
                        ret_refusal,
                        PINLEASE_CODE_CHANGED,
                        "The descriptor led to other memory after it had been registered than before. Try again.");
        if (v->request->offset + v->request->length > now.size)
                return refuse(ret_refusal,
                              PINLEASE_CODE_CHANGED,
                              "The file was truncated to %" PRIu64
                              " bytes while it was being registered. Try again, or "
                              "seal it against shrinking (F_SEAL_SHRINK).",
                              now.size);

        /* hugetlbfs (Linux 7.3) leaves its times alone when it is truncated by name, or punched. */
        *ret_touched = class->kind == PL_FD_HUGETLB || now.changed_s != class->changed_s ||
                       now.changed_ns != class->changed_ns;
        return 0;
}

/*
 * What the kernel takes from a file it takes out of all page tables; what has been pinned was in ours, and nothing here
 * has touched it since. (A read-only range is not seen through wholly: where a page has been lost, and replaced, while
 * its neighbours were still to be pinned, their fault may have mapped the new one as well.)
 */
int verify_registered(const struct verify *v, struct refusal *ret_refusal) {
        bool touched;
        int r;

        r = verify_file(v, &touched, ret_refusal);
        if (r < 0 || !touched || !v->pinned_at)
                return r;
        if (residency_mapped(v->pagemap, v->pinned_at, v->request->length, v->class->page_size) != 0)
                return 0;
        return refuse(ret_refusal,
                      PINLEASE_CODE_CHANGED,
                      "The file was truncated, or a hole was punched into it, while it was being registered: what has "
                      "been pinned is "
                      "not its memory any more. Try again, or seal it (F_SEAL_SHRINK).");
}

void verify_explain(const struct verify *v, struct refusal *refusal) {
        struct refusal change;
        bool touched;

        if (verify_file(v, &touched, &change) == REFUSED && change.code == PINLEASE_CODE_CHANGED)
                *refusal = change;
}
