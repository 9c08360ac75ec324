/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "calls.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sys/ioctl.h>

#include "harness.h"

struct call {
        union {
                struct ib_uverbs_ioctl_hdr header;
                uint8_t room[sizeof(struct ib_uverbs_ioctl_hdr) + 6 * sizeof(struct ib_uverbs_attr)];
        };
};

static void add(struct call *call, uint16_t id, uint16_t length, uint64_t data) {
        struct ib_uverbs_attr *attr = call->header.attrs + call->header.num_attrs++;

        *attr = (struct ib_uverbs_attr) {
                .attr_id = id, .len = length, .flags = UVERBS_ATTR_F_MANDATORY, .data = data
        };
}

static struct call call_to(uint16_t object, uint16_t method) {
        return (struct call) {
                .header = { .object_id = object, .method_id = method, .driver_id = RDMA_DRIVER_RXE },
        };
}

static int issue(int command_fd, struct call *call) {
        call->header.length = (uint16_t)(sizeof call->header + call->header.num_attrs * sizeof call->header.attrs[0]);
        return ioctl(command_fd, RDMA_VERBS_IOCTL, &call->header);
}

int call_query_mr_into(int command_fd, uint32_t handle, struct call_mr *mr) {
        struct call call = call_to(UVERBS_OBJECT_MR, UVERBS_METHOD_QUERY_MR);

        add(&call, UVERBS_ATTR_QUERY_MR_HANDLE, 0, handle);
        add(&call, UVERBS_ATTR_QUERY_MR_RESP_LKEY, sizeof mr->lkey, (uintptr_t)&mr->lkey);
        add(&call, UVERBS_ATTR_QUERY_MR_RESP_RKEY, sizeof mr->rkey, (uintptr_t)&mr->rkey);
        add(&call, UVERBS_ATTR_QUERY_MR_RESP_LENGTH, sizeof mr->length, (uintptr_t)&mr->length);
        add(&call, UVERBS_ATTR_QUERY_MR_RESP_IOVA, sizeof mr->iova, (uintptr_t)&mr->iova);
        return issue(command_fd, &call);
}

int call_query_mr(int command_fd, uint32_t handle) {
        struct call_mr mr;

        return call_query_mr_into(command_fd, handle, &mr);
}

bool call_mr_is_there(int command_fd, uint32_t handle) {
        if (call_query_mr(command_fd, handle) == 0)
                return true;
        if (errno != ENOENT)
                FAIL("QUERY_MR: %m");
        return false;
}

int call_deregister_mr(int command_fd, uint32_t handle) {
        struct call call = call_to(UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY);

        add(&call, UVERBS_ATTR_DESTROY_MR_HANDLE, 0, handle);
        return issue(command_fd, &call);
}

int call_change_access(int command_fd, uint32_t handle, uint32_t access) {
        struct ib_uverbs_rereg_mr in = { .mr_handle = handle,
                                         .flags = IBV_REREG_MR_CHANGE_ACCESS,
                                         .access_flags = access };
        struct call call = call_to(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE);
        struct ib_uverbs_rereg_mr_resp out;

        add(&call, UVERBS_ATTR_WRITE_CMD, sizeof(uint64_t), IB_USER_VERBS_CMD_REREG_MR);
        add(&call, UVERBS_ATTR_CORE_IN, sizeof in, (uintptr_t)&in);
        add(&call, UVERBS_ATTR_CORE_OUT, sizeof out, (uintptr_t)&out);
        return issue(command_fd, &call);
}
