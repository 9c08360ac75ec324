/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "closer.h"
#include "log.h"
#include "request.h"
#include "uplink.h"

/* How long the registrar may take to give everything up after it has been told to, or its app has gone. */
#define END_MS 5000

/* How long after SIGKILL a process that can die is dead. */
#define KILL_MS 3000

/* How often memory regions are tried again that the kernel keeps. */
#define KEPT_MS 1000

/* A registrar that has nothing to do is looked at again after so many heartbeats: looking is all that idle sessions do, and
 * hundreds of them should cost the busy ones nothing. */
#define IDLE_BEATS 4

enum phase {
        PHASE_SERVING, /* the registrar works */
        PHASE_ENDING,  /* it has been told, or has reason, to give up by itself before the deadline */
        PHASE_KILLED,  /* it has been killed; before the deadline it is dead, unless it hangs */
        PHASE_STUCK,   /* it cannot die: cleaned up already, and once more when it does */
        PHASE_KEPT,    /* it is gone, but the kernel keeps memory regions that the app is using: tried again and again */
        PHASE_OVER,
};

struct keeper {
        struct keeper_config config;
        const struct uverbs_ops *uverbs;
        struct ledger *ledger;
        struct cleanup_context contexts[MAX_CONTEXTS];
        int disposed; /* a descriptor that the registrar wants closed, until it has closed its own copy; -1: none */

        enum phase phase;
        uint64_t deadline; /* of the phase; 0: none */
        uint64_t end_began; /* when PHASE_ENDING did */
        bool told_to_end;
        bool bye;           /* the registrar has closed everything by itself */

        struct uplink uplink;
        uint64_t revoke_deadline; /* when what is being revoked must be gone; 0: nothing is */
        uint64_t revoke_end;      /* the same, however busy the registrar says it is */
        unsigned int n_revoking;  /* revocations that the registrar has not reported done */

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

        result = cleanup_ledger(k->ledger, k->uverbs, k->contexts, ELEMENTSOF(k->contexts));
        if (result.destroyed > 0)
                log_line(LOG_INFO, "destroyed %u memory regions that its registrar left", result.destroyed);
        return result.kept;
}

/*
 * The registrar is dead, or as good as. What the kernel does not let go (a memory window is bound, or other calls work on
 * it) is pinned memory, and stays this session's: it ends when that is gone, or the app, whose verbs context takes it along.
 */
static void conclude(struct keeper *k) {
        unsigned int kept;

        /* The app takes the end of the connection for the end of its memory regions, so that comes last. */
        kept = clean(k);
        (void)shutdown(k->config.client, SHUT_RDWR);
        if (kept == 0 || k->config.app < 0) {
                k->phase = PHASE_OVER;
                return;
        }

        if (k->phase != PHASE_KEPT)
                log_event(LOG_WARNING,
                          EVENT_MEMORY_KEPT,
                          "cannot destroy %u memory regions that the app has in use (a memory window is bound); tries on until "
                          "the app ends",
                          kept);
        k->phase = PHASE_KEPT;
        k->deadline = pl_now_ms() + KEPT_MS;
}

/* Owns the descriptor. */
static int add_context(struct keeper *k, const struct control_message *message, int fd) {
        struct cleanup_context *context;

        if (fd < 0 || message->context >= ELEMENTSOF(k->contexts) || k->contexts[message->context].device.fd >= 0) {
                closer_close(&fd, 1);
                return -EPROTO;
        }

        context = k->contexts + message->context;
        context->device.fd = fd;
        context->device.driver_id = message->value;
        return 0;
}

static int drop_context(struct keeper *k, const struct control_message *message) {
        if (message->context >= ELEMENTSOF(k->contexts) || k->contexts[message->context].device.fd < 0)
                return -EPROTO;
        return closer_close(&k->contexts[message->context].device.fd, 1);
}

/* Not closed yet: the registrar still has its copy, and if that were the last one the registrar would hang for as long as the
 * close takes. Owns the descriptor. */
static int hold_disposed(struct keeper *k, int fd) {
        if (fd < 0)
                return -EPROTO;
        if (k->disposed >= 0) {
                closer_close(&fd, 1);
                return -EPROTO;
        }
        k->disposed = fd;
        return 0;
}

/* If no process could be had it is closed here: that is no matter of the registrar's. */
static int close_disposed(struct keeper *k) {
        if (k->disposed < 0)
                return -EPROTO;
        (void)closer_close(&k->disposed, 1);
        return 0;
}

static int acknowledge(struct keeper *k, int error) {
        return control_send(k->config.control,
                            &(struct control_message) { .type = CONTROL_ACK, .value = (uint32_t)-error },
                            -1);
}

/* The kernel's own ceiling on what the registrar can pin follows the credit. */
static void set_ceiling(const struct keeper *k) {
        uint64_t pinned = k->uplink.introduction.credit.pinned;
        const struct rlimit limit = { pinned, pinned };

        /* Its number may be somebody else's. */
        if (k->config.registrar < 0)
                return;
        if (prlimit((pid_t)k->config.introduction.registrar_pid, RLIMIT_MEMLOCK, &limit, NULL) < 0)
                log_line(LOG_ERR, "cannot set its registrar's pin ceiling to %" PRIu64 " bytes: %s", pinned, strerror(errno));
}

static int take_back(struct keeper *k, const struct credit_amount *credit) {
        int r = uplink_return(&k->uplink, credit);

        if (r == 0 && credit->pinned > 0)
                set_ceiling(k);
        return r;
}

