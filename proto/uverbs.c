/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uverbs.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <string.h>
#include <sys/ioctl.h>

#include "pinlease/types.h"
#include "util.h"

#define MAX_ATTRS 9

/* Ids are small and dense (enum rdma_driver_id); a few beyond today's last one. */
#define DRIVER_ID_MAX 48

/* A method that no object has. */
#define NO_SUCH_METHOD 0xfff

_Static_assert(sizeof(struct uverbs_mr_keys) == sizeof(struct ib_uverbs_reg_mr_resp) &&
                       offsetof(struct uverbs_mr_keys, handle) == offsetof(struct ib_uverbs_reg_mr_resp, mr_handle) &&
                       offsetof(struct uverbs_mr_keys, lkey) == offsetof(struct ib_uverbs_reg_mr_resp, lkey) &&
                       offsetof(struct uverbs_mr_keys, rkey) == offsetof(struct ib_uverbs_reg_mr_resp, rkey),
               "the ledger's entry is what the kernel writes");

/* The header ends in a flexible array; this is the room for its elements. */
struct command {
        union {
                struct ib_uverbs_ioctl_hdr header;
                uint8_t room[sizeof(struct ib_uverbs_ioctl_hdr) + MAX_ATTRS * sizeof(struct ib_uverbs_attr)];
        };
};

_Static_assert(sizeof(struct command) == sizeof(struct uverbs_command), "the ledger has room for it");

static struct ib_uverbs_attr *add_attr(struct command *command, uint16_t id, uint16_t length, uint16_t flags) {
        struct ib_uverbs_attr *attr = command->header.attrs + command->header.num_attrs++;

        attr->attr_id = id;
        attr->len = length;
        attr->flags = flags;
        return attr;
}

static void add_value(struct command *command, uint16_t id, uint16_t length, uint64_t value) {
        add_attr(command, id, length, UVERBS_ATTR_F_MANDATORY)->data = value;
}

/* Input of up to eight bytes lies in the attribute itself. */
static void add_input(struct command *command, uint16_t id, const void *data, size_t size) {
        struct ib_uverbs_attr *attr = add_attr(command, id, (uint16_t)size, UVERBS_ATTR_F_MANDATORY);

        if (size <= sizeof attr->data)
                memcpy(&attr->data, data, size);
        else
                attr->data = (uintptr_t)data;
}

static void add_output(struct command *command, uint16_t id, void *data, size_t size) {
        add_attr(command, id, (uint16_t)size, UVERBS_ATTR_F_MANDATORY)->data = (uintptr_t)data;
}

static void start(struct command *command, uint32_t driver_id, uint16_t object, uint16_t method) {
        memset(command, 0, sizeof *command);
        command->header.driver_id = driver_id;
        command->header.object_id = object;
        command->header.method_id = method;
}

static void finish(struct command *command) {
        command->header.length =
                (uint16_t)(sizeof command->header + command->header.num_attrs * sizeof command->header.attrs[0]);
}

static int issue(int fd, struct command *command) {
        finish(command);
        return ioctl(fd, RDMA_VERBS_IOCTL, &command->header) < 0 ? -errno : 0;
}

/* A command of the old write() interface, which the kernel also takes by ioctl. */
static int invoke_write(const struct uverbs_device *device,
                        uint32_t number,
                        const void *in,
                        size_t in_size,
                        void *out,
                        size_t out_size) {
        struct command command;

        start(&command, device->driver_id, UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE);
        /* A 32-bit value, but the kernel wants its attribute as long as the field that holds it. */
        add_value(&command, UVERBS_ATTR_WRITE_CMD, sizeof(uint64_t), number);
        add_input(&command, UVERBS_ATTR_CORE_IN, in, in_size);
        add_output(&command, UVERBS_ATTR_CORE_OUT, out, out_size);
        return issue(device->fd, &command);
}

/* The kernel checks the driver id before it looks for the method: EINVAL is "not mine", EPROTONOSUPPORT "mine, but there
 * is no such method", ENOTTY "not a verbs device at all". */
static int kernel_probe(int fd, uint32_t *ret_driver_id) {
        for (uint32_t id = 0; id < DRIVER_ID_MAX; id++) {
                struct command command;
                int r;

                start(&command, id, UVERBS_OBJECT_DEVICE, NO_SUCH_METHOD);
                r = issue(fd, &command);
                if (r == -EPROTONOSUPPORT) {
                        *ret_driver_id = id;
                        return 0;
                }
                if (r != -EINVAL)
                        return r == 0 ? -ENODEV : r;
        }
        return -ENODEV;
}

