/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registrar.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fds.h"
#include "log.h"
#include "serve.h"

/* How long after the last work credit that is not needed is given back. */
#define IDLE_MS 1000

/* How often at least it says that it is at work while it waits for the keeper. */
#define TEND_MS 1000

/* How many events are sent before it looks again whether the app asks for something. */
#define EVENTS_PER_TURN 16

/* Loop functions return 0 to go on, or a negative errno with which the session ends. */

int registrar_send(struct registrar *r, const struct pl_packet *packet) {
        int k = -EAGAIN;

        if (r->n_waiting == 0)
                k = pl_wire_send(r->client, MSG_DONTWAIT, packet, -1);
        if (k != -EAGAIN)
                return k;

        if (r->n_waiting >= REGISTRAR_MAX_WAITING)
                return -ENOBUFS;
        r->waiting[r->n_waiting++] = *packet;
        return 0;
}

static int flush_waiting(struct registrar *r) {
        while (r->n_waiting > 0) {
                int k = pl_wire_send(r->client, MSG_DONTWAIT, r->waiting, -1);

                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                memmove(r->waiting, r->waiting + 1, --r->n_waiting * sizeof r->waiting[0]);
        }
        return 0;
}

static int send_going_away(struct registrar *r, enum pl_going_away_reason reason, uint32_t grace_ms, const char *sentence) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_GOING_AWAY, 0);
        packet.body.going_away.reason = (uint32_t)reason;
        packet.body.going_away.grace_ms = grace_ms;
        (void)snprintf(packet.body.going_away.sentence, sizeof packet.body.going_away.sentence, "%s", sentence);
        return registrar_send(r, &packet);
}

static int begin_revocation(struct registrar *r, const struct control_message *message) {
        const struct revocation_order order = {
                .reason = PL_REVOKED_BY_ADMINISTRATOR,
                .selector = (enum control_selector)message->selector,
                .id = message->id,
                .device = message->device,
                .inode = message->inode,
                .grace_ms = message->value,
                .cookie = message->cookie,
        };
        struct control_message answer = { .type = CONTROL_REVOKED, .cookie = message->cookie };
        int k;

        k = revoker_begin(&r->revoker, &order);
        if (k == 0)
                return 0;
        answer.value = (uint32_t)-k;
        return line_send(&r->line, &answer);
}

/* Tells the keeper of revocations that are over. */
static int answer_revocations(struct registrar *r) {
        struct revocation *revocation;

        while ((revocation = revoker_result(&r->revoker))) {
                struct control_message answer = { .type = CONTROL_REVOKED, .cookie = revocation->cookie };
                int k;

                for (size_t i = 0; i < N_REVOCATION_OUTCOMES; i++)
                        answer.counts[i] = revocation->counts[i];
                k = line_send(&r->line, &answer);
                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                for (enum revocation_outcome o = 0; o < N_REVOCATION_OUTCOMES; o++)
                        for (uint32_t i = 0; i < answer.counts[o]; i++)
                                stats_revoked(&r->state.ledger.header->stats, o);
                if (answer.counts[REVOCATION_FORCED] + answer.counts[REVOCATION_KEPT] > 0)
                        log_event(LOG_NOTICE,
                                  EVENT_REVOKED_BY_FORCE,
                                  "had to give registrations back: %" PRIu32 " released by the app, %" PRIu32 " taken away, %" PRIu32
                                  " kept by the kernel",
                                  answer.counts[REVOCATION_RELEASED],
                                  answer.counts[REVOCATION_FORCED],
                                  answer.counts[REVOCATION_KEPT]);
                if (answer.counts[REVOCATION_KEPT] > 0)
                        log_event(LOG_ERR,
                                  EVENT_FORCE_FAILED,
                                  "cannot take %" PRIu32 " registrations away from the app: they stay registered, and peers reach "
                                  "their memory; tries on every second",
                                  answer.counts[REVOCATION_KEPT]);
                revoker_forget(&r->revoker, revocation);
        }
        return 0;
}

/* Events are made when they can be sent, and only as many at a time as leave room for answers in between. */
static int send_events(struct registrar *r) {
        struct pl_packet packet;

        r->blocked = false;
        for (unsigned int i = 0; i < EVENTS_PER_TURN && revoker_next_event(&r->revoker, &packet); i++) {
                int k = pl_wire_send(r->client, MSG_DONTWAIT, &packet, -1);

                if (k == -EAGAIN)
                        r->blocked = true;
                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                revoker_told(&r->revoker);
        }
        return 0;
}

