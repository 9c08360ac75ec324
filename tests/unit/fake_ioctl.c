/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_ioctl.h"

#include <errno.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdarg.h>
#include <string.h>

#include "testing.h"

struct fake_kernel kernel;

static const struct ib_uverbs_attr *attr(const struct ib_uverbs_ioctl_hdr *header, unsigned int id) {
        for (unsigned int i = 0; i < header->num_attrs; i++)
                if (header->attrs[i].attr_id == id)
                        return header->attrs + i;
        fail_msg("an ioctl without attribute %u", id);
        return NULL;
}

static void *output(const struct ib_uverbs_ioctl_hdr *header, unsigned int id) {
        return (void *)(uintptr_t)attr(header, id)->data;
}

static int reg_mr(const struct ib_uverbs_ioctl_hdr *header) {
        assert_int_equal(attr(header, UVERBS_ATTR_WRITE_CMD)->data, IB_USER_VERBS_CMD_REG_MR);
        if (kernel.error)
                return kernel.error;
        kernel.live = true;
        kernel.n_registered++;
        kernel.rkey = RKEY;
        memcpy(&kernel.reg, output(header, UVERBS_ATTR_CORE_IN), sizeof kernel.reg);
        memcpy(output(header, UVERBS_ATTR_CORE_OUT), &(uint32_t[]) { HANDLE, LKEY, RKEY }, 12);
        return 0;
}

/* The handle is written into the command itself, whatever comes of it. */
static int reg_dmabuf_mr(struct ib_uverbs_ioctl_hdr *header) {
        assert_int_equal(header->length, sizeof kernel.dmabuf);
        assert_int_equal(attr(header, UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE)->data, PD);
        memcpy(&kernel.dmabuf, header, sizeof kernel.dmabuf);
        kernel.n_dmabufs++;
        header->attrs[0].data = HANDLE;
        if (kernel.error)
                return kernel.error;
        memcpy(output(header, UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY), &(uint32_t) { LKEY }, 4);
        memcpy(output(header, UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY), &(uint32_t) { RKEY }, 4);
        return 0;
}

static int query_mr(const struct ib_uverbs_ioctl_hdr *header) {
        assert_int_equal(attr(header, UVERBS_ATTR_QUERY_MR_HANDLE)->data, HANDLE);
        if (!kernel.live)
                return ENOENT;
        *(uint32_t *)output(header, UVERBS_ATTR_QUERY_MR_RESP_LKEY) = LKEY;
        *(uint32_t *)output(header, UVERBS_ATTR_QUERY_MR_RESP_RKEY) = kernel.rkey;
        *(uint64_t *)output(header, UVERBS_ATTR_QUERY_MR_RESP_LENGTH) = kernel.reg.length;
        *(uint64_t *)output(header, UVERBS_ATTR_QUERY_MR_RESP_IOVA) = kernel.reg.hca_va;
        return 0;
}

static int destroy_mr(const struct ib_uverbs_ioctl_hdr *header) {
        assert_int_equal(attr(header, UVERBS_ATTR_DESTROY_MR_HANDLE)->data, HANDLE);
        if (kernel.n_busy > 0) {
                kernel.n_busy--;
                return EBUSY;
        }
        kernel.live = false;
        kernel.n_destroyed++;
        return 0;
}

static int answer(struct ib_uverbs_ioctl_hdr *header) {
        if (kernel.probe_error)
                return kernel.probe_error;
        if (header->driver_id != DRIVER)
                return EINVAL;
        if (header->object_id == UVERBS_OBJECT_MR && header->method_id == UVERBS_METHOD_QUERY_MR)
                return query_mr(header);
        if (header->object_id == UVERBS_OBJECT_MR && header->method_id == UVERBS_METHOD_MR_DESTROY)
                return destroy_mr(header);
        if (header->object_id == UVERBS_OBJECT_MR && header->method_id == UVERBS_METHOD_REG_DMABUF_MR)
                return reg_dmabuf_mr(header);
        assert_int_equal(header->object_id, UVERBS_OBJECT_DEVICE);
        if (header->method_id == UVERBS_METHOD_INVOKE_WRITE)
                return reg_mr(header);
        kernel.n_probes++;
        return EPROTONOSUPPORT;
}

/* The library's goes here: a program's own functions come before those of the C library. */
__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...);
int ioctl(int fd, unsigned long request, ...) {
        struct ib_uverbs_ioctl_hdr *header;
        va_list ap;

        assert_int_equal(request, RDMA_VERBS_IOCTL);
        assert_true(fd >= 0);
        va_start(ap, request);
        header = va_arg(ap, struct ib_uverbs_ioctl_hdr *);
        va_end(ap);
        assert_int_equal(header->length, sizeof *header + header->num_attrs * sizeof header->attrs[0]);
        errno = answer(header);
        return errno ? -1 : 0;
}
