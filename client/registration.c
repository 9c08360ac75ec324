/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registration.h"

#include <inttypes.h>

#include "lastrefusal.h"
#include "populate.h"
#include "registry.h"
#include "util.h"

/* Arguments that no look at the memory can make right. */
static int check(const struct pinlease *p, const struct pl_wish *wish) {
        uintptr_t sum;

        if (wish->length == 0)
                return pl_refuse(p->serial, PINLEASE_CODE_ZERO_LENGTH, EINVAL,
                                 "An empty range cannot be registered: give the number of bytes.");
        if (pl_overflows(wish->offset, wish->length))
                return pl_refuse(p->serial, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW,
                                 "Offset %" PRIu64 " and length %" PRIu64 " together do not fit in 64 bits.",
                                 wish->offset, wish->length);
        if (wish->length > SIZE_MAX || __builtin_add_overflow((uintptr_t)wish->address, (uintptr_t)wish->length, &sum))
                return pl_refuse(p->serial, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW,
                                 "%s %p and length %" PRIu64 " pass the end of the address space.",
                                 wish->dmabuf ? "The iova" : "Address", wish->address, wish->length);
        if (!wish->address && !wish->dmabuf)
                return pl_refuse(
                        p->serial, PINLEASE_CODE_NOT_POPULATED, EFAULT,
                        "The address is NULL. Map the memory first, a file MAP_SHARED, and give the address of its mapping.");
        if (wish->options.guards & ~(unsigned int)PINLEASE_GUARD_ALL)
                return pl_refuse(p->serial, PINLEASE_CODE_NO_GUARD, EBUSY,
                                 "The guards 0x%x are insisted on, and this library does not know all of them.",
                                 wish->options.guards);
        if (wish->options.guards && !(p->features & PL_FEATURE_GUARDS))
                return pl_refuse(p->serial, PINLEASE_CODE_NO_GUARD, EBUSY,
                                 "A guard is insisted on, and the service is of an older version that has none.");
        if (wish->options.flags & ~(unsigned int)PINLEASE_FLAG_ALL)
                return pl_refuse(p->serial, PINLEASE_CODE_BAD_FLAGS, EINVAL,
                                 "The flags 0x%x are asked for, and this library does not know all of them.",
                                 wish->options.flags);
        return 0;
}

static int look_at_fd(const struct pinlease *p, struct pl_wish *wish) {
        const struct pl_fdclass *class = &wish->class;
        int r;

        r = pl_fdclass_get(wish->fd, &wish->class);
        if (r == -EBADF)
                return pl_refuse(p->serial, PINLEASE_CODE_NOT_OPEN, EBADF, "File descriptor %d is not open.",
                                 wish->fd);
        if (r < 0)
                return pl_refuse(p->serial, PINLEASE_CODE_NOT_MEMORY, -r, "File descriptor %d cannot be examined: %m.",
                                 wish->fd);

        /* Sent, it would end the session: the service cannot even close such a descriptor safely. */
        if (class->kind == PL_FD_HANGING)
                return pl_refuse(p->serial, PINLEASE_CODE_HANGING_FILE, EOPNOTSUPP,
                                 "File descriptor %d is %s, whose server could block the service for ever. Memory on "
                                 "tmpfs, a memfd, huge pages, or a file on a local file system can be registered.",
                                 wish->fd, pl_fdclass_name(class));
        return 0;
}

/* Looks at the descriptor and brings the memory in. Nothing has been asked of the service until this has succeeded. */
static int prepare(const struct pinlease *p, struct pl_wish *wish) {
        int r;

        r = look_at_fd(p, wish);
        if (r < 0)
                return r;
        return pl_populate(p->serial, wish->fd, &wish->class, wish->offset, wish->length, wish->address,
                           pl_access_is_writable(wish->access));
}

/* Of a dma-buf everything else is the service's to find out. There is nothing to bring in: its iova need not be an address here. */
static int prepare_dmabuf(const struct pinlease *p, struct pl_wish *wish) {
        int r;

        r = look_at_fd(p, wish);
        if (r < 0)
                return r;
        if (wish->class.kind != PL_FD_DMABUF)
                return pl_refuse(p->serial, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP,
                                 "File descriptor %d is %s, not a dma-buf. pinlease_reg_fd() registers what is memory by itself.",
                                 wish->fd, pl_fdclass_name(&wish->class));
        return 0;
}

static struct pl_context **find_context(struct pinlease *p, const struct ibv_context *verbs) {
        for (struct pl_context **c = &p->contexts; *c; c = &(*c)->next)
                if ((*c)->verbs == verbs)
                        return c;
        return NULL;
}

