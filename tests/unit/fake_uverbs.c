/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_uverbs.h"

#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pinlease/types.h"

struct fake_uverbs *fake;

void fake_reset(void) {
        if (!fake) {
                void *p = mmap(NULL, sizeof *fake, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        abort();
                fake = p;
        }
        memset(fake, 0, sizeof *fake);
        fake->driver_id = FAKE_DRIVER_ID;
        fake->methods = PINLEASE_METHOD_ANY;
        fake->next_key = 0x1000;
}

static uint64_t context_of(int fd) {
        struct stat st;

        return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_dev << 32 ^ (uint64_t)st.st_ino;
}

static struct fake_mr *find(uint64_t context, uint32_t handle) {
        /* Where it is as a rule, with one context. */
        if (handle < FAKE_MAX_MRS && fake->mrs[handle].live && fake->mrs[handle].context == context &&
            fake->mrs[handle].handle == handle)
                return fake->mrs + handle;
        for (size_t i = 0; i < FAKE_MAX_MRS; i++)
                if (fake->mrs[i].live && fake->mrs[i].context == context && fake->mrs[i].handle == handle)
                        return fake->mrs + i;
        return NULL;
}

struct fake_mr *fake_find(int fd, uint32_t handle) {
        return find(context_of(fd), handle);
}

unsigned int fake_live(void) {
        unsigned int n = 0;

        for (size_t i = 0; i < FAKE_MAX_MRS; i++)
                n += fake->mrs[i].live && !fake->mrs[i].foreign;
        return n;
}

/* Not live yet: the caller does that when everything else is done. */
static struct fake_mr *new_mr(uint64_t context) {
        uint32_t handle = 0, key = fake->next_key;

        while (find(context, handle))
                handle++;
        for (size_t i = 0; i < FAKE_MAX_MRS; i++)
                if (!fake->mrs[i].live) {
                        fake->next_key = key + 2;
                        fake->mrs[i] = (struct fake_mr) {
                                .context = context,
                                .handle = handle,
                                .lkey = key,
                                .rkey = key + 1,
                        };
                        return fake->mrs + i;
                }
        return NULL;
}

/* One store, so that a process which is killed leaves an MR or none, and an MR only after its handle has been told. */
static void set_live(struct fake_mr *mr, bool live) {
        atomic_signal_fence(memory_order_seq_cst);
        *(volatile bool *)&mr->live = live;
        atomic_signal_fence(memory_order_seq_cst);
}

struct fake_mr *fake_app_reg(int fd, uint64_t length, uint64_t iova) {
        struct fake_mr *mr = new_mr(context_of(fd));

        mr->foreign = true;
        mr->length = length;
        mr->iova = iova;
        set_live(mr, true);
        return mr;
}

void fake_app_dereg(int fd, uint32_t handle) {
        set_live(find(context_of(fd), handle), false);
}

/* Counts the call; a negative errno if it is the one that has to fail, or if the descriptor is not open at all. */
static int enter(int fd) {
        fake->n_calls++;
        if (fake->n_calls == fake->fail_at)
                return fake->fail_error;
        return context_of(fd) == 0 ? -EBADF : 0;
}

static void at(enum fake_instant instant) {
        if (fake->instant)
                fake->instant(instant);
}

static int fake_probe(int fd, uint32_t *ret_driver_id) {
        int r = enter(fd);

        if (r == 0)
                *ret_driver_id = fake->driver_id;
        return r;
}

/* What the ioctl checks before anything else. */
static int enter_device(const struct uverbs_device *device) {
        int r = enter(device->fd);

        return r == 0 && device->driver_id != fake->driver_id ? -EINVAL : r;
}

static int fake_query_methods(const struct uverbs_device *device, unsigned int *ret_methods) {
        int r = enter_device(device);

        if (r == 0)
                *ret_methods = fake->methods & ~(unsigned int)PINLEASE_METHOD_DMABUF; /* that has to be tried */
        return r;
}

/* ib_check_mr_access(), the alignment check of ib_uverbs_reg_mr(), and pages that must be there. */
static int check_arguments(uint32_t pd, uint64_t start, uint64_t length, uint64_t iova, uint32_t access) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = start / page * page;
        unsigned char present[4096];

        if (pd >= FAKE_N_PDS)
                return -ENOENT;
        if (start % page != iova % page || length == 0)
                return -EINVAL;
        if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) && !(access & IBV_ACCESS_LOCAL_WRITE))
                return -EINVAL;
        if ((start + length - first + page - 1) / page <= sizeof present &&
            mincore((void *)(uintptr_t)first, start + length - first, present) < 0)
                return -EFAULT;
        return 0;
}