static int end_revocation(struct keeper *k, const struct control_message *message) {
        if (k->n_revoking == 0)
                return -EPROTO;
        if (--k->n_revoking == 0)
                k->revoke_deadline = 0;
        uplink_tell(&k->uplink, message);
        return 0;
}

static int handle_registrar(struct keeper *k, const struct control_message *message, int fd) {
        if (fd >= 0 && message->type != CONTROL_CONTEXT_ADD && message->type != CONTROL_DISPOSE) {
                closer_close(&fd, 1);
                return -EPROTO;
        }

        switch (message->type) {
        case CONTROL_PONG:
                k->ping_sent = 0;
                return 0;
        case CONTROL_CONTEXT_ADD:
                return acknowledge(k, add_context(k, message, fd));
        case CONTROL_CONTEXT_DROP:
                return acknowledge(k, drop_context(k, message));
        case CONTROL_DISPOSE:
                return acknowledge(k, hold_disposed(k, fd));
        case CONTROL_CLOSED:
                return close_disposed(k);
        case CONTROL_WANT:
                return uplink_want(&k->uplink, &message->credit);
        case CONTROL_RETURN:
                return take_back(k, &message->credit);
        case CONTROL_REVOKED:
                return end_revocation(k, message);
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

static void tell_registrar(struct keeper *k, const struct control_message *message) {
        if (k->config.control >= 0)
                (void)control_send(k->config.control, message, -1);
}

static void begin_revocation(struct keeper *k, const struct control_message *message) {
        uint64_t deadline = pl_now_ms() + message->value + END_MS;

        k->n_revoking++;
        if (deadline > k->revoke_deadline) {
                k->revoke_deadline = deadline;
                k->revoke_end = deadline + LEDGER_BUSY_MAX_MS;
        }
}

static void drain_uplink(struct keeper *k) {
        struct control_message message;

        if (uplink_recv(&k->uplink, &message) < 0)
                return;

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
                begin_revocation(k, &message);
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

/* A registrar that waits for its app cannot hang: it is left asleep. */
static bool has_work(const struct keeper *k, uint64_t now) {
        struct pollfd p = { .fd = k->config.client, .events = POLLIN };

        return ledger_is_busy(k->ledger, now) || poll(&p, 1, 0) != 0;
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
                (void)clean(k);
                (void)shutdown(k->config.client, SHUT_RDWR);
                k->phase = PHASE_STUCK;
                k->deadline = 0;
                return;
        case PHASE_KEPT:
                conclude(k);
                return;
        default:
                return;
        }
}

/* The registrar takes away by force what the app does not let go in time. If it does not, it is taken away from it. */
static void check_revocation(struct keeper *k, uint64_t now) {
        if (!k->revoke_deadline || now < k->revoke_deadline || k->phase > PHASE_ENDING)
                return;
        if (ledger_is_busy(k->ledger, now) && now < k->revoke_end) {
                k->revoke_deadline = now + END_MS;
                return;
        }
        log_event(LOG_ERR, EVENT_REGISTRAR_KILLED, "kills its registrar, which has not taken away what it was told to");
        k->revoke_deadline = 0;
        kill_registrar(k);
}

static int timeout_of(const struct keeper *k, uint64_t now) {
        uint64_t next = k->deadline;

        if (k->uplink.next_attempt && (!next || k->uplink.next_attempt < next))
                next = k->uplink.next_attempt;

        if (k->phase <= PHASE_ENDING && k->config.control >= 0) {
                uint64_t beat = k->ping_sent ? k->ping_sent + k->config.hang_ms : k->next_ping;

                if (!next || beat < next)
                        next = beat;
                if (k->revoke_deadline && k->revoke_deadline < next)
                        next = k->revoke_deadline;
        }
        if (!next)
                return -1;
        return next > now ? (int)(next - now) : 0;
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
                (void)waitpid((pid_t)k->config.introduction.registrar_pid, NULL, WNOHANG);
                k->config.registrar = pl_close(k->config.registrar);
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
        heartbeat(k, now);
        check_revocation(k, now);
        expire(k, now);
}

/* Hands everything whose last close may take long to a throw-away process: the command fds, what was to be disposed of, and
 * both sockets for what may be in flight to them. */
static void release(struct keeper *k) {
        int fds[MAX_CONTEXTS + 3];
        unsigned int n = 0;

        for (size_t i = 0; i < ELEMENTSOF(k->contexts); i++)
                if (k->contexts[i].device.fd >= 0)
                        fds[n++] = k->contexts[i].device.fd;
        if (k->disposed >= 0)
                fds[n++] = k->disposed;
        if (k->config.control >= 0)
                fds[n++] = k->config.control;
        fds[n++] = k->config.client;
        (void)closer_close(fds, n);
}

int keeper_run(const struct keeper_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger) {
        struct keeper k = {
                .config = *config,
                .uverbs = uverbs,
                .ledger = ledger,
                .disposed = -1,
                .next_ping = pl_now_ms() + config->heartbeat_ms,
        };

        for (size_t i = 0; i < ELEMENTSOF(k.contexts); i++)
                k.contexts[i].device.fd = -1;

        uplink_init(&k.uplink, config->supervisor, config->session_socket, &config->introduction, ledger->fd);

        while (k.phase != PHASE_OVER)
                turn(&k);

        uplink_done(&k.uplink);
        release(&k);
        return EXIT_SUCCESS;
}