static int kernel_query_methods(const struct uverbs_device *device, unsigned int *ret_methods) {
        const uint32_t needed = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
        struct ib_uverbs_ex_query_device in = { 0 };
        struct ib_uverbs_ex_query_device_resp out = { 0 };
        unsigned int methods = PINLEASE_METHOD_PINNED;
        int r;

        r = invoke_write(device,
                         IB_USER_VERBS_EX_CMD_QUERY_DEVICE | IB_USER_VERBS_CMD_FLAG_EXTENDED,
                         &in,
                         sizeof in,
                         &out,
                         sizeof out);
        if (r < 0)
                return r;

        if ((out.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
            (out.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed)
                methods |= PINLEASE_METHOD_ODP;

        *ret_methods = methods;
        return 0;
}

unsigned int uverbs_unsound_methods(uint32_t driver_id) {
        return driver_id == RDMA_DRIVER_RXE ? PINLEASE_METHOD_ODP : 0;
}

static int kernel_reg_mr(const struct uverbs_device *device,
                         uint32_t pd,
                         uint64_t start_address,
                         uint64_t length,
                         uint64_t iova,
                         uint32_t access,
                         struct uverbs_mr_keys *response) {
        struct ib_uverbs_reg_mr in = {
                .start = start_address,
                .length = length,
                .hca_va = iova,
                .pd_handle = pd,
                .access_flags = access,
        };

        return invoke_write(device, IB_USER_VERBS_CMD_REG_MR, &in, sizeof in, response, sizeof *response);
}

/* --- dma-bufs --- */

uint32_t uverbs_command_handle(const struct uverbs_command *command) {
        struct ib_uverbs_attr attr;

        memcpy(&attr, (const uint8_t *)command + offsetof(struct command, header.attrs), sizeof attr);
        return (uint32_t)attr.data;
}

/* libibverbs would not do: its providers answer for drivers of which they know, see ibv_reg_dmabuf_mr(3). */
static int reg_dmabuf_mr(const struct uverbs_device *device,
                         uint32_t pd,
                         const struct uverbs_dmabuf *range,
                         uint32_t access,
                         struct uverbs_command *ret_command,
                         struct uverbs_mr_keys *response) {
        struct command command;

        start(&command, device->driver_id, UVERBS_OBJECT_MR, UVERBS_METHOD_REG_DMABUF_MR);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_HANDLE, 0, 0); /* the first: uverbs_command_handle() */
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, 0, pd);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_OFFSET, sizeof range->offset, range->offset);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_LENGTH, sizeof range->length, range->length);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_IOVA, sizeof range->iova, range->iova);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_FD, sizeof(uint32_t), (uint32_t)range->fd);
        add_value(&command, UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, sizeof access, access);
        add_output(&command, UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, &response->lkey, sizeof response->lkey);
        add_output(&command, UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, &response->rkey, sizeof response->rkey);
        finish(&command);
        memcpy(ret_command, &command, sizeof command);
        return ioctl(device->fd, RDMA_VERBS_IOCTL, ret_command) < 0 ? -errno : 0;
}

static int kernel_probe_dmabuf(const struct uverbs_device *device, uint32_t pd) {
        const struct uverbs_dmabuf none = { .fd = -1, .length = (uint64_t)sysconf(_SC_PAGESIZE) };
        struct uverbs_command command;
        struct uverbs_mr_keys keys;
        int r;

        r = reg_dmabuf_mr(device, pd, &none, IBV_ACCESS_LOCAL_WRITE, &command, &keys);
        switch (r) {
        case -EOPNOTSUPP:      /* the driver cannot */
        case -EPROTONOSUPPORT: /* the kernel cannot */
                return 0;
        case -EBADF:
        case -EINVAL:
        case -EFAULT: /* of some drivers */
                return 1; /* somebody has looked at the descriptor */
        default:
                return r < 0 ? r : -EIO;
        }
}

static int kernel_reg_dmabuf_mr(const struct uverbs_device *device,
                                uint32_t pd,
                                const struct uverbs_dmabuf *range,
                                uint32_t access,
                                struct uverbs_command *command,
                                struct uverbs_mr_keys *response) {
        int r;

        r = reg_dmabuf_mr(device, pd, range, access, command, response);
        if (r == 0)
                __atomic_store_n(&response->handle, uverbs_command_handle(command), __ATOMIC_RELEASE);
        return r;
}