/* --- what is done to the app, by the keeper: force.h ------------------------------------------------------------------ */

static int order(struct registrar *r, enum control_freeze what) {
        int k;

        k = line_tell(&r->line, &(struct control_message) { .type = CONTROL_FREEZE, .value = what }, -1);
        /* No answer has come, rather than "no". */
        if (k < 0 && r->line.telling)
                r->failed = k;
        return k;
}

static int stop_app(void *userdata) {
        return order(userdata, CONTROL_FREEZE_STOP);
}

static void release_app(void *userdata) {
        struct registrar *r = userdata;

        /* If it does not go, the app goes on a little later all the same: freeze.h. */
        (void)line_send(&r->line, &(struct control_message) { .type = CONTROL_FREEZE, .value = CONTROL_FREEZE_RELEASE });
}

static int kill_app(void *userdata) {
        return order(userdata, CONTROL_FREEZE_KILL);
}

static const struct force_ops force_ops = { .stop = stop_app, .release = release_app, .kill = kill_app };

/* Force may have to be done to the app by the keeper: not while that owes an answer, maybe to just that. */
static uint64_t revoker_due_now(const struct registrar *r) {
        return r->line.telling ? 0 : revoker_due(&r->revoker);
}

/* What is due by itself, also in the middle of a request that waits. The caller says whether it is at work after that. */
static int attend(struct registrar *r) {
        uint64_t due = revoker_due_now(r);
        int k;

        if (r->away_deadline && pl_now_ms() >= r->away_deadline)
                return -ETIMEDOUT;
        if (due && pl_now_ms() >= due) {
                state_busy(&r->state, 0);
                revoker_work(&r->revoker);
                r->worked = pl_now_ms();
        }
        if (r->failed < 0)
                return r->failed;
        k = answer_revocations(r);
        if (k < 0 || r->n_waiting > 0)
                return k;
        return send_events(r);
}

static int handle_control(void *userdata, const struct control_message *message) {
        struct registrar *r = userdata;
        uint64_t deadline;

        switch (message->type) {
        case CONTROL_GOING_AWAY:
                /* Again, when pinleased has been replaced in the midst of a drain: the earliest counts, as for the keeper. */
                deadline = pl_now_ms() + message->value;
                if (r->away_deadline && r->away_deadline <= deadline)
                        return 0;
                r->away_deadline = deadline;
                return send_going_away(r,
                                       PL_AWAY_SHUTDOWN,
                                       message->value,
                                       "The service is being stopped. Deregister now; what is left after the grace time is "
                                       "taken away, and RDMA to it fails.");
        case CONTROL_REVOKE:
                return begin_revocation(r, message);
        default:
                return -EPROTO;
        }
}

static int time_until(uint64_t deadline) {
        uint64_t now = pl_now_ms();

        if (!deadline)
                return -1;
        if (deadline <= now)
                return 0;
        return deadline - now > INT_MAX ? INT_MAX : (int)(deadline - now);
}

/* What cannot wait until the keeper has answered. */
static int tend(void *userdata, int *ret_timeout_ms) {
        struct registrar *r = userdata;
        int k;

        k = attend(r);
        if (k < 0)
                return k;
        /* It waits, and does not hang. */
        state_busy(&r->state, 0);
        *ret_timeout_ms = time_until(pl_earlier(pl_earlier(r->away_deadline, revoker_due_now(r)), pl_now_ms() + TEND_MS));
        return 0;
}

static const struct line_ops line_ops = { .handle = handle_control, .tend = tend };

/* A refusal takes its time as well; what broke the protocol was not a request. */
static void count_latency(struct registrar *r, uint16_t opcode, uint64_t us) {
        struct stats *stats = &r->state.ledger.header->stats;

        if (opcode == PL_OP_REGISTER)
                stats_latency(stats, STATS_REGISTER, us);
        else if (opcode == PL_OP_DEREGISTER)
                stats_latency(stats, STATS_DEREGISTER, us);
}

static int serve_client(struct registrar *r) {
        struct pl_received received;
        uint64_t began;
        int k;

        k = pl_wire_recv(r->client, MSG_DONTWAIT, &received);
        if (k < 0)
                return k == -EAGAIN ? 0 : k;

        state_busy(&r->state, 0);
        began = pl_now_us();
        k = serve_packet(r, &received);
        if (k == 0)
                count_latency(r, received.packet.header.opcode, pl_now_us() - began);
        state_idle(&r->state);
        r->worked = pl_now_ms();
        return k;
}

