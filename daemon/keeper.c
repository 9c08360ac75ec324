/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "closer.h"
#include "custody.h"
#include "freeze.h"
#include "log.h"
#include "memlock.h"
#include "overdue.h"
#include "policy-share.h"
#include "relay.h"
#include "request.h"
#include "uplink.h"

/* How long the registrar may take to give everything up after it has been told to, or its app has gone. */
#define END_MS 5000

/* How long after SIGKILL a process that can die is dead. */
#define KILL_MS 3000

/* How often memory regions are tried again that the kernel keeps; and how many times when the app is gone: others that have
 * its verbs context may go on for ever. */
#define KEPT_MS      1000
#define ORPHAN_TRIES 10

/* A registrar that has nothing to do is looked at again after so many heartbeats: looking is all that idle sessions do, and
 * hundreds of them should cost the busy ones nothing. */
#define IDLE_BEATS 4

enum phase {
        PHASE_SERVING, /* the registrar works */
        PHASE_ENDING,  /* it has been told, or has reason, to give up by itself before the deadline */
        PHASE_KILLED,  /* it has been killed; before the deadline it is dead, unless it hangs */
        PHASE_STUCK,   /* it cannot die: cleaned up already, and once more when it does */
        PHASE_YIELDING, /* all is gone; what other sessions have of a file that somebody waits for is still being given back */
        PHASE_KEPT,    /* it is gone, but the kernel keeps memory regions that the app is using: tried again and again */
        PHASE_OVER,
};

struct keeper {
        struct keeper_config config;
        struct ledger *ledger;
        struct custody custody;
        struct freeze freeze;
        struct force force;
        struct memlock memlock;
        unsigned int orphan_tries;

        enum phase phase;
        uint64_t deadline; /* of the phase; 0: none */
        uint64_t end_began; /* when PHASE_ENDING did */
        bool told_to_end;
        bool bye;           /* the registrar has closed everything by itself */

        struct uplink uplink;
        struct relay relay;
        struct overdue revoking; /* what it was told to take away; */
        struct overdue breaking; /* and what it does so of itself, for somebody waits for it to let go */

        uint64_t next_ping;
        uint64_t ping_sent; /* 0: none is owed */
};