static int kernel_prefetch(const struct uverbs_device *device,
                           uint32_t pd,
                           uint32_t lkey,
                           uint64_t iova,
                           uint64_t length,
                           enum uverbs_prefetch how) {
        static const uint64_t advice[] = {
                [UVERBS_PREFETCH_MAPPED] = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_NO_FAULT,
                [UVERBS_PREFETCH_READ] = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH,
                [UVERBS_PREFETCH_WRITE] = IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
        };
        /* An element's length has 32 bits. */
        const uint64_t most = UINT64_C(1) << 30;
        int r = 0;

        for (uint64_t at = 0; r == 0 && at < length; at += most) {
                struct ib_uverbs_sge sge = {
                        .addr = iova + at,
                        .length = (uint32_t)(length - at < most ? length - at : most),
                        .lkey = lkey,
                };
                struct command command;

                start(&command, device->driver_id, UVERBS_OBJECT_MR, UVERBS_METHOD_ADVISE_MR);
                add_value(&command, UVERBS_ATTR_ADVISE_MR_PD_HANDLE, 0, pd);
                add_value(&command, UVERBS_ATTR_ADVISE_MR_ADVICE, sizeof(uint64_t), advice[how]);
                add_value(&command, UVERBS_ATTR_ADVISE_MR_FLAGS, sizeof(uint32_t), IB_UVERBS_ADVISE_MR_FLAG_FLUSH);
                add_input(&command, UVERBS_ATTR_ADVISE_MR_SGE_LIST, &sge, sizeof sge);
                r = issue(device->fd, &command);
        }
        return r;
}

static int kernel_dereg_mr(const struct uverbs_device *device, uint32_t handle) {
        struct command command;

        start(&command, device->driver_id, UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY);
        add_value(&command, UVERBS_ATTR_DESTROY_MR_HANDLE, 0, handle);
        return issue(device->fd, &command);
}

static int kernel_query_mr(const struct uverbs_device *device, uint32_t handle, struct uverbs_mr_info *ret_info) {
        struct uverbs_mr_info info = { 0 };
        struct command command;
        int r;

        start(&command, device->driver_id, UVERBS_OBJECT_MR, UVERBS_METHOD_QUERY_MR);
        add_value(&command, UVERBS_ATTR_QUERY_MR_HANDLE, 0, handle);
        add_output(&command, UVERBS_ATTR_QUERY_MR_RESP_LKEY, &info.lkey, sizeof info.lkey);
        add_output(&command, UVERBS_ATTR_QUERY_MR_RESP_RKEY, &info.rkey, sizeof info.rkey);
        add_output(&command, UVERBS_ATTR_QUERY_MR_RESP_LENGTH, &info.length, sizeof info.length);
        add_output(&command, UVERBS_ATTR_QUERY_MR_RESP_IOVA, &info.iova, sizeof info.iova);
        r = issue(device->fd, &command);
        if (r == 0)
                *ret_info = info;
        return r;
}

static int kernel_list_windows(const struct uverbs_device *device, uint32_t *ret_handles, uint32_t max, uint32_t *ret_n) {
        struct command command;
        uint32_t n = 0;
        int r;

        start(&command, device->driver_id, UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INFO_HANDLES);
        /* Constants are as long as the field that holds them. */
        add_value(&command, UVERBS_ATTR_INFO_OBJECT_ID, sizeof(uint64_t), UVERBS_OBJECT_MW);
        add_output(&command, UVERBS_ATTR_INFO_TOTAL_HANDLES, &n, sizeof n);
        add_output(&command, UVERBS_ATTR_INFO_HANDLES_LIST, ret_handles, max * sizeof *ret_handles);
        r = issue(device->fd, &command);
        if (r == 0)
                *ret_n = n < max ? n : max;
        return r;
}

static int kernel_dealloc_window(const struct uverbs_device *device, uint32_t handle) {
        struct command command;

        start(&command, device->driver_id, UVERBS_OBJECT_MW, UVERBS_METHOD_MW_DESTROY);
        add_value(&command, UVERBS_ATTR_DESTROY_MW_HANDLE, 0, handle);
        return issue(device->fd, &command);
}

const struct uverbs_ops uverbs_kernel = {
        .probe = kernel_probe,
        .query_methods = kernel_query_methods,
        .reg_mr = kernel_reg_mr,
        .probe_dmabuf = kernel_probe_dmabuf,
        .reg_dmabuf_mr = kernel_reg_dmabuf_mr,
        .prefetch = kernel_prefetch,
        .dereg_mr = kernel_dereg_mr,
        .query_mr = kernel_query_mr,
        .list_windows = kernel_list_windows,
        .dealloc_window = kernel_dealloc_window,
};
