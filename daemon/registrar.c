/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registrar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "errands.h"
#include "fds.h"
#include "grant.h"
#include "log.h"
#include "policy-share.h"
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

        if (r->n_waiting == 0 && !r->corked)
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
                .reason = (enum pl_revocation_reason)message->reason,
                .selector = (enum control_selector)message->selector,
                .id = message->id,
                .device = message->device,
                .inode = message->inode,
                .offset = message->offset,
                .length = message->length,
                .grace_ms = message->value,
                .cookie = message->cookie,
                .spare_notified = message->reason == PL_REVOKED_LAYOUT_CHANGE,
        };
        struct control_message answer = { .type = CONTROL_REVOKED, .cookie = message->cookie };
        int k;

        if (order.reason == PL_REVOKED_LAYOUT_CHANGE)
                changes_elsewhere(&r->changes, order.device, order.inode);
        k = revoker_begin(&r->revoker, &order);
        if (k == 0)
                return 0;
        answer.value = (uint32_t)-k;
        return line_send(&r->line, &answer);
}

static void record_revocation(struct registrar *r, const struct revocation *revocation) {
        const uint32_t *counts = revocation->counts;

        for (enum revocation_outcome o = 0; o < N_REVOCATION_OUTCOMES; o++)
                for (uint32_t i = 0; i < counts[o]; i++)
                        stats_revoked(&r->state.ledger.header->stats, o);
        if (counts[REVOCATION_FORCED] + counts[REVOCATION_KEPT] > 0)
                log_event(LOG_NOTICE,
                          EVENT_REVOKED_BY_FORCE,
                          "had to give registrations back: %" PRIu32 " released by the app, %" PRIu32 " taken away, %" PRIu32
                          " kept by the kernel",
                          counts[REVOCATION_RELEASED],
                          counts[REVOCATION_FORCED],
                          counts[REVOCATION_KEPT]);
        if (counts[REVOCATION_KEPT] > 0)
                log_event(LOG_ERR,
                          EVENT_FORCE_FAILED,
                          "cannot take %" PRIu32 " registrations away from the app: they stay registered, and peers reach their "
                          "memory; tries on every second",
                          counts[REVOCATION_KEPT]);
}

/* Revocations that are over: tells the keeper of those that it wanted. */
static int answer_revocations(struct registrar *r) {
        struct revocation *revocation;

        while ((revocation = revoker_result(&r->revoker))) {
                struct control_message answer = { .type = CONTROL_REVOKED, .cookie = revocation->cookie };
                struct revocation over = *revocation;
                int k = 0;

                for (size_t i = 0; i < N_REVOCATION_OUTCOMES; i++)
                        answer.counts[i] = over.counts[i];
                if (!over.here)
                        k = line_send(&r->line, &answer);
                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                record_revocation(r, &over);
                revoker_forget(&r->revoker, revocation);
                if (over.here)
                        changes_revoked(&r->changes, &over);
        }
        return 0;
}

/* Events are made when they can be sent, and only as many at a time as leave room for answers in between. */
static int send_events(struct registrar *r) {
        struct pl_packet packet;

        r->blocked = false;
        for (unsigned int i = 0; i < EVENTS_PER_TURN; i++) {
                bool revocation = revoker_next_event(&r->revoker, &packet);
                int k;

                if (!revocation && !changes_next_event(&r->changes, &packet))
                        return 0;
                k = pl_wire_send(r->client, MSG_DONTWAIT, &packet, -1);
                if (k == -EAGAIN)
                        r->blocked = true;
                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                if (revocation)
                        revoker_told(&r->revoker);
                else
                        changes_told(&r->changes, &packet);
        }
        return 0;
}

static bool has_events(const struct registrar *r) {
        return r->revoker.n_untold > 0 || r->changes.notices;
}

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
        grant_lapse(&r->state, pl_now_ms());
        k = errands_lower(r);
        if (k == 0)
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
        case CONTROL_BREAK_OVER:
                changes_break_over(&r->changes, message->cookie, message->value);
                return 0;
        default:
                return -EPROTO;
        }
}

static int take_policy(void *userdata, int fd) {
        struct registrar *r = userdata;
        int k = review_take(&r->review, fd);

        if (k < 0)
                log_event(LOG_ERR, EVENT_POLICY_NOT_TAKEN, "cannot take the new policy and keeps the one that it has: %s", strerror(-k));
        return 0;
}

static void review(struct registrar *r) {
        uint32_t n = review_work(&r->review, &r->state, &r->revoker);

        if (n > 0)
                log_event(LOG_NOTICE, EVENT_REFUSED_BY_POLICY, "gives %" PRIu32 " registrations back, which the new policy refuses", n);
}

/* What cannot wait until the keeper has answered. */
static int tend(void *userdata, int *ret_timeout_ms) {
        struct registrar *r = userdata;
        uint64_t now;
        int k;

        k = attend(r);
        if (k < 0)
                return k;
        /* It waits, and does not hang. */
        state_busy(&r->state, 0);
        now = pl_now_ms();
        *ret_timeout_ms = pl_time_until(pl_earlier(pl_earlier(r->away_deadline, revoker_due_now(r)), now + TEND_MS), now);
        return 0;
}

static const struct line_ops line_ops = { .handle = handle_control, .policy = take_policy, .tend = tend };

/* A refusal takes its time as well; what broke the protocol was not a request. */
static void count_latency(struct registrar *r, uint16_t opcode, uint64_t us) {
        struct stats *stats = &r->state.ledger.header->stats;

        if (opcode == PL_OP_REGISTER)
                stats_latency(stats, STATS_REGISTER, us);
        else if (opcode == PL_OP_DEREGISTER)
                stats_latency(stats, STATS_DEREGISTER, us);
}

