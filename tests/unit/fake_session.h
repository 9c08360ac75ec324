/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FAKE_SESSION_H
#define PL_FAKE_SESSION_H

/*
 * A service for the library to talk to: a child process that listens on a socket in a folder of its own and follows a
 * script. The functions from fake_accept() on are for the script. What it does not expect ends it, with a message and
 * a status that fails the test in fake_end().
 */

#include <infiniband/verbs.h>

#include "codec.h"
#include "pinlease/pinlease.h"
#include "testing.h"
#include "wire.h"

/* What a script sees: one connection at a time. */
struct fake {
        pid_t pid;
        char folder[64];
        char path[96]; /* the socket */
        int listener;
        int app;
        uint32_t seq; /* of the request received last */
        const void *argument;
};

typedef void fake_script(struct fake *f);

/* The script's end is the end of the child. */
void fake_start(struct fake *f, fake_script *script, const void *argument);

/* Waits for the end of the script, which must have been content, and removes the folder. */
void fake_end(struct fake *f);

/* A verbs context and a protection domain, as far as the library looks at them. */
struct fake_device {
        struct ibv_context context;
        struct ibv_pd pd;
};
void fake_device_open(struct fake_device *device, uint32_t pd);
void fake_device_close(struct fake_device *device);

/* A memfd of holes, mapped for reading and writing. */
#define PAGE 4096U
struct memory {
        int fd;
        size_t size;
        char *at;
};
void memory_open(struct memory *m, size_t pages);
void memory_close(struct memory *m);

/* Exactly the pages [first, after) of the file are there. */
void memory_assert_resident(const struct memory *m, size_t first, size_t after);

#define WRITABLE (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

/* What an output is before a call that fails, and after. */
#define UNTOUCHED ((void *)0x5eed)

/* Connects without a listener. */
struct pinlease *client_connect(const struct fake *f);

/* The thread's last failure: this code, this errno, whole sentences. */
void client_assert_refusal(const struct pinlease *p, enum pinlease_code code, int error);

/* The same, in the words of fake_refuse(). */
void client_assert_told(const struct pinlease *p, enum pinlease_code code, int error);

/* --- for the script --- */

/* Takes the next connection; what was there before is closed. */
void fake_accept(struct fake *f);

/* The same, and answers its HELLO. */
void fake_greet(struct fake *f);
void fake_greet_with(struct fake *f, uint64_t features);

/* Waits for the next request, which must be right in form, bear a higher number than the last, and be this one (0:
 * any). The descriptor is closed; what it was is in *ret_request, which may be NULL. */
struct fake_request {
        struct pl_packet packet;
        dev_t device; /* what the descriptor is; of a device node, the device that it stands for */
        ino_t inode;
};
void fake_expect(struct fake *f, uint16_t opcode, struct fake_request *ret_request);

/* Waits for one and answers it. A context must be /dev/null; a registration must be in `context`, and gets the number `id`. */
void fake_expect_ping(struct fake *f);
void fake_expect_attach(struct fake *f, uint32_t context);
void fake_expect_detach(struct fake *f, uint32_t context);
void fake_expect_register(struct fake *f, uint32_t context, uint64_t id);

/* Nothing more comes: the app has hung up. */
void fake_expect_end(struct fake *f);
/* Answers everything else, until the context is given back at the end. */
void fake_serve_rest(struct fake *f);

/* Any bytes, any descriptors. */
void fake_send(struct fake *f, const void *data, size_t size, const int *fds, unsigned int n_fds);

/* Makes the positive answer to the last request; it fits any REGISTER of `length` bytes that accepts ODP. */
void fake_make_reply(const struct fake *f, struct pl_packet *packet, uint16_t opcode, uint64_t length);
void fake_reply(struct fake *f, uint16_t opcode);
void fake_reply_attach(struct fake *f, uint32_t context);

void fake_refuse(struct fake *f, uint32_t seq, uint16_t opcode, enum pinlease_code code, int error);
void fake_going_away(struct fake *f, uint32_t grace_ms);
void fake_revoking(struct fake *f, uint64_t id, uint32_t grace_ms);
void fake_revoked(struct fake *f, uint64_t id);

/* The same for a change of the file, and what comes after it. */
void fake_change(struct fake *f, uint64_t id, uint32_t grace_ms);
void fake_changed(struct fake *f, uint64_t id);
void fake_settled(struct fake *f, uint64_t id, uint64_t size);
void fake_notice(struct fake *f, uint64_t id, uint32_t kind, uint32_t guards);

/* What is said in refusals and events. */
#define FAKE_RULE "rules[3]"
#define FAKE_SENTENCE "This is what the fake service says. It has a reason."

/* Answers everything, gives out numbers from 1 on, until the app hangs up. Every context must have been detached. */
void fake_serve(struct fake *f);

/* The whole life of a service that only does that. */
fake_script fake_ordinary;

_Noreturn void fake_fail(const char *file, int line, const char *what);
#define FAKE_CHECK(condition) ((condition) ? (void)0 : fake_fail(__FILE__, __LINE__, #condition))

#endif
