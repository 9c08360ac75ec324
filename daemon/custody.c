/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "custody.h"

#include "closer.h"
#include "util.h"

void custody_init(struct custody *c) {
        c->disposed = -1;
        for (size_t i = 0; i < ELEMENTSOF(c->contexts); i++)
                c->contexts[i] = (struct cleanup_context) { .device.fd = -1 };
        lent_init(&c->lent);
}

int custody_add_context(struct custody *c, const struct control_message *message, int fd) {
        struct cleanup_context *context;

        if (fd < 0 || message->context >= ELEMENTSOF(c->contexts) || c->contexts[message->context].device.fd >= 0) {
                closer_close(&fd, 1);
                return -EPROTO;
        }

        context = c->contexts + message->context;
        context->device.fd = fd;
        context->device.driver_id = message->value;
        return 0;
}

int custody_drop_context(struct custody *c, const struct control_message *message) {
        if (message->context >= ELEMENTSOF(c->contexts) || c->contexts[message->context].device.fd < 0)
                return -EPROTO;
        return closer_close(&c->contexts[message->context].device.fd, 1);
}

/* Not closed yet: the registrar still has its copy, and if that were the last one the registrar would hang for as long as the
 * close takes. */
int custody_hold(struct custody *c, int fd) {
        if (fd < 0)
                return -EPROTO;
        if (c->disposed >= 0) {
                closer_close(&fd, 1);
                return -EPROTO;
        }
        c->disposed = fd;
        return 0;
}

/* If no process could be had it is closed here: that is no matter of the registrar's. */
int custody_close(struct custody *c) {
        if (c->disposed < 0)
                return -EPROTO;
        (void)closer_close(&c->disposed, 1);
        return 0;
}

int custody_lend(struct custody *custody, int control, const struct control_message *message, int fd) {
        struct control_message answer = { .type = CONTROL_ACK };
        int r, bell = -1;

        r = lent_add(&custody->lent, message->id < LENT_MAX ? (unsigned int)message->id : LENT_MAX, fd, &bell);
        if (r == -EPROTO)
                return r;
        answer.value = (uint32_t)-r;
        r = control_send(control, &answer, bell);
        pl_close(bell);
        return r;
}

int custody_unlend(struct custody *custody, const struct control_message *message) {
        return message->id < LENT_MAX ? lent_drop(&custody->lent, (unsigned int)message->id) : -EPROTO;
}

void custody_done(struct custody *c) {
        int fds[MAX_CONTEXTS + 1];
        unsigned int n = 0;

        for (size_t i = 0; i < ELEMENTSOF(c->contexts); i++)
                if (c->contexts[i].device.fd >= 0)
                        fds[n++] = c->contexts[i].device.fd;
        if (c->disposed >= 0)
                fds[n++] = c->disposed;
        if (n > 0)
                (void)closer_close(fds, n);
        lent_done(&c->lent);
}