int pl_context_get(struct pinlease *p, struct ibv_context *verbs, struct pl_context **ret_context) {
        _cleanup_(pl_freep) struct pl_context *new = NULL;
        struct pl_context **known = find_context(p, verbs);
        struct pl_packet request, reply;
        int r;

        if (known) {
                *ret_context = *known;
                return 0;
        }

        if (verbs->cmd_fd < 0)
                return pl_refuse(p->serial, PINLEASE_CODE_NOT_VERBS, ENOTTY,
                                 "The verbs context has no command descriptor, so the service cannot work on it.");
        new = malloc(sizeof *new);
        if (!new)
                return pl_refuse(p->serial, PINLEASE_CODE_NO_MEMORY, ENOMEM, "The library is out of memory.");

        pl_packet_init(&request, PL_OP_ATTACH, 0);
        r = pl_session_call(p, &request, verbs->cmd_fd, &reply);
        if (r < 0)
                return r;

        *new = (struct pl_context) { .next = p->contexts, .verbs = verbs, .id = reply.body.attach_reply.context };
        *ret_context = p->contexts = new;
        new = NULL;
        return 0;
}

_public_ int pinlease_attach(struct pinlease *p, struct ibv_context *context) {
        struct pl_context *known;
        int r;

        r = pl_session_enter(p);
        if (r < 0)
                return r;
        r = pl_context_get(p, context, &known);
        pl_session_leave(p);
        return r;
}

/* With `io` held. On success everything registered on the context is gone, here as there. */
static int detach(struct pinlease *p, struct pl_context **context) {
        struct pl_context *gone = *context;
        struct pl_packet request, reply;
        int r;

        pl_packet_init(&request, PL_OP_DETACH, 0);
        request.body.detach.context = gone->id;
        r = pl_session_call(p, &request, -1, &reply);
        if (r < 0)
                return r;

        for (struct pl_registration *next, *reg = p->registrations; reg; reg = next) {
                next = reg->next;
                if (reg->context == gone->id && !reg->released)
                        pl_registry_remove(p, reg);
        }
        *context = gone->next;
        free(gone);
        return 0;
}

_public_ int pinlease_detach(struct pinlease *p, struct ibv_context *context) {
        struct pl_context **known;
        int r;

        r = pl_session_enter(p);
        if (r < 0)
                return r;

        known = find_context(p, context);
        if (known)
                r = detach(p, known);
        else
                r = pl_refuse(p->serial, PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV,
                              "The verbs context is not attached to this session.");
        pl_session_leave(p);
        return r;
}

void pl_registration_detach_all(struct pinlease *p) {
        struct pl_context **c = &p->contexts;

        /* One that is refused, because a memory window is bound, does not keep the others. */
        while (*c && !p->ended)
                if (detach(p, c) < 0)
                        c = &(*c)->next;
}

/* Does the answer fit the question? One that does not means that nothing else from there can be believed either. */
static int check_reply(struct pinlease *p, const struct pl_wish *wish, const struct pl_register_reply *reply) {
        unsigned int methods = wish->options.methods ? wish->options.methods : PINLEASE_METHOD_ANY;

        if (reply->length != wish->length)
                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_LENGTH, "a registration of another length");
        if ((reply->method != PINLEASE_METHOD_ODP && reply->method != PINLEASE_METHOD_PINNED &&
             reply->method != PINLEASE_METHOD_DMABUF) ||
            !(reply->method & methods) || (wish->dmabuf && reply->method != PINLEASE_METHOD_DMABUF))
                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_FLAGS, "a registration by another method");
        if (wish->dmabuf && reply->iova != (uintptr_t)wish->address)
                return pl_session_protocol_error(p, PINLEASE_CODE_MISALIGNED, "a registration by another iova");
        if (wish->options.guards & ~pl_guards_held(reply->guards))
                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_FLAGS, "a registration without its guards");
        return 0;
}

/* One that has no place in the request is as unknown to the service as those that have. */
uint16_t pl_wish_methods(const struct pl_wish *wish) {
        unsigned int methods = wish->options.methods;

        if (methods == 0)
                return PINLEASE_METHOD_ANY;
        return methods <= UINT16_MAX ? (uint16_t)methods : UINT16_MAX;
}

void pl_wish_granted(const struct pl_wish *wish,
                     const struct pl_context *context,
                     const struct uverbs_mr_keys *keys,
                     struct pl_registration *ret_reg) {
        *ret_reg = (struct pl_registration) {
                .public = {
                        .mr = {
                                .context = wish->pd->context,
                                .pd = wish->pd,
                                .addr = wish->dmabuf ? (void *)(uintptr_t)wish->offset : wish->address, /* ibv_reg_dmabuf_mr() */
                                .length = (size_t)wish->length,
                                .handle = keys->handle,
                                .lkey = keys->lkey,
                                .rkey = keys->rkey,
                        },
                        .cookie = wish->options.cookie,
                },
                .context = context->id,
                .device = wish->class.dev,
                .inode = wish->class.inode,
        };
}

