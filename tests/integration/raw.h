/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_RAW_H
#define TEST_RAW_H

/* The protocol without the library: a well-behaved client, and the means to behave badly. Failures end the case. */

#include <stdbool.h>

#include "codec.h"

struct raw {
        int sock;
        uint32_t seq; /* of the last request */
};

/* Where the service listens: "path", or the real one for NULL. */
struct raw raw_connect(const char *path);
/* With HELLO said, and all features announced. Events must be fetched before the next request. */
struct raw raw_open(const char *path);
/* For eventually(): is there a place for one more session? path: as above. */
bool raw_can_open(const void *path);
/* Waits until the session has given everything up, so that PDs and contexts are the app's alone again. */
void raw_close(struct raw *raw);

/* Sends size bytes of a packet with n_fds descriptors. Returns 0 or a negative errno. */
int raw_send(const struct raw *raw, const void *packet, size_t size, const int *fds, size_t n_fds);

/* Receives a packet that is no notice and judges it as the library would. Returns 0, or -ECONNRESET when the session has ended. */
int raw_recv(const struct raw *raw, struct pl_packet *ret_packet);
/* The same, notices as well. */
int raw_recv_any(const struct raw *raw, struct pl_packet *ret_packet);

/* A request and its answer. fd: -1 for none. Returns NONE and the reply, or the refusal's code. */
enum pinlease_code raw_call(struct raw *raw, struct pl_packet *request, int fd, struct pl_packet *ret_reply);

/* The same, where the session may end meanwhile: returns the code, or -ECONNRESET. */
int raw_try_call(struct raw *raw, struct pl_packet *request, int fd, struct pl_packet *ret_reply);

/* The next packet is a refusal of this code, with what belongs to it. */
void raw_expect_refusal(const struct raw *raw, enum pinlease_code code);
/* The session ends; nothing more comes. */
void raw_expect_end(const struct raw *raw);
/* The next packet is this event. */
struct pl_packet raw_expect_event(const struct raw *raw, uint16_t opcode);
/* The next packets are notices, this kind among them. */
struct pl_packet raw_expect_notice(const struct raw *raw, enum pl_notice_kind kind);
/* The session answers. */
void raw_ping(struct raw *raw);

uint32_t raw_attach(struct raw *raw, int command_fd);
void raw_detach(struct raw *raw, uint32_t context);
struct pl_register_reply raw_register(struct raw *raw, const struct pl_register *request, int fd);
void raw_deregister(struct raw *raw, uint64_t id);
void raw_release(struct raw *raw, uint64_t id);

/* The code that a call was answered with is `code`; says both by name if not. */
void expect_code(enum pinlease_code is, enum pinlease_code code);

#endif
