/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_REQUEST_FIXTURE_H
#define PL_TEST_REQUEST_FIXTURE_H

/* Requests of an app, without its registrar's packets: to fake_uverbs, and into a ledger. */

#include <infiniband/verbs.h>

#include "request.h"
#include "testing.h"

#define PAGE     UINT64_C(4096)
#define SIZE     (16 * PAGE)
#define CAPACITY 64
#define READING  ((uint32_t)IBV_ACCESS_REMOTE_READ)
#define WRITING  ((uint32_t)(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ))

/* A registrar's state, and the ledger as its keeper sees it. */
struct fixture {
        struct registrar_state state;
        struct ledger keeper;
};

extern const struct credit_amount generous;

void fixture_init(struct fixture *f, const struct credit_amount *limits);
/* Gives up all that there is; nothing may be left. */
void fixture_done(struct fixture *f);

unsigned int used_entries(const struct ledger *ledger);
/* As everybody can read in the ledger. */
void assert_live(const struct fixture *f, enum stats_method method, uint64_t registrations, uint64_t bytes);
void assert_nothing(const struct fixture *f);

int try_attach(struct fixture *f, const char *path, uint32_t *ret_index, struct refusal *ret_refusal);
uint32_t must_attach(struct fixture *f, const char *path);

struct pl_register make_request(uint64_t offset, uint64_t length, uint64_t address, uint32_t access);
int try_register(struct fixture *f,
                 const struct pl_register *request,
                 int fd,
                 struct pl_register_reply *ret_reply,
                 struct refusal *ret_refusal);
struct pl_register_reply must_register(struct fixture *f, const struct pl_register *request, int fd);
void refused(struct fixture *f, const struct pl_register *request, int fd, enum pinlease_code code);
void must_deregister(struct fixture *f, uint64_t id);

/* What stands for a dma-buf is a memfd that is said to be one: nothing looks at it. */
#define IOVA UINT64_C(0x7f1234560000)
struct dmabuf {
        int fd;
        struct pl_fdclass class;
};
void dmabuf_open(struct dmabuf *d);
/* With a session, and a verbs context for the request. */
void dmabuf_begin(struct fixture *f, struct dmabuf *d, struct pl_register *request);
void dmabuf_end(struct fixture *f, struct dmabuf *d);
int try_dmabuf(struct fixture *f,
               const struct pl_register *request,
               const struct dmabuf *d,
               struct pl_register_reply *ret_reply,
               struct refusal *ret_refusal);
struct pl_register_reply must_dmabuf(struct fixture *f, const struct pl_register *request, const struct dmabuf *d);
/* And nothing is left, of that or of anything else. */
struct refusal dmabuf_refused(struct fixture *f,
                              const struct pl_register *request,
                              const struct dmabuf *d,
                              enum pinlease_code code);

#endif