/* *ret_release: that has been a registration given back, and there may be more of them. */
static int serve_client(struct registrar *r, bool *ret_release) {
        struct pl_received received;
        uint64_t began;
        int k;

        *ret_release = false;
        k = pl_wire_recv(r->client, MSG_DONTWAIT, &received);
        if (k < 0)
                return k == -EAGAIN ? 0 : k;

        state_busy(&r->state, 0);
        began = pl_now_us();
        k = serve_packet(r, &received);
        if (k == 0) {
                uint16_t opcode = received.packet.header.opcode;

                count_latency(r, opcode, pl_now_us() - began);
                *ret_release = opcode == PL_OP_RELEASE || opcode == PL_OP_DEREGISTER;
                k = errands_lower(r);
        }
        state_idle(&r->state);
        r->worked = pl_now_ms();
        return k;
}

static int serve_releases(struct registrar *r) {
        bool more = true;
        int k = 0, flushed;

        r->corked = true;
        for (unsigned int i = 0; i < REGISTRAR_RELEASES && more && k == 0; i++)
                k = serve_client(r, &more);
        r->corked = false;
        flushed = flush_waiting(r);
        return k < 0 ? k : flushed;
}

static uint64_t deadline_of(const struct registrar *r) {
        uint64_t deadline = pl_earlier(pl_earlier(r->hello_deadline, r->away_deadline), revoker_due(&r->revoker));

        deadline = pl_earlier(pl_earlier(deadline, changes_due(&r->changes)), review_due(&r->review));
        deadline = pl_earlier(deadline, grant_due(&r->state));
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
        bool answer = r->revoker.n_over > 0 || r->raised > r->state.private_pinned, blocked = r->n_waiting > 0 || r->blocked;
        int guards[N_GUARDS], to_client = blocked ? POLLOUT : has_events(r) ? POLLIN | POLLOUT : POLLIN;

        ret_fds[0] = (struct pollfd) { .fd = r->line.fd, .events = (short)(answer ? POLLIN | POLLOUT : POLLIN) };
        ret_fds[1] = (struct pollfd) { .fd = r->client, .events = (short)to_client };
        guards_fds(&r->guards, guards);
        for (size_t i = 0; i < N_GUARDS; i++)
                ret_fds[2 + i] = (struct pollfd) { .fd = guards[i], .events = POLLIN };
        return pl_time_until(deadline_of(r), pl_now_ms());
}

/* What has happened to files. Not in the middle of a request, which may be at work on one. */
static int follow_files(struct registrar *r, const struct pollfd p[N_GUARDS]) {
        uint64_t due = changes_due(&r->changes);

        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (p[i].revents) {
                        int k;

                        state_busy(&r->state, 0);
                        k = guards_event(&r->guards, (enum guard_index)i);
                        if (k < 0)
                                return k;
                }
        /* What those have reported may be due at once. */
        due = pl_earlier(due, changes_due(&r->changes));
        if (!due || pl_now_ms() < due)
                return 0;
        state_busy(&r->state, 0);
        return changes_work(&r->changes);
}

int registrar_turn(struct registrar *r) {
        struct pollfd p[REGISTRAR_N_FDS];
        int k, timeout = registrar_prepare(r, p);
        bool more;

        if (poll(p, ELEMENTSOF(p), timeout) < 0)
                return errno == EINTR ? 0 : -errno;
        k = expire(r);
        if (k == 0 && p[0].revents)
                k = line_drain(&r->line);
        if (k == 0)
                review(r);
        if (k == 0 && (p[1].revents & POLLOUT))
                k = flush_waiting(r);
        if (k == 0)
                k = follow_files(r, p + 2);
        if (k == 0)
                k = attend(r);
        state_idle(&r->state);
        if (k < 0)
                return k;

        /* An app that does not read is not served. */
        if ((p[1].revents & POLLIN) && r->n_waiting == 0 && !r->blocked)
                return revoker_due(&r->revoker) ? serve_releases(r) : serve_client(r, &more);
        if (p[1].revents & (POLLHUP | POLLERR))
                return -ECONNRESET;
        return 0;
}

/* --- for the guards --- */

static void report(void *userdata, struct guarded *file, const struct guard_report *report) {
        struct registrar *r = userdata;

        changes_report(&r->changes, file, report);
}

static int send_change(void *userdata, const struct control_message *message) {
        struct registrar *r = userdata;

        return line_send(&r->line, message);
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
        r->state.policy = config->policy;
        r->state.subject = config->subject;
        r->state.pagemap = config->pagemap;
        revoker_init(&r->revoker, &r->state);
        guards_init(&r->guards,
                    &(const struct guards_config) {
                            .lend = errands_lend,
                            .unlend = errands_unlend,
                            .report = report,
                            .userdata = r,
                            .mappings = &r->state.mappings,
                    });
        r->state.guards = &r->guards;
        changes_init(&r->changes,
                     &(const struct changes_config) {
                             .send = send_change,
                             .userdata = r,
                     },
                     &r->guards,
                     &r->revoker,
                     &r->state);
        r->state.raise = errands_raise;
        r->state.raise_userdata = r;
        r->revoker.force.ops = &errands_force;
        r->revoker.force.userdata = r;
        line_init(&r->line, config->control, config->client, &r->state.credit, &line_ops, r);
}

/* Everything is deregistered, unmapped and closed before the process ends, because its end may block: a hanging file
 * is closed by the kernel on exit, and then what is left is a shell that cannot be killed but holds nothing. */
unsigned int registrar_done(struct registrar *r) {
        unsigned int left;

        revoker_done(&r->revoker);
        left = state_done(&r->state);
        r->guards.leaves = errands_are_run(r);
        guards_done(&r->guards);
        review_done(&r->review);
        r->state.policy = policy_unmap(r->state.policy);
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