/* With `io` held. */
static int register_wish(struct pinlease *p, const struct pl_wish *wish, struct pl_registration *reg) {
        const struct pl_register_reply *answer;
        struct pl_packet request, reply;
        struct pl_context *context;
        int r;

        r = pl_context_get(p, wish->pd->context, &context);
        if (r < 0)
                return r;

        pl_packet_init(&request, PL_OP_REGISTER, 0);
        request.body.reg = (struct pl_register) {
                .context = context->id,
                .pd = wish->pd->handle,
                .offset = wish->offset,
                .length = wish->length,
                .address = (uintptr_t)wish->address,
                .access = wish->access,
                .methods = pl_wish_methods(wish),
                .guards = (uint8_t)wish->options.guards,
                /* A service that does not know what is only a wish does without. */
                .flags = (uint8_t)(p->features & PL_FEATURE_PREFETCH ? wish->options.flags : 0),
        };
        r = pl_session_call(p, &request, wish->fd, &reply);
        if (r < 0)
                return r;

        answer = &reply.body.register_reply;
        r = check_reply(p, wish, answer);
        if (r < 0)
                return r;

        pl_wish_granted(wish, context, &(const struct uverbs_mr_keys) { answer->handle, answer->lkey, answer->rkey }, reg);
        reg->id = answer->id;
        reg->public.iova = answer->iova;
        reg->public.method = (enum pinlease_method)answer->method;
        reg->public.backing = (enum pinlease_backing)answer->backing;
        reg->public.guards = answer->guards;
        reg->public.flags = answer->flags;
        pl_registry_add(p, reg);
        return 0;
}

int pl_wish_fulfil(struct pinlease *p,
                   struct pl_wish *wish,
                   const struct pinlease_reg_options *options,
                   int (*look)(const struct pinlease *p, struct pl_wish *wish),
                   int (*make)(struct pinlease *p, const struct pl_wish *wish, struct pl_registration *reg),
                   struct pinlease_mr **ret_reg) {
        _cleanup_(pl_freep) struct pl_registration *reg = NULL;
        int r;

        if (options)
                wish->options = *options;
        r = pl_session_check_owner(p);
        if (r >= 0)
                r = check(p, wish);
        if (r >= 0)
                r = look(p, wish);
        if (r < 0)
                return r;

        /* Before asking: an answer that cannot be kept would be a registration that nobody can take back. */
        reg = malloc(sizeof *reg);
        if (!reg)
                return pl_refuse(p->serial, PINLEASE_CODE_NO_MEMORY, ENOMEM, "The library is out of memory.");

        r = pl_session_enter(p);
        if (r < 0)
                return r;
        r = make(p, wish, reg);
        pl_session_leave(p);
        if (r < 0)
                return r;

        *ret_reg = &reg->public;
        reg = NULL;
        return 0;
}

_public_ int pinlease_reg_fd_ex(struct pinlease *p,
                                struct ibv_pd *pd,
                                int fd,
                                uint64_t offset,
                                uint64_t length,
                                void *address,
                                unsigned int access,
                                const struct pinlease_reg_options *options,
                                struct pinlease_mr **ret_reg) {
        struct pl_wish wish = {
                .pd = pd,
                .fd = fd,
                .offset = offset,
                .length = length,
                .address = address,
                .access = access,
        };

        return pl_wish_fulfil(p, &wish, options, prepare, register_wish, ret_reg);
}

_public_ int pinlease_reg_fd(struct pinlease *p,
                             struct ibv_pd *pd,
                             int fd,
                             uint64_t offset,
                             uint64_t length,
                             void *address,
                             unsigned int access,
                             unsigned int methods,
                             struct pinlease_mr **ret_reg) {
        const struct pinlease_reg_options options = { .methods = methods };

        return pinlease_reg_fd_ex(p, pd, fd, offset, length, address, access, &options, ret_reg);
}

_public_ int pinlease_reg_dmabuf(struct pinlease *p,
                                 struct ibv_pd *pd,
                                 int fd,
                                 uint64_t offset,
                                 uint64_t length,
                                 uint64_t iova,
                                 unsigned int access,
                                 const struct pinlease_reg_options *options,
                                 struct pinlease_mr **ret_reg) {
        struct pl_wish wish = {
                .pd = pd,
                .fd = fd,
                .offset = offset,
                .length = length,
                .address = (void *)(uintptr_t)iova,
                .access = access,
                .dmabuf = true,
        };
        struct pinlease_reg_options only = options ? *options : (struct pinlease_reg_options) { 0 };

        if (only.methods == 0)
                only.methods = PINLEASE_METHOD_DMABUF;
        return pl_wish_fulfil(p, &wish, &only, prepare_dmabuf, register_wish, ret_reg);
}
