/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adminclient.h"

#include <err.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "admin.h"
#include "field.h"
#include "jsonline.h"
#include "text.h"

#define MAX_DEPTH      16
#define CONNECT_SECONDS 10

struct admin {
        int sock;
        uint32_t seq;
        struct json_tokener *tokener;
        struct pl_admin_packet packet;
        char *path; /* printable */
};

static enum status unreachable(const char *path, int error) {
        switch (error) {
        case ENOENT:
        case ECONNREFUSED:
                warnx("cannot reach the service at %s: %s. Is it running? See: systemctl status pinlease.service",
                      path,
                      strerror(error));
                return STATUS_UNREACHABLE;
        case EACCES:
        case EPERM:
                warnx("may not talk to the service at %s: %s. Be root, or a member of the service's admin group",
                      path,
                      strerror(error));
                return STATUS_NOT_PERMITTED;
        case EPROTOTYPE:
                warnx("cannot reach the service at %s: another kind of socket listens there", path);
                return STATUS_UNREACHABLE;
        case EAGAIN:
                warnx("cannot reach the service at %s: it has accepted nobody for %d s. Is it stopped?",
                      path,
                      CONNECT_SECONDS);
                return STATUS_UNREACHABLE;
        default:
                warnx("cannot reach the service at %s: %s", path, strerror(error));
                return STATUS_UNREACHABLE;
        }
}

static enum status admin_open(const char *path, struct admin **ret_admin) {
        _cleanup_(pl_freep) char *printable = text_printable(path, strlen(path));
        struct timeval patience = { .tv_sec = CONNECT_SECONDS };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(admin_closep) struct admin *admin = NULL;

        if (strlen(path) >= sizeof address.sun_path) {
                warnx("%s: longer than the path of a socket can be", printable);
                return STATUS_USAGE;
        }
        memcpy(address.sun_path, path, strlen(path) + 1);

