/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <string.h>

#include "lastrefusal.h"
#include "maps.h"
#include "populate.h"
#include "registration.h"
#include "registry.h"
#include "util.h"
#include "uverbs.h"

/*
 * Private memory: the service grants, this process registers, the service takes note. The ioctl is the library's own. A
 * struct ibv_mr of ibv_reg_mr() could be freed only by ibv_dereg_mr(), which goes by the handle; and that is somebody
 * else's, perhaps, once the service has taken the registration away.
 */

/* Another thread works on the handle at the instant in which it is to be destroyed: it passes. */
#define BUSY_TRIES 100
#define BUSY_SLEEP_NS 200000

static int find_driver(const struct pinlease *p, struct pl_context *context) {
        int r;

        if (context->driver_known)
                return 0;
        r = uverbs_kernel.probe(context->verbs->cmd_fd, &context->driver);
        if (r < 0)
                return pl_refuse(
                        p->serial,
                        PINLEASE_CODE_UNKNOWN_DRIVER,
                        ENODEV,
                        "No known driver answers on this verbs context (%s). The device may just have been removed.",
                        strerror(-r));
        context->driver_known = true;
        return 0;
}

static int ask(struct pinlease *p, const struct pl_wish *wish, uint32_t context, struct pl_grant_reply *ret_grant) {
        struct pl_packet request, reply;
        unsigned int method;
        int r;

        pl_packet_init(&request, PL_OP_GRANT, 0);
        request.body.grant = (struct pl_grant) {
                .context = context,
                .pd = wish->pd->handle,
                .address = (uintptr_t)wish->address,
                .length = wish->length,
                .access = wish->access,
                .methods = pl_wish_methods(wish),
                .guards = (uint16_t)wish->options.guards,
        };
        r = pl_session_call(p, &request, -1, &reply);
        if (r < 0)
                return r;
        method = reply.body.grant_reply.method;
        if ((method != PINLEASE_METHOD_ODP && method != PINLEASE_METHOD_PINNED) || !(pl_wish_methods(wish) & method))
                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_FLAGS, "a grant by another method");
        *ret_grant = reply.body.grant_reply;
        return 0;
}

/* An answer that cannot be had is of no interest: the grant lapses, or goes with the session. */
static void give_back(struct pinlease *p, uint64_t id) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        (void)pl_session_call(p, &request, -1, &reply);
}

static int refuse_kernel(const struct pinlease *p, const struct pl_wish *wish, unsigned int method, int error) {
        if (error == -ENOENT)
                return pl_refuse(p->serial,
                                 PINLEASE_CODE_NO_SUCH_PD,
                                 ENOENT,
                                 "Protection domain %" PRIu32
                                 " does not exist on this verbs context. Pass a PD that was allocated on it.",
                                 wish->pd->handle);
        if (error == -ENOMEM && method == PINLEASE_METHOD_PINNED)
                return pl_refuse(p->serial,
                                 PINLEASE_CODE_KERNEL,
                                 ENOMEM,
                                 "The kernel refused to pin %" PRIu64
                                 " bytes of private memory (ENOMEM): either memory is short, for this process's control group "
                                 "or for all; or the process has pinned so much by itself, or lowered its limit of locked "
                                 "memory (ulimit -l), that the service's raise of the limit does not suffice.",
                                 wish->length);
        return pl_refuse(p->serial,
                         PINLEASE_CODE_KERNEL,
                         -error,
                         "The kernel refused to register %" PRIu64
                         " bytes of private memory by %s (access 0x%x): %s. See what access and length the device "
                         "supports (ibv_devinfo "
                         "-v), and the kernel log.",
                         wish->length,
                         pl_method_name(method),
                         wish->access,
                         strerror(-error));
}

/* What was not committed is this process's alone; but if the session has ended in between, its keeper may have had it,
 * and another thread the handle since. */