static uint64_t deadline_of(const struct registrar *r) {
        uint64_t deadline = pl_earlier(pl_earlier(r->hello_deadline, r->away_deadline), revoker_due(&r->revoker));

        return line_has_surplus(&r->line) ? pl_earlier(deadline, r->worked + IDLE_MS) : deadline;
}

/* What has become due by itself. */
static int expire(struct registrar *r) {
        uint64_t now = pl_now_ms();

        if (r->hello_deadline && now >= r->hello_deadline)
                return -ETIMEDOUT;
        if (now < r->worked + IDLE_MS)
                return 0;
        /* If the keeper does not take it now, then later. */
        r->worked = now;
        return line_return_surplus(&r->line);
}

int registrar_prepare(const struct registrar *r, struct pollfd ret_fds[REGISTRAR_N_FDS]) {
        bool answer = r->revoker.n_over > 0, blocked = r->n_waiting > 0 || r->blocked;
        int to_client = blocked ? POLLOUT : r->revoker.n_untold > 0 ? POLLIN | POLLOUT : POLLIN;

        ret_fds[0] = (struct pollfd) { .fd = r->line.fd, .events = (short)(answer ? POLLIN | POLLOUT : POLLIN) };
        ret_fds[1] = (struct pollfd) { .fd = r->client, .events = (short)to_client };
        return time_until(deadline_of(r));
}

int registrar_turn(struct registrar *r) {
        struct pollfd p[REGISTRAR_N_FDS];
        int k, timeout = registrar_prepare(r, p);

        if (poll(p, ELEMENTSOF(p), timeout) < 0)
                return errno == EINTR ? 0 : -errno;
        k = expire(r);
        if (k == 0 && p[0].revents)
                k = line_drain(&r->line);
        if (k == 0 && (p[1].revents & POLLOUT))
                k = flush_waiting(r);
        if (k == 0)
                k = attend(r);
        state_idle(&r->state);
        if (k < 0)
                return k;

        /* An app that does not read is not served. */
        if ((p[1].revents & POLLIN) && r->n_waiting == 0 && !r->blocked)
                return serve_client(r);
        if (p[1].revents & (POLLHUP | POLLERR))
                return -ECONNRESET;
        return 0;
}

void registrar_init(struct registrar *r,
                    const struct registrar_config *config,
                    const struct uverbs_ops *uverbs,
                    struct ledger *ledger) {
        *r = (struct registrar) {
                .client = config->client,
                .session = config->session,
                .worked = pl_now_ms(),
                .hello_deadline = pl_now_ms() + config->hello_timeout_ms,
        };
        state_init(&r->state, uverbs, ledger, &config->limits);
        r->state.credit.held = config->credit;
        revoker_init(&r->revoker, &r->state);
        r->revoker.force.ops = &force_ops;
        r->revoker.force.userdata = r;
        line_init(&r->line, config->control, config->client, &r->state.credit, &line_ops, r);
}

/* Everything is deregistered, unmapped and closed before the process ends, because its end may block: a hanging file
 * is closed by the kernel on exit, and then what is left is a shell that cannot be killed but holds nothing. */
unsigned int registrar_done(struct registrar *r) {
        unsigned int left;

        revoker_done(&r->revoker);
        left = state_done(&r->state);
        (void)shutdown(r->client, SHUT_RDWR);
        (void)line_send(&r->line, &(struct control_message) { .type = CONTROL_BYE });
        return left;
}

_Noreturn void registrar_run(const struct registrar_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger) {
        static struct registrar r;
        unsigned int left;
        int k;

        registrar_init(&r, config, uverbs, ledger);
        do
                k = registrar_turn(&r);
        while (k >= 0);

        if (k == -ETIMEDOUT && !r.greeted)
                log_event(LOG_NOTICE, EVENT_SILENT_APP, "ends, the app said nothing for %u ms", config->hello_timeout_ms);
        else if (k != -ECONNRESET && k != -EPROTO && k != -ETIMEDOUT)
                log_line(LOG_ERR, "ends: %s", strerror(-k));

        left = registrar_done(&r);
        if (left > 0)
                log_event(LOG_WARNING, EVENT_MEMORY_KEPT, "leaves %u memory regions in use to its keeper", left);
        fds_close_except(r.hanging, r.n_hanging);
        _exit(0);
}