/* pin_user_pages(): they are there, and mapped, from then on; what ends before gives SIGBUS here and EFAULT there. */
static int pin(uint64_t start, uint64_t length, uint32_t access) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = start / page * page;
        int advice = access & (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND) ? 23 /* MADV_POPULATE_WRITE */ : 22 /* _READ */;

        if (access & IBV_ACCESS_ON_DEMAND)
                return 0;
        return madvise((void *)(uintptr_t)first, start + length - first, advice) < 0 ? -EFAULT : 0;
}

static int fake_reg_mr(const struct uverbs_device *device,
                       uint32_t pd,
                       uint64_t start,
                       uint64_t length,
                       uint64_t iova,
                       uint32_t access,
                       struct uverbs_mr_keys *response) {
        struct fake_mr *mr;
        int r;

        r = enter_device(device);
        if (r == 0)
                r = check_arguments(pd, start, length, iova, access);
        if (r == 0 && (access & IBV_ACCESS_ON_DEMAND))
                r = fake->odp_error;
        if (r < 0)
                return r;

        at(FAKE_BEFORE);
        r = pin(start, length, access);
        if (r < 0)
                return r;
        mr = new_mr(context_of(device->fd));
        if (!mr)
                return -ENOMEM;
        mr->pd = pd;
        mr->access = access;
        mr->start = start;
        mr->length = length;
        mr->iova = iova;
        fake->last = *mr;
        *response = (struct uverbs_mr_keys) { .handle = mr->handle, .lkey = mr->lkey, .rkey = mr->rkey };
        set_live(mr, true);
        at(FAKE_WRITTEN);
        return 0;
}

/* As the kernel: into the attribute that comes first. */
static void fake_command_set(struct uverbs_command *command, uint32_t handle) {
        struct ib_uverbs_ioctl_hdr *header = (void *)command->words;

        header->attrs[0].data = handle;
}

static int fake_probe_dmabuf(const struct uverbs_device *device, uint32_t pd) {
        int r = enter_device(device);

        if (r == 0 && pd >= FAKE_N_PDS)
                r = -ENOENT;
        if (r < 0)
                return r;
        return fake->methods & PINLEASE_METHOD_DMABUF ? 1 : 0;
}

/* The keys are there before anything else is seen of the registration; the handle in the command. */
static int fake_reg_dmabuf_mr(const struct uverbs_device *device,
                              uint32_t pd,
                              const struct uverbs_dmabuf *range,
                              uint32_t access,
                              struct uverbs_command *command,
                              struct uverbs_mr_keys *response) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        struct fake_mr *mr;
        int r;

        r = enter_device(device);
        if (r == 0 && pd >= FAKE_N_PDS)
                r = -ENOENT;
        if (r == 0 && !(fake->methods & PINLEASE_METHOD_DMABUF))
                r = -EOPNOTSUPP;
        if (r == 0 && (range->length == 0 || range->offset % page != range->iova % page ||
                       (access & ~(unsigned int)(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |
                                                 IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_RELAXED_ORDERING))))
                r = -EINVAL;
        if (r == 0 && fcntl(range->fd, F_GETFD) < 0)
                r = -EBADF;
        if (r == 0)
                r = fake->dmabuf_error;
        if (r < 0)
                return r;

        at(FAKE_BEFORE);
        mr = new_mr(context_of(device->fd));
        if (!mr)
                return -ENOMEM;
        mr->pd = pd;
        mr->access = access;
        mr->dmabuf = true;
        mr->start = range->offset;
        mr->length = fake->sets_none ? 0 : range->length;
        mr->iova = fake->sets_none ? 0 : range->iova;
        fake->last = *mr;
        fake_command_set(command, mr->handle);
        response->lkey = mr->lkey;
        response->rkey = mr->rkey;
        set_live(mr, true);
        at(FAKE_WRITTEN);
        response->handle = mr->handle;
        return 0;
}

