/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory of an accelerator, registered by pinlease as a dma-buf, and written by RDMA: doc/ACCELERATORS.md. Here the
 * accelerator is a memfd, and its driver is udmabuf, so that this runs on every Linux that has an RDMA device which
 * registers dma-bufs.
 *
 *   cc -o accelerator accelerator.c $(pkg-config --cflags --libs pinlease libibverbs)
 *   ./accelerator DEVICE [GID-INDEX]
 */

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pinlease/pinlease.h>

#include "exported.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

/* --- what a program with an accelerator does --- */

/* Registers it for this program and its peers. NULL after a message. The dma-buf's descriptor is closed in any case. */
static struct pinlease_mr *register_exported(struct pinlease *p, struct ibv_pd *pd, struct exported *memory) {
        struct pinlease_mr *reg = NULL;

        if (pinlease_reg_dmabuf(
                    p, pd, memory->fd, memory->offset, memory->length, memory->address, ACCESS, NULL, &reg) < 0)
                fprintf(stderr, "%s\n", pinlease_refusal(p)->sentence);
        close(memory->fd); /* the registration keeps the dma-buf alive */
        memory->fd = -1;
        return reg;
}

/* --- the accelerator: a memfd, and the driver that exports it --- */

struct accelerator {
        int memfd;
        uint8_t *memory;
        uint64_t size;
};

static struct accelerator accelerator_open(uint64_t size) {
        struct accelerator a = { .size = size };

        a.memfd = memfd_create("accelerator", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (a.memfd < 0 || ftruncate(a.memfd, (off_t)size) < 0 || fcntl(a.memfd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
                err(1, "memfd");
        a.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, a.memfd, 0);
        if (a.memory == MAP_FAILED)
                err(1, "mmap");
        return a;
}

/* As export_cuda() in exporters.c: only whole pages can be exported, so the memory is somewhere in the dma-buf. */
static int export_udmabuf(const struct accelerator *a, uint64_t address, uint64_t length, struct exported *ret) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), at = address - (uint64_t)(uintptr_t)a->memory;
        const uint64_t first = at / page * page, end = (at + length + page - 1) / page * page;
        struct udmabuf_create create = {
                .memfd = (uint32_t)a->memfd,
                .flags = UDMABUF_FLAGS_CLOEXEC,
                .offset = first,
                .size = end - first,
        };
        int device, fd;

        device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
        if (device < 0)
                return -errno;
        fd = ioctl(device, UDMABUF_CREATE, &create);
        if (fd < 0)
                fd = -errno;
        close(device);
        if (fd < 0)
                return fd;
        *ret = (struct exported) { .fd = fd, .offset = at - first, .length = length, .address = address };
        return 0;
}

/* --- a peer: a second queue pair of the same device --- */

struct peers {
        struct ibv_cq *cq;
        struct ibv_qp *near, *far;
};

static struct ibv_qp *make_qp(struct ibv_pd *pd, struct ibv_cq *cq) {
        struct ibv_qp_init_attr init = {
                .send_cq = cq,
                .recv_cq = cq,
                .qp_type = IBV_QPT_RC,
                .cap = { .max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 },
        };
        struct ibv_qp_attr attr = {
                .qp_state = IBV_QPS_INIT,
                .port_num = 1,
                .qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
        };
        struct ibv_qp *qp = ibv_create_qp(pd, &init);

        if (!qp || ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
                err(1, "queue pair");
        return qp;
}

static void connect_qp(
        struct ibv_qp *qp, uint32_t to, const struct ibv_port_attr *port, const union ibv_gid *gid, int gid_index) {
        struct ibv_qp_attr attr = {
                .qp_state = IBV_QPS_RTR,
                .path_mtu = port->active_mtu,
                .dest_qp_num = to,
                .max_dest_rd_atomic = 1,
                .min_rnr_timer = 12,
                .ah_attr = {
                        .is_global = port->link_layer == IBV_LINK_LAYER_ETHERNET,
                        .grh = { .dgid = *gid, .sgid_index = (uint8_t)gid_index, .hop_limit = 1 },
                        .dlid = port->lid,
                        .port_num = 1,
                },
        };

