/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <errno.h>

#define QUEUE_DEPTH 16

int connection_open(struct connection *c, struct rdma_cm_id *id, struct ibv_pd *pd) {
        struct ibv_qp_init_attr attributes = {
                .qp_type = IBV_QPT_RC,
                .cap = {
                        .max_send_wr = QUEUE_DEPTH,
                        .max_recv_wr = QUEUE_DEPTH,
                        .max_send_sge = 1,
                        .max_recv_sge = 1,
                },
                .sq_sig_all = 1,
        };

        *c = (struct connection) { .id = id };

        c->channel = ibv_create_comp_channel(id->verbs);
        if (!c->channel) {
                warn("ibv_create_comp_channel");
                return -1;
        }
        c->cq = ibv_create_cq(id->verbs, 2 * QUEUE_DEPTH, NULL, c->channel, 0);
        if (!c->cq) {
                warn("ibv_create_cq");
                return -1;
        }

        attributes.send_cq = attributes.recv_cq = c->cq;
        if (rdma_create_qp(id, pd, &attributes) < 0) {
                warn("rdma_create_qp");
                return -1;
        }
        return 0;
}

struct message message_swap(struct message m) {
        return (struct message) {
                .kind = htobe32(m.kind),
                .rkey = htobe32(m.rkey),
                .offset = htobe64(m.offset),
                .length = htobe64(m.length),
                .value = htobe64(m.value),
        };
}

void connection_close(struct connection *c) {
        if (!c->id)
                return;

        if (c->established)
                (void)rdma_disconnect(c->id);
        if (c->id->qp)
                rdma_destroy_qp(c->id);
        if (c->cq)
                (void)ibv_destroy_cq(c->cq);
        if (c->channel)
                (void)ibv_destroy_comp_channel(c->channel);
        (void)rdma_destroy_id(c->id);
        *c = (struct connection) { 0 };
}

int connection_post_recv(struct connection *c, uint64_t address, uint32_t length, uint32_t lkey) {
        struct ibv_sge sge = { .addr = address, .length = length, .lkey = lkey };
        struct ibv_recv_wr *bad, wr = { .sg_list = &sge, .num_sge = 1 };

        errno = ibv_post_recv(c->id->qp, &wr, &bad);
        if (errno != 0) {
                warn("ibv_post_recv");
                return -1;
        }
        return 0;
}

int connection_post_send(struct connection *c,
                         enum ibv_wr_opcode opcode,
                         uint64_t address,
                         uint32_t length,
                         uint32_t lkey,
                         uint64_t remote_address,
                         uint32_t rkey) {
        struct ibv_sge sge = { .addr = address, .length = length, .lkey = lkey };
        struct ibv_send_wr *bad, wr = {
                .sg_list = &sge,
                .num_sge = 1,
                .opcode = opcode,
                .wr.rdma = { .remote_addr = remote_address, .rkey = rkey },
        };

        errno = ibv_post_send(c->id->qp, &wr, &bad);
        if (errno != 0) {
                warn("ibv_post_send");
                return -1;
        }
        return 0;
}

/* The opcode of a completion that failed is not defined, so the message can only say what the status is. */
static int judge(const struct ibv_wc *wc) {
        if (wc->status == IBV_WC_SUCCESS)
                return 1;

        warnx("an RDMA operation has failed: %s", ibv_wc_status_str(wc->status));
        if (wc->status == IBV_WC_REM_ACCESS_ERR)
                warnx("the memory on the other side is not registered any more, or not for this access");
        return -1;
}

int connection_poll(struct connection *c, struct ibv_wc *ret_wc) {
        int n;

        n = ibv_poll_cq(c->cq, 1, ret_wc);
        if (n == 0) {
                /* Ask to be notified, then look again: a completion may have come in between. */
                errno = ibv_req_notify_cq(c->cq, 0);
                if (errno != 0) {
                        warn("ibv_req_notify_cq");
                        return -1;
                }
                n = ibv_poll_cq(c->cq, 1, ret_wc);
        }
        if (n < 0) {
                warnx("ibv_poll_cq has failed");
                return -1;
        }
        return n == 0 ? 0 : judge(ret_wc);
}

void connection_notified(struct connection *c) {
        struct ibv_cq *cq;
        void *context;

        if (ibv_get_cq_event(c->channel, &cq, &context) == 0)
                ibv_ack_cq_events(cq, 1);
}

static uint8_t at_most(uint8_t wanted, int possible) {
        return possible < 0 ? 0 : possible < wanted ? (uint8_t)possible : wanted;
}

int connection_limits(struct ibv_context *context, struct rdma_conn_param *param) {
        struct ibv_device_attr attributes;

        errno = ibv_query_device(context, &attributes);
        if (errno != 0) {
                warn("ibv_query_device");
                return -1;
        }
        param->responder_resources = at_most(param->responder_resources, attributes.max_qp_rd_atom);
        param->initiator_depth = at_most(param->initiator_depth, attributes.max_qp_init_rd_atom);
        return 0;
}