static void kill_registrar(struct keeper *k) {
        if (k->config.registrar < 0)
                return;
        if (pidfd_send_signal(k->config.registrar, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                log_line(LOG_ERR, "cannot kill its registrar: %s", strerror(errno));
        if (k->phase < PHASE_KILLED) {
                k->phase = PHASE_KILLED;
                k->deadline = pl_now_ms() + KILL_MS;
        }
}

static void begin_end(struct keeper *k, uint64_t grace_ms) {
        uint64_t deadline = pl_now_ms() + grace_ms + END_MS;

        if (k->phase == PHASE_SERVING)
                k->end_began = pl_now_ms();
        if (k->phase == PHASE_SERVING || (k->phase == PHASE_ENDING && deadline < k->deadline)) {
                k->phase = PHASE_ENDING;
                k->deadline = deadline;
        }
}

/* Returns how many memory regions the kernel keeps. */
static unsigned int clean(struct keeper *k) {
        struct cleanup_result result;

        k->freeze.may_kill = true; /* force.may_kill is asked, of each */
        result = cleanup_ledger(k->ledger, &k->force, k->custody.contexts, ELEMENTSOF(k->custody.contexts));
        if (result.destroyed > 0)
                log_line(LOG_INFO, "destroyed %u memory regions that its registrar left", result.destroyed);
        memlock_lower(&k->memlock, 0);
        return result.kept;
}

/*
 * The registrar is dead, or as good as. What the kernel does not let go, force or not, is pinned memory, and stays this
 * session's: it ends when that is gone, or soon after the app, whose verbs context takes it along if nobody else has it.
 */
static void conclude(struct keeper *k) {
        unsigned int kept;

        /* The app takes the end of the connection for the end of its memory regions, so that comes last. Whoever waits for a
         * lease goes on when they are gone. */
        kept = clean(k);
        (void)shutdown(k->config.client, SHUT_RDWR);
        if (kept > 0 && k->config.app < 0 && ++k->orphan_tries == ORPHAN_TRIES)
                log_event(LOG_ERR, EVENT_FORCE_FAILED, "leaves %u memory regions to others that have its app's verbs context", kept);
        if (kept == 0 || k->orphan_tries == ORPHAN_TRIES) {
                k->deadline = uplink_waits_until(&k->uplink);
                k->phase = k->deadline ? PHASE_YIELDING : PHASE_OVER;
                return;
        }

        if (k->phase != PHASE_KEPT)
                log_event(LOG_WARNING,
                          EVENT_MEMORY_KEPT,
                          "cannot destroy %u memory regions that the app has in use; tries on until the app ends",
                          kept);
        k->phase = PHASE_KEPT;
        k->deadline = pl_now_ms() + KEPT_MS;
}

static int acknowledge(struct keeper *k, int error) {
        return control_send(k->config.control,
                            &(struct control_message) { .type = CONTROL_ACK, .value = (uint32_t)-error },
                            -1);
}

/* The kernel's own ceilings on what the registrar can pin, and the app, follow the credit. */
static void set_ceiling(struct keeper *k) {
        memlock_ceiling(&k->memlock, k->uplink.introduction.credit.pinned);
}

static int raise_limit(struct keeper *k, uint64_t total) {
        int r;

        if (total > k->uplink.introduction.credit.pinned)
                return -EPROTO;
        r = k->phase > PHASE_ENDING ? -ESRCH : memlock_raise(&k->memlock, total);
        if (r == 0)
                set_ceiling(k);
        return acknowledge(k, r);
}

static int take_back(struct keeper *k, const struct credit_amount *credit) {
        int r = uplink_return(&k->uplink, credit);

        if (r == 0 && credit->pinned > 0)
                set_ceiling(k);
        return r;
}

static int end_revocation(struct keeper *k, const struct control_message *message) {
        if (overdue_done(&k->revoking) < 0)
                return -EPROTO;
        uplink_tell(&k->uplink, message);
        return 0;
}

static void tell_registrar(struct keeper *k, const struct control_message *message) {
        if (k->config.control >= 0)
                (void)control_send(k->config.control, message, -1);
}

/* Its own part has a deadline here, that of the others in pinleased. */
static int begin_break(struct keeper *k, const struct control_message *message) {
        int r;

        overdue_begin(&k->breaking,
                      (message->value < CONTROL_BREAK_MAX_MS ? message->value : CONTROL_BREAK_MAX_MS) + END_MS);
        r = uplink_break(&k->uplink, message);
        if (r != -EBUSY)
                return r;
        tell_registrar(k,
                       &(struct control_message) {
                               .type = CONTROL_BREAK_OVER,
                               .cookie = message->cookie,
                               .value = EBUSY,
                       });
        return 0;
}

static int handle_registrar(struct keeper *k, const struct control_message *message, int fd) {
        if (fd >= 0 && message->type != CONTROL_CONTEXT_ADD && message->type != CONTROL_DISPOSE && message->type != CONTROL_LEND) {
                closer_close(&fd, 1);
                return -EPROTO;
        }

        switch (message->type) {
        case CONTROL_PONG:
                k->ping_sent = 0;
                return 0;
        case CONTROL_CONTEXT_ADD:
                return acknowledge(k, custody_add_context(&k->custody, message, fd));
        case CONTROL_CONTEXT_DROP:
                return acknowledge(k, custody_drop_context(&k->custody, message));
        case CONTROL_DISPOSE:
                return acknowledge(k, custody_hold(&k->custody, fd));
        case CONTROL_FREEZE:
                k->freeze.may_kill = ledger_has_flag(k->ledger, LEDGER_MAY_KILL);
                if (message->value == CONTROL_FREEZE_RELEASE)
                        return freeze_order(&k->freeze, message->value);
                return acknowledge(k, freeze_order(&k->freeze, message->value));
        case CONTROL_CLOSED:
                return custody_close(&k->custody);
        case CONTROL_LEND:
                return custody_lend(&k->custody, k->config.control, message, fd);
        case CONTROL_UNLEND:
                return custody_unlend(&k->custody, message);
        case CONTROL_MEMLOCK_RAISE:
                return raise_limit(k, message->length);
        case CONTROL_MEMLOCK_LOWER:
                memlock_lower(&k->memlock, message->length);
                set_ceiling(k);
                return 0;
        case CONTROL_WANT:
                return uplink_want(&k->uplink, &message->credit);
        case CONTROL_RETURN:
                return take_back(k, &message->credit);
        case CONTROL_REVOKED:
                return end_revocation(k, message);
        case CONTROL_BREAK:
                return begin_break(k, message);
        case CONTROL_YIELDED:
                return overdue_done(&k->breaking);
        case CONTROL_BYE:
                k->bye = true;
                return -ECONNRESET;
        default:
                return -EPROTO;
        }
}

/* The registrar is through, or has lost its mind. Either way it is killed: after BYE it may hang in its own exit. */
static void lose_registrar(struct keeper *k, int error) {
        if (error == -EPROTO)
                log_event(LOG_ERR, EVENT_REGISTRAR_BROKEN, "kills its registrar, which broke the control protocol");
        kill_registrar(k);
        (void)closer_close(&k->config.control, 1);
}

/* Not for ever: one that never stops must not keep its keeper from the rest. */
static void drain_registrar(struct keeper *k) {
        for (unsigned int i = 0; i < 64; i++) {
                struct control_message message;
                int fd, r;

                r = control_recv(k->config.control, &message, &fd);
                if (r == -EAGAIN)
                        return;
                if (r == 0)
                        r = handle_registrar(k, &message, fd);
                else if (fd >= 0)
                        (void)closer_close(&fd, 1);
                if (r < 0) {
                        lose_registrar(k, r);
                        return;
                }
        }
}

static void drain_uplink(struct keeper *k) {
        struct control_message message;
        int fd;

        if (uplink_recv(&k->uplink, &message, &fd) < 0)
                return;
        if (message.type == CONTROL_POLICY) {
                k->memlock.allowed = policy_pins_private(fd);
                relay_hold(&k->relay, fd);
                return;
        }
        pl_close(fd);

        switch (message.type) {
        case CONTROL_GOING_AWAY:
                k->told_to_end = true;
                begin_end(k, message.value);
                break;
        case CONTROL_CREDIT:
                if (message.credit.pinned > 0)
                        set_ceiling(k);
                break;
        case CONTROL_REVOKE:
                overdue_begin(&k->revoking, (uint64_t)message.value + END_MS);
                break;
        case CONTROL_BREAK_OVER:
                break;
        default:
                return;
        }
        tell_registrar(k, &message);
}

/* The app's process is gone. Its children may still hold the socket, so the registrar might never see a hang-up. */
static void lose_app(struct keeper *k) {
        k->config.app = pl_close(k->config.app);
        (void)shutdown(k->config.client, SHUT_RDWR);
        if (k->phase >= PHASE_STUCK)
                conclude(k);
        else
                begin_end(k, 0);
}

/* A registrar that waits for its app, or for somebody to change a file, cannot hang: it is left asleep. */
static bool has_work(const struct keeper *k, uint64_t now) {
        struct pollfd p = { .fd = k->config.client, .events = POLLIN };

        return ledger_is_busy(k->ledger, now) || poll(&p, 1, 0) != 0 || lent_rings(&k->custody.lent);
}

static void heartbeat(struct keeper *k, uint64_t now) {
        if (k->phase > PHASE_ENDING || k->config.control < 0)
                return;

        if (k->ping_sent) {
                /* At work. The answer is due a while after that, not at once. */
                if (ledger_is_busy(k->ledger, now))
                        k->ping_sent = now;
                if (now - k->ping_sent < k->config.hang_ms)
                        return;
                log_event(LOG_ERR,
                          EVENT_REGISTRAR_KILLED,
                          "kills its registrar, which has not answered for %" PRIu64 " ms",
                          now - k->ping_sent);
                kill_registrar(k);
                return;
        }

        if (now >= k->next_ping) {
                k->next_ping = now + k->config.heartbeat_ms;
                if (!has_work(k, now)) {
                        k->next_ping += (IDLE_BEATS - 1) * (uint64_t)k->config.heartbeat_ms;
                        return;
                }
                k->ping_sent = now;
                (void)control_send(k->config.control, &(struct control_message) { .type = CONTROL_PING }, -1);
        }
}

static void expire(struct keeper *k, uint64_t now) {
        if (!k->deadline || now < k->deadline)
                return;

        switch (k->phase) {
        case PHASE_ENDING:
                /* Giving up many memory regions takes its time; but not for ever, whatever the registrar says. */
                if (ledger_is_busy(k->ledger, now) && now - k->end_began < LEDGER_BUSY_MAX_MS) {
                        k->deadline = now + END_MS;
                        return;
                }
                log_event(LOG_WARNING, EVENT_REGISTRAR_KILLED, "kills its registrar, which did not end in time");
                kill_registrar(k);
                return;
        case PHASE_KILLED:
                /* It hangs in the kernel. Nobody waits for it: the app learns that the session is over, its memory is
                 * taken away. If the registrar said goodbye it holds nothing that could come alive again. */
                log_event(LOG_ERR,
                          EVENT_REGISTRAR_STUCK,
                          "its registrar, process %" PRIi64 ", hangs in the kernel and cannot be killed; look for a file server "
                          "that does not answer",
                          (int64_t)k->config.introduction.registrar_pid);
                if (k->bye || k->config.app < 0) {
                        conclude(k);
                        return;
                }
                if (clean(k) == 0)
                        lent_done(&k->custody.lent);
                (void)shutdown(k->config.client, SHUT_RDWR);
                k->phase = PHASE_STUCK;
                k->deadline = 0;
                return;
        case PHASE_KEPT:
                conclude(k);
                return;
        case PHASE_YIELDING:
                k->phase = PHASE_OVER;
                return;
        default:
                return;
        }
}

/* The registrar takes away by force what the app does not let go in time. If it does not, it is taken away from it. */
static void check_overdue(struct keeper *k, uint64_t now) {
        bool revoking = overdue_check(&k->revoking, k->ledger, now, END_MS);
        bool breaking = overdue_check(&k->breaking, k->ledger, now, END_MS);

        if (k->phase > PHASE_ENDING || (!revoking && !breaking))
                return;
        log_event(LOG_ERR,
                  EVENT_REGISTRAR_KILLED,
                  "kills its registrar, which has not taken away what it %s",
                  revoking ? "was told to" : "had to");
        kill_registrar(k);
}

static int timeout_of(const struct keeper *k, uint64_t now) {
        uint64_t next = pl_earlier(k->deadline, k->uplink.next_attempt);

        if (k->phase <= PHASE_ENDING && k->config.control >= 0) {
                next = pl_earlier(next, k->ping_sent ? k->ping_sent + k->config.hang_ms : k->next_ping);
                next = pl_earlier(pl_earlier(next, k->revoking.deadline), k->breaking.deadline);
        }
        return pl_time_until(next, now);
}

static void turn(struct keeper *k) {
        struct pollfd p[] = {
                { .fd = k->config.registrar, .events = POLLIN },
                { .fd = k->config.control, .events = POLLIN },
                { .fd = k->config.app, .events = POLLIN },
                { .fd = k->uplink.fd, .events = POLLIN },
        };
        uint64_t now = pl_now_ms();

        if (poll(p, ELEMENTSOF(p), timeout_of(k, now)) < 0 && errno != EINTR) {
                log_line(LOG_ERR, "poll: %s", strerror(errno));
                kill_registrar(k);
        }

        if (p[0].revents) {
                freeze_release(&k->freeze);
                (void)waitpid((pid_t)k->config.introduction.registrar_pid, NULL, WNOHANG);
                k->config.registrar = pl_close(k->config.registrar);
                /* Somebody may wait for other sessions, by what it has said last. */
                if (k->config.control >= 0)
                        drain_registrar(k);
                conclude(k);
                return;
        }
        if (p[1].revents)
                drain_registrar(k);
        if (p[2].revents)
                lose_app(k);
        if (p[3].revents)
                drain_uplink(k);

        now = pl_now_ms();
        /* What could not be ended must not start the service again that has been stopped. */
        if (k->told_to_end && k->phase > PHASE_ENDING)
                uplink_retire(&k->uplink);
        uplink_turn(&k->uplink, now);
        relay_turn(&k->relay, k->config.control);
        if (k->phase == PHASE_YIELDING)
                k->deadline = uplink_waits_until(&k->uplink) ? k->deadline : now;
        heartbeat(k, now);
        check_overdue(k, now);
        expire(k, now);
}

/* Both sockets go to a throw-away process as well, for what may be in flight to them. */
static void release(struct keeper *k) {
        int fds[2] = { k->config.client, k->config.control };

        custody_done(&k->custody);
        (void)closer_close(fds, k->config.control >= 0 ? 2 : 1);
}

int keeper_run(const struct keeper_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger) {
        struct keeper k = {
                .config = *config,
                .ledger = ledger,
                .freeze = FREEZE_INIT(&k.config.app, config->app_state),
                .force = { .uverbs = uverbs, .ops = &freeze_ops, .userdata = &k.freeze },
                .memlock = {
                        .app = &k.config.app,
                        .registrar = &k.config.registrar,
                        .app_pid = (pid_t)config->introduction.app_pid,
                        .registrar_pid = (pid_t)config->introduction.registrar_pid,
                        .allowed = config->pins_private,
                },
                .relay.policy = -1,
                .next_ping = pl_now_ms() + config->heartbeat_ms,
        };

        custody_init(&k.custody);
        uplink_init(&k.uplink, config->supervisor, config->session_socket, &config->introduction, ledger->fd);

        while (k.phase != PHASE_OVER)
                turn(&k);

        freeze_done(&k.freeze);
        relay_done(&k.relay);
        uplink_done(&k.uplink);
        release(&k);
        return EXIT_SUCCESS;
}