        if (ibv_modify_qp(qp,
                          &attr,
                          IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
                err(1, "queue pair to RTR (the GID index?)");
        attr.qp_state = IBV_QPS_RTS;
        attr.timeout = 14;
        attr.retry_cnt = attr.rnr_retry = 7;
        attr.max_rd_atomic = 1;
        if (ibv_modify_qp(qp,
                          &attr,
                          IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                                  IBV_QP_MAX_QP_RD_ATOMIC))
                err(1, "queue pair to RTS");
}

static struct peers connect_peers(struct ibv_pd *pd, int gid_index) {
        struct ibv_port_attr port;
        union ibv_gid gid;
        struct peers peers;

        peers.cq = ibv_create_cq(pd->context, 1, NULL, NULL, 0);
        if (!peers.cq || ibv_query_port(pd->context, 1, &port) || ibv_query_gid(pd->context, 1, gid_index, &gid))
                err(1, "the device's first port");
        peers.near = make_qp(pd, peers.cq);
        peers.far = make_qp(pd, peers.cq);
        connect_qp(peers.near, peers.far->qp_num, &port, &gid, gid_index);
        connect_qp(peers.far, peers.near->qp_num, &port, &gid, gid_index);
        return peers;
}

static void disconnect_peers(const struct peers *peers) {
        (void)ibv_destroy_qp(peers->near);
        (void)ibv_destroy_qp(peers->far);
        (void)ibv_destroy_cq(peers->cq);
}

/* The peer writes its own memory to where it has been told. */
static void rdma_write(const struct peers *peers, const struct pinlease_mr *from, uint64_t to, uint32_t rkey) {
        struct ibv_sge sge = { .addr = from->iova, .length = (uint32_t)from->mr.length, .lkey = from->mr.lkey };
        struct ibv_send_wr wr = {
                .sg_list = &sge,
                .num_sge = 1,
                .opcode = IBV_WR_RDMA_WRITE,
                .send_flags = IBV_SEND_SIGNALED,
                .wr.rdma = { .remote_addr = to, .rkey = rkey },
        };
        struct ibv_send_wr *bad;
        struct ibv_wc wc;
        int n;

        if (ibv_post_send(peers->far, &wr, &bad))
                err(1, "ibv_post_send");
        while ((n = ibv_poll_cq(peers->cq, 1, &wc)) == 0)
                ;
        if (n < 0 || wc.status != IBV_WC_SUCCESS)
                errx(1, "RDMA write: %s", n < 0 ? "ibv_poll_cq" : ibv_wc_status_str(wc.status));
}

/* --- all of it --- */

static struct ibv_context *open_device(const char *name) {
        struct ibv_device **devices = ibv_get_device_list(NULL);
        struct ibv_context *context = NULL;

        for (int i = 0; devices && devices[i]; i++)
                if (strcmp(ibv_get_device_name(devices[i]), name) == 0)
                        context = ibv_open_device(devices[i]);
        if (!context)
                errx(1, "%s: no such RDMA device", name);
        ibv_free_device_list(devices);
        return context;
}

/* Only what the peer was given has changed. */
static void look(const struct accelerator *a, const uint8_t *memory, const uint8_t *expected, uint64_t length) {
        const uint64_t begin = (uint64_t)(memory - a->memory), end = begin + length;

        if (memcmp(memory, expected, length) != 0)
                errx(1, "the accelerator has not got what the peer has written");
        for (uint64_t i = 0; i < a->size; i++)
                if ((i < begin || i >= end) && a->memory[i] != 0)
                        errx(1, "byte %lu has been written, which nobody was to write", (unsigned long)i);
}

int main(int argc, char *argv[]) {
        const uint64_t length = 12295, access_from = 5 * 4096 + 100; /* any part of it, from anywhere */
        struct accelerator accelerator, source;
        struct pinlease_mr *memory_reg, *source_reg;
        struct exported exported = { .fd = -1 };
        struct ibv_context *verbs;
        struct pinlease *session;
        struct peers peers;
        struct ibv_pd *pd;
        uint8_t *memory;
        int r;

        if (argc < 2 || argc > 3)
                errx(2, "usage: accelerator DEVICE [GID-INDEX]");
        verbs = open_device(argv[1]);
        pd = ibv_alloc_pd(verbs);
        if (!pd)
                err(1, "ibv_alloc_pd");
        if (pinlease_connect(NULL, NULL, NULL, &session) < 0)
                errx(1, "%s", pinlease_refusal(NULL)->sentence);

        accelerator = accelerator_open(16 * 4096);
        memory = accelerator.memory + access_from;
        r = export_udmabuf(&accelerator, (uint64_t)(uintptr_t)memory, length, &exported);
        if (r < 0)
                errx(1, "/dev/udmabuf: %s", strerror(-r));
        memory_reg = register_exported(session, pd, &exported);
        if (!memory_reg)
                return 3;
        printf("registered %lu bytes as a %s: a peer writes to 0x%lx with rkey 0x%x\n",
               (unsigned long)length,
               pinlease_strbacking(memory_reg->backing),
               (unsigned long)memory_reg->iova,
               memory_reg->mr.rkey);

        /* What a peer does, on a host of its own. */
        source = accelerator_open(4 * 4096);
        for (uint64_t i = 0; i < length; i++)
                source.memory[i] = (uint8_t)(i * 7 + 1);
        if (pinlease_reg_fd(
                    session, pd, source.memfd, 0, length, source.memory, IBV_ACCESS_LOCAL_WRITE, 0, &source_reg) < 0)
                errx(1, "%s", pinlease_refusal(session)->sentence);
        peers = connect_peers(pd, argc > 2 ? atoi(argv[2]) : 0);
        rdma_write(&peers, source_reg, memory_reg->iova, memory_reg->mr.rkey);
        look(&accelerator, memory, source.memory, length);
        printf("the peer has written them, and the accelerator has them\n");

        /* Deregistered first; only then the accelerator frees its memory. */
        disconnect_peers(&peers);
        if (pinlease_dereg(session, memory_reg) < 0 || pinlease_dereg(session, source_reg) < 0)
                errx(1, "%s", pinlease_refusal(session)->sentence);
        (void)munmap(accelerator.memory, accelerator.size);
        close(accelerator.memfd);
        (void)munmap(source.memory, source.size);
        close(source.memfd);

        (void)pinlease_detach(session, verbs);
        pinlease_disconnect(session);
        (void)ibv_dealloc_pd(pd);
        (void)ibv_close_device(verbs);
        return 0;
}