        admin = calloc(1, sizeof *admin);
        if (!admin)
                err(STATUS_FAILED, "connection");
        admin->path = printable;
        printable = NULL;
        admin->tokener = json_tokener_new_ex(MAX_DEPTH);
        admin->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (!admin->tokener || admin->sock < 0)
                err(STATUS_FAILED, "connection");
        json_tokener_set_flags(admin->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

        /* Also of connect(2), where nobody accepts. */
        if (setsockopt(admin->sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
                err(STATUS_FAILED, "SO_SNDTIMEO");
        if (connect(admin->sock, (const struct sockaddr *)&address, sizeof address) < 0)
                return unreachable(admin->path, errno);

        *ret_admin = admin;
        admin = NULL;
        return STATUS_OK;
}

struct admin *admin_close(struct admin *admin) {
        if (!admin)
                return NULL;

        pl_close(admin->sock);
        if (admin->tokener)
                json_tokener_free(admin->tokener);
        free(admin->path);
        free(admin);
        return NULL;
}

/* Returns 0 or a negative errno. */
static int send_call(struct admin *admin, const struct call *call) {
        struct json_object *object = json_object_new_object();
        size_t length;
        const char *text;
        int r = 0;

        if (!object || json_object_object_add(object, "method", json_object_new_string(call->method)) < 0 ||
            (call->parameters && json_object_object_add(object, "parameters", json_object_get(call->parameters)) < 0))
                err(STATUS_FAILED, "%s", call->what);
        text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
        if (!text || length > sizeof admin->packet.body)
                errx(STATUS_FAILED, "%s: the call does not fit a packet", call->what);

        if (++admin->seq == 0)
                admin->seq = 1;
        admin->packet.header = (struct pl_header) {
                .magic = PL_MAGIC,
                .version = PL_VERSION,
                .opcode = PL_ADMIN_CALL,
                .seq = admin->seq,
                .length = (uint32_t)(sizeof admin->packet.header + length),
        };
        memcpy(admin->packet.body, text, length);
        (void)json_object_put(object);

        while (send(admin->sock, &admin->packet, admin->packet.header.length, MSG_NOSIGNAL) < 0)
                if (errno != EINTR) {
                        r = -errno;
                        break;
                }
        return r;
}

/*
 * Receives a packet into admin->packet. Returns its size, -ETIME, -ECONNRESET at the end, -EMSGSIZE for one that is longer
 * than any may be or comes with descriptors (which the kernel has dropped), or another negative errno.
 */
static ssize_t receive(struct admin *admin, uint64_t patience_ms) {
        struct iovec iov = { .iov_base = &admin->packet, .iov_len = sizeof admin->packet };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        uint64_t now = pl_now_ms(), until = now + patience_ms;
        bool reset = false;

        for (;; now = pl_now_ms()) {
                struct pollfd p = { .fd = admin->sock, .events = POLLIN };
                int r = poll(&p, 1, now < until ? (int)(until - now) : 0);
                ssize_t n;

                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r < 0)
                        continue;
                if (r == 0)
                        return -ETIME;

                n = recvmsg(admin->sock, &msg, MSG_DONTWAIT);
                if (n > 0)
                        return msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : n;
                if (n == 0)
                        return -ECONNRESET;
                /* The other side has closed without reading our call. The kernel says that first, and only then gives
                 * what had been sent before: perhaps why. */
                if (errno == ECONNRESET && !reset)
                        reset = true;
                else if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
}

static const char *judge_header(const struct admin *admin, size_t size) {
        const struct pl_header *header = &admin->packet.header;

        if (size < sizeof *header || header->magic != PL_MAGIC)
                return "it does not speak pinlease's protocol";
        if (header->version != PL_VERSION)
                return "it speaks another version of the protocol; pinleasectl is " PACKAGE_VERSION;
        if (header->length != size || header->flags != 0 || header->reserved != 0)
                return "the header of a packet is wrong";
        if (header->opcode != PL_ADMIN_ITEM && header->opcode != PL_ADMIN_END)
                return "a packet that is not an answer";
        if (header->seq != admin->seq && !(header->seq == 0 && header->opcode == PL_ADMIN_END))
                return "the answer to another call";
        return NULL;
}

static const char *judge_body(struct admin *admin, size_t length, struct json_object **ret_object) {
        const char *text = admin->packet.body;
        struct json_object *object;

        json_tokener_reset(admin->tokener);
        object = json_tokener_parse_ex(admin->tokener, text, (int)length);
        if (json_object_is_type(object, json_type_object) && json_tokener_get_parse_end(admin->tokener) == length &&
            jsonline_is_plain(text, length)) {
                *ret_object = object;
                return NULL;
        }
        (void)json_object_put(object);
        return json_tokener_get_error(admin->tokener) == json_tokener_error_depth
                ? "a JSON object with too many objects in each other"
                : "what should be a JSON object is none";
}

static enum status end_of_call(const struct admin *admin, const struct call *call, struct json_object *result) {
        struct json_object *error = field_object(result, "error");
        _cleanup_(pl_freep) char *message = NULL;

        if (!error && !json_object_object_get_ex(result, "error", NULL)) {
                if (admin->packet.header.seq != 0)
                        return STATUS_OK;
                warnx("%s: the service at %s does not answer as it should: the answer to no call", call->what, admin->path);
                return STATUS_FAILED;
        }

        message = field_printable(error, "message");
        warnx("%s: %s", call->what, strcmp(message, "-") == 0 ? "the service refuses, and does not say why" : message);
        if (field_is(error, "code", "not-permitted"))
                return STATUS_NOT_PERMITTED;
        return field_is(error, "code", "not-found") ? STATUS_NOT_FOUND : STATUS_FAILED;
}

static enum status no_answer(const struct admin *admin, const struct call *call, int error) {
        if (error == ETIME)
                warnx("%s: the service at %s has sent nothing for %" PRIu64 " s. Is it stopped? What was asked may still be "
                      "done",
                      call->what,
                      admin->path,
                      call->patience_ms / 1000);
        else if (error == ECONNRESET || error == EPIPE)
                warnx("%s: the service at %s has closed the connection without an answer. See: journalctl -u "
                      "pinlease.service",
                      call->what,
                      admin->path);
        else
                warnx("%s: %s: %s", call->what, admin->path, strerror(error));
        return STATUS_FAILED;
}

/* The connection is of no more use if *ret_broken (else it is for the next call). */
static enum status admin_call(struct admin *admin, const struct call *call, bool *ret_broken) {
        int sent;

        *ret_broken = true;
        sent = send_call(admin, call);

        /* If it could not be sent, there may still be a word of why. */
        for (;;) {
                ssize_t size = receive(admin, sent < 0 ? 0 : call->patience_ms);
                size_t length = size < 0 ? 0 : (size_t)size - sizeof admin->packet.header;
                struct answer answer = { .text = admin->packet.body, .length = length };
                const char *wrong = "a packet is too long, or descriptors came with it";
                enum status status;

                if (size < 0 && size != -EMSGSIZE)
                        return no_answer(admin, call, sent < 0 ? -sent : (int)-size);
                if (size >= 0)
                        wrong = judge_header(admin, (size_t)size);
                if (!wrong)
                        wrong = judge_body(admin, length, &answer.object);
                if (wrong) {
                        warnx("%s: the service at %s does not answer as it should: %s", call->what, admin->path, wrong);
                        return STATUS_FAILED;
                }

                answer.is_end = admin->packet.header.opcode == PL_ADMIN_END;
                status = call->handler(call->userdata, &answer);
                if (answer.is_end && status == STATUS_OK)
                        status = end_of_call(admin, call, answer.object);
                (void)json_object_put(answer.object);
                if (answer.is_end)
                        *ret_broken = admin->packet.header.seq == 0;
                if (answer.is_end || status != STATUS_OK)
                        return status;
        }
}

static enum status print_json(void *userdata, const struct answer *answer) {
        const struct call *call = userdata;

        jsonline_print(answer->text, answer->length);
        return call->handler(call->userdata, answer);
}

enum status admin_run(struct context *context, const struct call *call) {
        struct call printing = *call;
        bool broken = false;
        enum status status;

        if (!context->admin) {
                status = admin_open(context->options->socket, &context->admin);
                if (status != STATUS_OK)
                        return status;
        }
        if (context->options->json) {
                printing.handler = print_json;
                printing.userdata = (void *)call;
        }
        status = admin_call(context->admin, &printing, &broken);
        if (broken)
                context->admin = admin_close(context->admin);
        return status;
}
