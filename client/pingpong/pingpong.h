/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINGPONG_H
#define PINGPONG_H

/*
 * pinlease-pingpong: RDMA between two hosts into memory that one of them has registered through pinlease. An example to
 * read, and a test: every byte that is written is read back and compared, and compared once more by the CPU of the side
 * that owns the memory.
 *
 *   pingpong.c    options
 *   memory.c      the server's memory, a memfd, huge pages, a dma-buf, or a file, and its registration by pinlease: begin here
 *   server.c      offers the memory to one client after another, judges what they wrote
 *   keeping.c     the memory is a file that somebody changes: the connection is kept
 *   client.c      writes, reads back, compares; needs no pinlease on its host
 *   connection.c  what both have: a queue pair of librdmacm, completions
 *   pattern.c     the bytes
 *   format.c      addresses and sizes, in and out
 */

#include <endian.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pinlease/pinlease.h>

/* Exit statuses */
enum {
        STATUS_EQUAL = 0,   /* all bytes equal, or the expected refusal came */
        STATUS_FAILED = 1,  /* a difference, or RDMA failed */
        STATUS_USAGE = 2,   /* also: no memory, file or address as asked for */
        STATUS_REFUSED = 3, /* the service has refused */
};

#define MAX_SIZES 64

struct options {
        const char *address; /* client: the server; server: what to listen on, or NULL */
        const char *source;  /* client: what to connect from, or NULL */
        const char *port;

        /* Server: exactly one of the four */
        bool memfd, hugetlb, udmabuf;
        const char *file;

        uint64_t size;   /* 0: the whole file, or 64 MiB */
        uint64_t offset; /* where in the file the registration begins */
        bool read_only;
        unsigned int methods;
        unsigned int guards; /* to insist on */
        const char *socket;
        uint64_t sessions; /* connections to serve; 0: until a signal comes */
        bool hold;
        bool deaf;
        const char *ready_file;
        const char *expect_refusal;

        /* Client */
        uint64_t sizes[MAX_SIZES];
        size_t n_sizes;
        uint64_t seed;
        uint64_t loops; /* 0: until a signal comes */
        uint64_t duration; /* seconds; 0: as loops says */
        bool aligned;
        bool chatter;
};

int server_run(const struct options *options);
int client_run(const struct options *options);

/* --- memory.c --- */

struct memory {
        int fd;
        int dmabuf; /* a dma-buf of all of it, which is registered instead; or -1 */
        uint64_t offset, length; /* of what is registered, in the file */
        uint8_t *start;          /* where byte `offset` is mapped */
        void *map;
        size_t map_length;
        char name[128];
};
#define MEMORY_NONE { .fd = -1, .dmabuf = -1 }

/* Returns 0, or -1 after a message. */
int memory_open(const struct options *options, struct memory *ret_memory);

/* The file may have become shorter or longer: maps what of it is to be registered now. Returns 0; 1 if nothing is left of it;
 * or -1 after a message. Nothing is mapped then. */
int memory_map_again(const struct options *options, struct memory *memory, uint64_t file_size);

/* Can the CPU read it, or would it be killed by SIGBUS: because the file has been cut off, or the memory is broken? */
bool memory_is_there(const uint8_t *start, uint64_t length);

/* A page for each of MESSAGE_PAGES messages. Returns 0, or -1 after a message. */
#define MESSAGE_PAGES 5
int memory_open_messages(struct memory *ret_memory);

void memory_close(struct memory *memory);

/* --- pattern.c: the byte at a position follows from the seed and the position alone --- */

uint64_t pattern_mix(uint64_t seed, uint64_t n);
void pattern_fill(uint8_t *buffer, size_t length, uint64_t seed, uint64_t position);

/* How many bytes are as they should be, before the first that is not. */
size_t pattern_compare(const uint8_t *buffer, size_t length, uint64_t seed, uint64_t position);

/* For memory whose contents are not ours to choose. Begin with DIGEST_START, go on with what was returned. */
#define DIGEST_START UINT64_C(0xcbf29ce484222325)
uint64_t pattern_digest(uint64_t digest, const uint8_t *buffer, size_t length);

/* --- connection.c --- */

/* What goes over the network is big-endian. The server's offer comes in the private data of its accept. */
#define OFFER_MAGIC     UINT32_C(0x504c5032) /* "PLP2" */
#define OFFER_READ_ONLY UINT32_C(1)

struct offer {
        uint32_t magic;
        uint32_t flags;
        uint64_t iova;
        uint64_t length;
        uint32_t rkey;
        uint32_t reserved;
};

/*
 * What the two send each other. The client asks; the server answers. And the server, whose memory is asked back, says STOP; the
 * client lets its work requests finish, says STOPPED and waits for GO.
 */
