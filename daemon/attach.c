/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "chardev.h"
#include "request.h"

/* For rules that ask for it. A device of another network namespace is not in this one's sysfs, and has no name here. */
static void read_name(dev_t rdev, char name[CONTEXT_NAME_MAX]) {
        char path[64];
        FILE *f;

        (void)snprintf(path, sizeof path, "/sys/dev/char/%u:%u/ibdev", major(rdev), minor(rdev));
        f = fopen(path, "re");
        if (!f)
                return;
        if (!fgets(name, CONTEXT_NAME_MAX, f))
                name[0] = '\0';
        name[strcspn(name, "\n")] = '\0';
        (void)fclose(f);
}

static int find_slot(const struct registrar_state *state, uint32_t *ret_index) {
        for (uint32_t i = 0; i < MAX_CONTEXTS; i++)
                if (state->contexts[i].device.fd < 0) {
                        *ret_index = i;
                        return 0;
                }
        return -EMFILE;
}

int request_attach(struct registrar_state *state,
                   int fd,
                   const struct pl_fdclass *class,
                   uint32_t *ret_index,
                   struct refusal *ret_refusal) {
        struct context context = { .device.fd = fd };
        uint32_t index;
        int r;

        /* Does not depend on the network namespace of the device, as sysfs does. Only then may an ioctl be tried: on
         * another device the same number could mean anything. */
        r = class->kind == PL_FD_CHARDEV ? pl_chardev_is(class->rdev, "infiniband_verbs") : 0;
        if (r < 0)
                return refuse_errno(ret_refusal, PINLEASE_CODE_NOT_VERBS, r, "The device's class could not be read from /proc/devices.");
        if (r == 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NOT_VERBS,
                              "The descriptor is %s, not the command fd of a verbs context. Pass ibv_context->cmd_fd.",
                              pl_fdclass_name(class));

        r = find_slot(state, &index);
        if (r < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_TOO_MANY_CONTEXTS,
                              "A session may have %u verbs contexts at a time. Detach one that is no longer used.",
                              (unsigned int)MAX_CONTEXTS);

        r = state->uverbs->probe(fd, &context.device.driver_id);
        if (r == -ENOTTY)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NOT_VERBS,
                              "The descriptor is a verbs device but not a command fd. Pass ibv_context->cmd_fd.");
        if (r < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_UNKNOWN_DRIVER,
                              "No known driver answers on this verbs context (%s). The device may just have been removed.",
                              strerror(-r));

        r = state->uverbs->query_methods(&context.device, &context.methods);
        if (r < 0)
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    r,
                                    "The device's capabilities could not be read (%s). Is the verbs context open, and the "
                                    "device still there?",
                                    strerror(-r));

        read_name(class->rdev, context.name);
        context.unsound = uverbs_unsound_methods(context.device.driver_id);
        state->contexts[index] = context;
        *ret_index = index;
        return 0;
}

int request_detach(struct registrar_state *state, uint32_t index, struct refusal *ret_refusal) {
        int r;

        if (index >= MAX_CONTEXTS || state->contexts[index].device.fd < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_SUCH_CONTEXT,
                              "Verbs context %" PRIu32 " is not attached to this session.",
                              index);

        r = request_deregister_all(state, index, ret_refusal);
        if (r < 0)
                return r;
        state->contexts[index].device.fd = pl_close(state->contexts[index].device.fd);
        return 0;
}
