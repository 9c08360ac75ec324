/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rdma.h"

#include <string.h>
#include <sys/mman.h>

#include "harness.h"

/* RoCE v2 over the interface's IPv4 address, see tests/vm/README.md. */
#define GID_INDEX 1
#define PSN 0x1234

struct ibv_context *rdma_open_context(const char *name) {
        struct ibv_device **list = ibv_get_device_list(NULL);
        struct ibv_context *context = NULL;

        if (!list)
                FAIL("ibv_get_device_list: %m");
        for (size_t i = 0; list[i] && !context; i++)
                if (!name || strcmp(ibv_get_device_name(list[i]), name) == 0) {
                        context = ibv_open_device(list[i]);
                        if (!context)
                                FAIL("%s: %m", ibv_get_device_name(list[i]));
                }
        if (!context)
                FAIL("no device %s in this network namespace", name ? name : "at all");
        ibv_free_device_list(list);
        return context;
}

struct rdma rdma_open(const char *name) {
        struct rdma rdma = { .context = rdma_open_context(name) };

        rdma.pd = ibv_alloc_pd(rdma.context);
        if (!rdma.pd)
                FAIL("ibv_alloc_pd: %m");
        return rdma;
}

struct rdma rdma_open_any(void) {
        return rdma_open(NULL);
}

static struct ibv_qp *new_qp(struct rdma *rdma) {
        struct ibv_qp_init_attr init = {
                .send_cq = rdma->cq,
                .recv_cq = rdma->cq,
                .qp_type = IBV_QPT_RC,
                .cap = { .max_send_wr = 8, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 },
                .sq_sig_all = 1,
        };
        struct ibv_qp *qp = ibv_create_qp(rdma->pd, &init);
        int r;