static int take_busy(void) {
        if (fake->n_busy == 0)
                return 0;
        fake->n_busy--;
        return -EBUSY;
}

static int fake_dereg_mr(const struct uverbs_device *device, uint32_t handle) {
        struct fake_mr *mr;
        int r;

        r = enter_device(device);
        if (r == 0)
                r = take_busy();
        if (r == 0)
                r = fake->dereg_error;
        if (r == 0 && fake->n_windows > 0)
                r = -EINVAL;
        if (r < 0)
                return r;

        at(FAKE_BEFORE);
        mr = fake_find(device->fd, handle);
        if (!mr)
                return -ENOENT;
        set_live(mr, false);
        at(FAKE_AFTER);
        return 0;
}

static int fake_query_mr(const struct uverbs_device *device, uint32_t handle, struct uverbs_mr_info *ret_info) {
        const struct fake_mr *mr;
        int r;

        r = enter_device(device);
        if (r == 0)
                r = take_busy();
        if (r == 0)
                r = fake->query_error;
        if (r < 0)
                return r;

        mr = fake_find(device->fd, handle);
        if (!mr)
                return -ENOENT;
        *ret_info = (struct uverbs_mr_info) { .lkey = mr->lkey, .rkey = mr->rkey, .length = mr->length, .iova = mr->iova };
        return 0;
}

static int fake_list_windows(const struct uverbs_device *device, uint32_t *ret_handles, uint32_t max, uint32_t *ret_n) {
        int r = enter_device(device);

        if (r < 0)
                return r;
        *ret_n = fake->n_windows < max ? fake->n_windows : max;
        for (uint32_t i = 0; i < *ret_n; i++)
                ret_handles[i] = fake->n_windows - 1 - i;
        return 0;
}

static int fake_prefetch(const struct uverbs_device *device,
                         uint32_t pd,
                         uint32_t lkey,
                         uint64_t iova,
                         uint64_t length,
                         enum uverbs_prefetch how) {
        int r = enter_device(device);

        if (r == 0)
                r = fake->prefetch_error;
        if (r < 0)
                return r;
        if (fake->last.pd != pd || fake->last.lkey != lkey || fake->last.iova != iova || fake->last.length != length)
                return -EINVAL;
        fake->n_prefetched++;
        fake->prefetched = how;
        return 0;
}

/* In the order in which they are listed. */
static int fake_dealloc_window(const struct uverbs_device *device, uint32_t handle) {
        int r = enter_device(device);

        if (r == 0)
                r = fake->window_error;
        if (r < 0)
                return r;
        if (handle + 1 != fake->n_windows)
                return -ENOENT;
        fake->n_windows--;
        fake->n_freed++;
        if (fake->n_windows == 0 && fake->n_rebound > 0) {
                fake->n_rebound--;
                fake->n_windows++;
        }
        return 0;
}

const struct uverbs_ops fake_ops = {
        .probe = fake_probe,
        .query_methods = fake_query_methods,
        .reg_mr = fake_reg_mr,
        .probe_dmabuf = fake_probe_dmabuf,
        .reg_dmabuf_mr = fake_reg_dmabuf_mr,
        .prefetch = fake_prefetch,
        .dereg_mr = fake_dereg_mr,
        .query_mr = fake_query_mr,
        .list_windows = fake_list_windows,
        .dealloc_window = fake_dealloc_window,
};