enum message_kind {
        MESSAGE_QUESTION = 1, /* are `length` bytes at `offset` the pattern of seed `value`; of read-only memory: is that their digest? */
        MESSAGE_STOPPED = 2,
        MESSAGE_ANSWER = 3, /* value: 1 or 0; of a pattern that differs, `length` bytes were equal before the first difference */
        MESSAGE_STOP = 4,
        MESSAGE_GO = 5, /* the memory is `length` bytes at iova `offset` with `rkey` now */
};

struct message {
        uint32_t kind;
        uint32_t rkey;
        uint64_t offset;
        uint64_t length;
        uint64_t value;
};

/* To the network's byte order, and back. */
struct message message_swap(struct message message);

struct connection {
        struct rdma_cm_id *id;
        struct ibv_comp_channel *channel;
        struct ibv_cq *cq;
        bool established;
};

/* Makes completion queue and queue pair on an id that has found its device. Returns 0, or -1 after a message. */
int connection_open(struct connection *c, struct rdma_cm_id *id, struct ibv_pd *pd);

/* Disconnects and frees, the id too. Every event of the id must have been acknowledged. May be called twice. */
void connection_close(struct connection *c);

int connection_post_recv(struct connection *c, uint64_t address, uint32_t length, uint32_t lkey);
int connection_post_send(struct connection *c,
                         enum ibv_wr_opcode opcode,
                         uint64_t address,
                         uint32_t length,
                         uint32_t lkey,
                         uint64_t remote_address,
                         uint32_t rkey);

/*
 * Takes one completion. Returns 1; 0 if there is none, and then the completion channel will poll readable for the next;
 * -1 after a message, also for a completion that says that the work has failed.
 */
int connection_poll(struct connection *c, struct ibv_wc *ret_wc);

/* To be called when the completion channel polls readable. */
void connection_notified(struct connection *c);

/* Lowers responder_resources and initiator_depth (RDMA reads in flight) to what the device can do. Returns 0 or -1. */
int connection_limits(struct ibv_context *context, struct rdma_conn_param *param);

/* --- the server: memory.c registers, server.c serves --- */

struct server {
        const struct options *options;
        struct pinlease *session;
        struct memory memory, messages; /* what is offered; what messages are received in and sent from */

        /* Once we know which RDMA device it is */
        struct ibv_context *verbs;
        struct ibv_pd *pd;
        struct pinlease_mr *memory_reg, *messages_reg;

        struct rdma_event_channel *events;
        struct rdma_cm_id *listener;
        struct connection connection; /* with the one client at a time */

        unsigned int received; /* messages of this connection: they are received in two pages in turn */

        enum keeping {
                KEEPING_SERVE, /* registered, or not yet */
                KEEPING_STOP,  /* the client has been told to stop */
                KEEPING_AWAY,  /* the memory is given back; the file is being changed */
                KEEPING_RETRY, /* it has settled, but could not be registered just then */
        } keeping;
        double asked; /* when we were asked for the memory, by clock_now() */
        uint64_t file_size;

        int signal_fd;
        uint64_t served;
        int status;
        bool stop;
};

/* Connects to the service. Returns a status; s->session is set if there is one. */
int registered_connect(struct server *s);

/*
 * Registers the memory on the device that the clients come by. Returns a status; s->memory_reg is set if it worked, so
 * that STATUS_EQUAL without it is the refusal that was expected.
 */
int registered_on(struct server *s, struct ibv_context *verbs);

/* Registers what of the memory is mapped now. Returns 0 or the negative errno of pinlease_reg_fd_ex(). */
int registered_memory(struct server *s);

/* Everything back, in the reverse order. */
void registered_let_go(struct server *s);

/* Sends a message to the client; one of each kind may be under way at a time. Returns 0, or -1 after a message. */
int server_send(struct server *s, struct message message);

/* --- keeping.c --- */

/* The memory is asked back because the file is to be changed. */
void keeping_asked(struct server *s);

/* The client has stopped, or is gone. */
void keeping_stopped(struct server *s);

/* The change is over. Also to be called every KEEPING_RETRY_MS in the state KEEPING_RETRY. */
void keeping_settled(struct server *s, uint64_t file_size);
#define KEEPING_RETRY_MS 20

/* --- format.c --- */

/* Seconds; of CLOCK_MONOTONIC */
double clock_now(void);

/* Resolves host (NULL: any, or this host) and port. Returns 0, or -1 after a message. */
int address_resolve(const char *host, const char *port, bool to_listen, struct sockaddr_storage *ret_address);

/* "192.0.2.1 port 7471" */
const char *address_format(const struct sockaddr *address, char *buffer, size_t size);

/* "64 MiB", "4097 bytes"; and back, with K, M or G at the end. */
const char *size_format(uint64_t size, char *buffer, size_t buffer_size);
int size_parse(const char *string, uint64_t *ret_size);

#endif