        if (!qp)
                FAIL("ibv_create_qp: %m");
        r = ibv_modify_qp(qp,
                          &(struct ibv_qp_attr) {
                                  .qp_state = IBV_QPS_INIT,
                                  .port_num = 1,
                                  .qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
                          },
                          IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
        if (r != 0)
                FAIL("queue pair to INIT: %s", strerror(r));
        return qp;
}

static void make_qps(struct rdma *rdma) {
        rdma->channel = ibv_create_comp_channel(rdma->context);
        if (!rdma->channel)
                FAIL("ibv_create_comp_channel: %m");
        rdma->cq = ibv_create_cq(rdma->context, 32, NULL, rdma->channel, 0);
        if (!rdma->cq)
                FAIL("ibv_create_cq: %m");
        rdma->active = new_qp(rdma);
        rdma->passive = new_qp(rdma);

        rdma->buffer = mmap(NULL, 2 * RDMA_BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (rdma->buffer == MAP_FAILED)
                FAIL("mmap: %m");
        rdma->buffer_mr = ibv_reg_mr(rdma->pd, rdma->buffer, 2 * RDMA_BUFFER, IBV_ACCESS_LOCAL_WRITE);
        if (!rdma->buffer_mr)
                FAIL("ibv_reg_mr of the transfer's own buffer: %m");
}

static void connect_qp(struct ibv_qp *qp, const struct ibv_qp *peer) {
        struct ibv_port_attr port;
        union ibv_gid gid;
        int r;

        /* 4096 in the guest. rxe's ODP is right only for packets that lie in one page: see cases-kernel.c. */
        if (ibv_query_port(qp->context, 1, &port) != 0)
                FAIL("ibv_query_port: %m");

        if (ibv_query_gid(peer->context, 1, GID_INDEX, &gid) < 0)
                FAIL("ibv_query_gid: %m");
        r = ibv_modify_qp(qp,
                          &(struct ibv_qp_attr) {
                                  .qp_state = IBV_QPS_RTR,
                                  .path_mtu = port.active_mtu,
                                  .dest_qp_num = peer->qp_num,
                                  .rq_psn = PSN,
                                  .max_dest_rd_atomic = 1,
                                  .min_rnr_timer = 12,
                                  .ah_attr = {
                                          .is_global = 1,
                                          .port_num = 1,
                                          .grh = { .dgid = gid, .sgid_index = GID_INDEX, .hop_limit = 8 },
                                  },
                          },
                          IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
        if (r != 0)
                FAIL("queue pair to RTR: %s", strerror(r));
        r = ibv_modify_qp(qp,
                          &(struct ibv_qp_attr) {
                                  .qp_state = IBV_QPS_RTS,
                                  .sq_psn = PSN,
                                  /* Half a second; the emulated machine is slow. */
                                  .timeout = 17,
                                  .retry_cnt = 7,
                                  .rnr_retry = 7,
                                  .max_rd_atomic = 1,
                          },
                          IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                                  IBV_QP_MAX_QP_RD_ATOMIC);
        if (r != 0)
                FAIL("queue pair to RTS: %s", strerror(r));
}

void rdma_connect(struct rdma *rdma) {
        make_qps(rdma);
        connect_qp(rdma->active, rdma->passive);
        connect_qp(rdma->passive, rdma->active);
}

/* New ones: a responder that has sent its error may enter the error state only after it has been reset. */
void rdma_reconnect(struct rdma *rdma) {
        struct ibv_wc wc;

        CHECK_EQUAL(ibv_destroy_qp(rdma->active), 0);
        CHECK_EQUAL(ibv_destroy_qp(rdma->passive), 0);
        while (ibv_poll_cq(rdma->cq, 1, &wc) > 0)
                ;
        rdma->active = new_qp(rdma);
        rdma->passive = new_qp(rdma);
        connect_qp(rdma->active, rdma->passive);
        connect_qp(rdma->passive, rdma->active);
}

void rdma_connect_two(struct rdma *from, struct rdma *to) {
        make_qps(from);
        make_qps(to);
        connect_qp(from->active, to->passive);
        connect_qp(to->passive, from->active);
}

void rdma_close(struct rdma *rdma) {
        if (rdma->buffer) {
                CHECK_EQUAL(ibv_destroy_qp(rdma->active), 0);
                CHECK_EQUAL(ibv_destroy_qp(rdma->passive), 0);
                CHECK_EQUAL(ibv_destroy_cq(rdma->cq), 0);
                CHECK_EQUAL(ibv_destroy_comp_channel(rdma->channel), 0);
                CHECK_EQUAL(ibv_dereg_mr(rdma->buffer_mr), 0);
                (void)munmap(rdma->buffer, 2 * RDMA_BUFFER);
        }
        CHECK_EQUAL(ibv_dealloc_pd(rdma->pd), 0);
        CHECK_EQUAL(ibv_close_device(rdma->context), 0);
        *rdma = (struct rdma) { 0 };
}

static enum ibv_wc_status wait_completion(struct rdma *rdma) {
        struct ibv_wc wc;
        struct ibv_cq *cq;
        void *context;
        int n;

        for (;;) {
                n = ibv_poll_cq(rdma->cq, 1, &wc);
                if (n > 0)
                        return wc.status;
                /* Ask for an event, look once more, and only then wait for it. */
                CHECK_EQUAL(ibv_req_notify_cq(rdma->cq, 0), 0);
                n = ibv_poll_cq(rdma->cq, 1, &wc);
                if (n > 0)
                        return wc.status;
                await_readable(rdma->channel->fd, "the completion of an RDMA operation");
                CHECK_EQUAL(ibv_get_cq_event(rdma->channel, &cq, &context), 0);
                ibv_ack_cq_events(cq, 1);
        }
}

static enum ibv_wc_status work(struct rdma *rdma,
                               enum ibv_wr_opcode opcode,
                               uint64_t local,
                               uint32_t lkey,
                               uint64_t remote,
                               uint32_t rkey,
                               uint32_t length) {
        struct ibv_sge sge = { .addr = local, .length = length, .lkey = lkey };
        struct ibv_send_wr wr = {
                .sg_list = &sge,
                .num_sge = 1,
                .opcode = opcode,
                .wr.rdma = { .remote_addr = remote, .rkey = rkey },
        };
        struct ibv_send_wr *bad;
        int r;

        r = ibv_post_send(rdma->active, &wr, &bad);
        if (r != 0)
                FAIL("ibv_post_send: %s", strerror(r));
        return wait_completion(rdma);
}

enum ibv_wc_status rdma_write_from(
        struct rdma *rdma, uint64_t local, uint32_t lkey, uint64_t remote, uint32_t rkey, uint32_t length) {
        return work(rdma, IBV_WR_RDMA_WRITE, local, lkey, remote, rkey, length);
}

enum ibv_wc_status rdma_read(struct rdma *rdma, uint64_t remote, uint32_t rkey, uint32_t length) {
        return work(rdma, IBV_WR_RDMA_READ, (uintptr_t)rdma->buffer, rdma->buffer_mr->lkey, remote, rkey, length);
}

/* Every byte depends on its place and the seed. */
static void fill(uint8_t *buffer, uint32_t length, uint64_t seed) {
        uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

        for (uint32_t i = 0; i < length; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                buffer[i] = (uint8_t)(x >> 32);
        }
}

static void compare(const char *where, uint64_t at, const uint8_t *should, const uint8_t *is, uint32_t length) {
        uint32_t first = 0, different = 0;

        for (uint32_t i = length; i-- > 0;)
                if (should[i] != is[i]) {
                        first = i;
                        different++;
                }
        if (different > 0)
                FAIL("%s: %u of %u bytes differ, the first at %llu: 0x%02x, should be 0x%02x",
                     where,
                     different,
                     length,
                     (unsigned long long)(at + first),
                     is[first],
                     should[first]);
}

enum ibv_wc_status rdma_try_transfer(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length, uint64_t seed) {
        for (uint64_t at = 0; at < length;) {
                uint32_t n = length - at < RDMA_BUFFER ? (uint32_t)(length - at) : RDMA_BUFFER;
                uint8_t *out = rdma->buffer, *back = rdma->buffer + RDMA_BUFFER;
                enum ibv_wc_status status;

                fill(out, n, seed + at);
                status = work(rdma, IBV_WR_RDMA_WRITE, (uintptr_t)out, rdma->buffer_mr->lkey, iova + at, rkey, n);
                if (status != IBV_WC_SUCCESS)
                        return status;
                memset(back, 0, n);
                status = work(rdma, IBV_WR_RDMA_READ, (uintptr_t)back, rdma->buffer_mr->lkey, iova + at, rkey, n);
                if (status != IBV_WC_SUCCESS)
                        return status;
                /* What the CPU sees, before what comes back: that tells which way it went wrong. */
                if (memory)
                        compare("in memory", at, out, memory + at, n);
                compare("read back", at, out, back, n);
                at += n;
        }
        return IBV_WC_SUCCESS;
}

enum ibv_wc_status rdma_compare(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length) {
        for (uint64_t at = 0; at < length; at += RDMA_BUFFER) {
                uint32_t n = length - at < RDMA_BUFFER ? (uint32_t)(length - at) : RDMA_BUFFER;
                uint8_t *back = rdma->buffer + RDMA_BUFFER;
                enum ibv_wc_status status;

                status = work(rdma, IBV_WR_RDMA_READ, (uintptr_t)back, rdma->buffer_mr->lkey, iova + at, rkey, n);
                if (status != IBV_WC_SUCCESS)
                        return status;
                compare("read", at, memory + at, back, n);
        }
        return IBV_WC_SUCCESS;
}

void rdma_transfer(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length, uint64_t seed) {
        enum ibv_wc_status status = rdma_try_transfer(rdma, iova, rkey, memory, length, seed);

        if (status != IBV_WC_SUCCESS)
                FAIL("RDMA: %s", ibv_wc_status_str(status));
}

struct ibv_mw *rdma_bind_window(
        struct rdma *rdma, uint32_t handle, uint32_t lkey, uint32_t rkey, uint64_t iova, uint64_t length) {
        struct ibv_mr mr = {
                .context = rdma->context,
                .pd = rdma->pd,
                .addr = (void *)(uintptr_t)iova,
                .length = length,
                .handle = handle,
                .lkey = lkey,
                .rkey = rkey,
        };
        struct ibv_mw_bind bind = {
                .bind_info = {
                        .mr = &mr,
                        .addr = iova,
                        .length = length,
                        .mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
                },
        };
        struct ibv_mw *mw = ibv_alloc_mw(rdma->pd, IBV_MW_TYPE_1);
        enum ibv_wc_status status;
        int r;

        if (!mw)
                FAIL("ibv_alloc_mw: %m");
        r = ibv_bind_mw(rdma->active, mw, &bind);
        if (r != 0)
                FAIL("ibv_bind_mw: %s", strerror(r));
        status = wait_completion(rdma);
        if (status != IBV_WC_SUCCESS)
                FAIL("binding a memory window: %s", ibv_wc_status_str(status));
        return mw;
}

struct ibv_mw *rdma_bind_second_window(
        struct rdma *rdma, uint32_t handle, uint32_t lkey, uint32_t rkey, uint64_t iova, uint64_t length) {
        struct ibv_mw *mw = ibv_alloc_mw(rdma->pd, IBV_MW_TYPE_2);
        struct ibv_mr mr = { .context = rdma->context, .pd = rdma->pd, .handle = handle, .lkey = lkey, .rkey = rkey };
        struct ibv_send_wr *bad, wr = { .opcode = IBV_WR_BIND_MW };

        CHECK(mw != NULL);
        wr.bind_mw.mw = mw;
        wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
        wr.bind_mw.bind_info = (struct ibv_mw_bind_info) {
                .mr = &mr,
                .addr = iova,
                .length = length,
                .mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
        };
        CHECK_EQUAL(ibv_post_send(rdma->passive, &wr, &bad), 0);
        CHECK_EQUAL(wait_completion(rdma), IBV_WC_SUCCESS);
        mw->rkey = wr.bind_mw.rkey;
        return mw;
}