static void undo(const struct uverbs_device *device,
                 const struct uverbs_mr_keys *keys,
                 const struct pl_wish *wish,
                 uint64_t iova) {
        for (unsigned int i = 0; i < BUSY_TRIES; i++) {
                struct uverbs_mr_info info;
                int r = uverbs_kernel.query_mr(device, keys->handle, &info);

                if (r == 0 && (info.rkey != keys->rkey || info.length != wish->length || info.iova != iova))
                        return;
                if (r == 0)
                        r = uverbs_kernel.dereg_mr(device, keys->handle);
                if (r != -EBUSY)
                        return;
                (void)nanosleep(&(struct timespec) { .tv_nsec = BUSY_SLEEP_NS }, NULL);
        }
}

static int commit(struct pinlease *p,
                  const struct pl_grant_reply *grant,
                  const struct uverbs_mr_keys *keys,
                  struct pl_grant_commit_reply *ret_reply) {
        struct pl_packet request, reply;
        int r;

        pl_packet_init(&request, PL_OP_GRANT_COMMIT, 0);
        request.body.grant_commit = (struct pl_grant_commit) {
                .id = grant->id,
                .handle = keys->handle,
                .lkey = keys->lkey,
                .rkey = keys->rkey,
        };
        r = pl_session_call(p, &request, -1, &reply);
        if (r >= 0)
                *ret_reply = reply.body.grant_commit_reply;
        /* Then it is still open, and would count until it lapses. */
        else if (r == -EBUSY)
                give_back(p, grant->id);
        return r;
}

/* With `io` held. */
static int register_private(struct pinlease *p, const struct pl_wish *wish, struct pl_registration *reg) {
        struct uverbs_mr_keys keys = { 0 };
        struct pl_grant_commit_reply reply;
        struct pl_grant_reply grant;
        struct pl_context *context;
        struct uverbs_device device;
        int r;

        r = pl_context_get(p, wish->pd->context, &context);
        if (r >= 0)
                r = find_driver(p, context);
        if (r >= 0)
                r = ask(p, wish, context->id, &grant);
        if (r < 0)
                return r;

        device = (struct uverbs_device) { .fd = context->verbs->cmd_fd, .driver_id = context->driver };
        r = uverbs_kernel.reg_mr(&device,
                                 wish->pd->handle,
                                 (uintptr_t)wish->address,
                                 wish->length,
                                 grant.iova,
                                 wish->access | (grant.method == PINLEASE_METHOD_ODP ? (uint32_t)IBV_ACCESS_ON_DEMAND : 0U),
                                 &keys);
        if (r < 0) {
                give_back(p, grant.id);
                return refuse_kernel(p, wish, grant.method, r);
        }
        r = commit(p, &grant, &keys, &reply);
        if (r < 0) {
                undo(&device, &keys, wish, grant.iova);
                return r;
        }

        pl_wish_granted(wish, context, &keys, reg);
        reg->id = grant.id;
        reg->public.iova = grant.iova;
        reg->public.method = (enum pinlease_method)grant.method;
        reg->public.backing = (enum pinlease_backing)reply.backing;
        reg->public.guards = reply.guards;
        pl_registry_add(p, reg);
        return 0;
}

static int check(const struct pinlease *p, struct pl_wish *wish) {
        if (!(p->features & PL_FEATURE_GRANTS))
                return pl_refuse(
                        p->serial,
                        PINLEASE_CODE_NOT_PRIVATE,
                        ENODEV,
                        "The service is of an older version, which has no private memory registered. Use a memfd and "
                        "pinlease_reg_fd().");
        return pl_maps_check_private(p->serial, wish->address, wish->length, pl_access_is_writable(wish->access));
}

_public_ int pinlease_reg_mr(struct pinlease *p,
                             struct ibv_pd *pd,
                             void *address,
                             uint64_t length,
                             unsigned int access,
                             const struct pinlease_reg_options *options,
                             struct pinlease_mr **ret_reg) {
        struct pl_wish wish = { .pd = pd, .fd = -1, .length = length, .address = address, .access = access };

        return pl_wish_fulfil(p, &wish, options, check, register_private, ret_reg);
}
