/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <infiniband/verbs.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stddef.h>
#include <string.h>

#include "fake_ioctl.h"

/* REG_DMABUF_MR as the kernel gets it, and what is made of its answers. */

static const struct uverbs_device device = { .fd = 7, .driver_id = DRIVER };
static const struct uverbs_dmabuf range = {
        .fd = 9,
        .offset = UINT64_C(0x1122334455667788),
        .length = UINT64_C(0x99aabbccddeeff00),
        .iova = UINT64_C(0xfedcba9876543788),
};

/* What the kernel takes: an object's handle and a descriptor are in the attribute; so are numbers of up to eight bytes.
 */
static void assert_command(const struct uverbs_dmabuf *expected, uint32_t access, void *keys) {
        const struct {
                uint16_t id, length;
                uint64_t data;
        } attrs[] = {
                { UVERBS_ATTR_REG_DMABUF_MR_HANDLE, 0, 0 }, /* where uverbs_command_handle() looks */
                { UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, 0, PD },
                { UVERBS_ATTR_REG_DMABUF_MR_OFFSET, 8, expected->offset },
                { UVERBS_ATTR_REG_DMABUF_MR_LENGTH, 8, expected->length },
                { UVERBS_ATTR_REG_DMABUF_MR_IOVA, 8, expected->iova },
                { UVERBS_ATTR_REG_DMABUF_MR_FD, 4, (uint32_t)expected->fd },
                { UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, 4, access },
                { UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, 4, (uintptr_t)keys + offsetof(struct uverbs_mr_keys, lkey) },
                { UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, 4, (uintptr_t)keys + offsetof(struct uverbs_mr_keys, rkey) },
        };
        const struct ib_uverbs_ioctl_hdr *header = (const void *)kernel.dmabuf.words;

        assert_int_equal(header->length, sizeof kernel.dmabuf);
        assert_int_equal(header->object_id, UVERBS_OBJECT_MR);
        assert_int_equal(header->method_id, UVERBS_METHOD_REG_DMABUF_MR);
        assert_int_equal(header->num_attrs, ELEMENTSOF(attrs));
        assert_int_equal(header->driver_id, DRIVER);
        for (size_t i = 0; i < ELEMENTSOF(attrs); i++) {
                assert_int_equal(header->attrs[i].attr_id, attrs[i].id);
                assert_int_equal(header->attrs[i].len, attrs[i].length);
                assert_int_equal(header->attrs[i].flags & UVERBS_ATTR_F_MANDATORY, UVERBS_ATTR_F_MANDATORY);
                if (keys || i < 7)
                        assert_int_equal(header->attrs[i].data, attrs[i].data);
        }
}

TEST(test_register) {
        struct uverbs_mr_keys keys = { UINT32_MAX, UINT32_MAX, UINT32_MAX };
        struct uverbs_command command;

        memset(&kernel, 0, sizeof kernel);
        memset(&command, 0xff, sizeof command);
        assert_int_equal(uverbs_kernel.reg_dmabuf_mr(&device, PD, &range, IBV_ACCESS_REMOTE_READ, &command, &keys), 0);
        assert_command(&range, IBV_ACCESS_REMOTE_READ, &keys);
        assert_int_equal(keys.handle, HANDLE);
        assert_int_equal(keys.lkey, LKEY);
        assert_int_equal(keys.rkey, RKEY);
        assert_int_equal(uverbs_command_handle(&command), HANDLE);
}

/* The kernel has written a handle that is none: it does not get among the keys. */
TEST(test_errors) {
        static const int errors[] = { EINVAL, EBADF, EOPNOTSUPP, EPROTONOSUPPORT, ENOMEM, EIO, ENOENT, EFAULT };

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                struct uverbs_mr_keys keys = { UINT32_MAX, UINT32_MAX, UINT32_MAX };
                struct uverbs_command command;

                memset(&kernel, 0, sizeof kernel);
                kernel.error = errors[i];
                assert_int_equal(uverbs_kernel.reg_dmabuf_mr(&device, PD, &range, 0, &command, &keys), -errors[i]);
                assert_int_equal(uverbs_command_handle(&command), HANDLE);
                assert_int_equal(keys.handle, UINT32_MAX);
                assert_int_equal(keys.lkey, UINT32_MAX);
                assert_int_equal(keys.rkey, UINT32_MAX);
        }
}

TEST(test_handle) {
        struct uverbs_command command;

        for (unsigned int i = 0; i < ELEMENTSOF(command.words); i++) {
                memset(&command, 0xff, sizeof command);
                command.words[i] = UINT64_C(0x1234567800000042);
                if (uverbs_command_handle(&command) == 0x42)
                        assert_int_equal(i * 8,
                                         offsetof(struct ib_uverbs_ioctl_hdr, attrs) +
                                                 offsetof(struct ib_uverbs_attr, data));
                else
                        assert_int_equal(uverbs_command_handle(&command), UINT32_MAX);
        }
}

TEST(test_probe) {
        static const struct {
                int error, result;
        } cases[] = {
                { EOPNOTSUPP, 0 },   { EPROTONOSUPPORT, 0 }, { EBADF, 1 },
                { EINVAL, 1 },       { ENOENT, -ENOENT },    { EIO, -EIO },        { EFAULT, 1 },
                { ENODEV, -ENODEV }, { ENOMEM, -ENOMEM },    { EPERM, -EPERM },
                { 0, -EIO }, /* of what is no descriptor nothing can have been registered */
        };
        const struct uverbs_dmabuf none = { .fd = -1, .length = 4096 };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                memset(&kernel, 0, sizeof kernel);
                kernel.error = cases[i].error;
                assert_int_equal(uverbs_kernel.probe_dmabuf(&device, PD), cases[i].result);
                assert_int_equal(kernel.n_dmabufs, 1);
                assert_command(&none, IBV_ACCESS_LOCAL_WRITE, NULL);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_register),
                CHECKED(test_errors),
                CHECKED(test_handle),
                CHECKED(test_probe),
        };

        return cmocka_run_group_tests_name("uverbs_dmabuf", tests, NULL, NULL);
}
