/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        SESSION,
        PID,
        UID,
        GID,
        FSUID,
        FSGID,
        PINNED,
        ODP,
        REGISTRATIONS,
        PINNED_CREDIT,
        ODP_CREDIT,
        REGISTRATION_CREDIT,
        HEARTBEAT,
        HANG,
        HELLO,
        N_ARGS
};

/* The one that is no number. */
#define SOCKET_ARG "--session-socket="

_Static_assert(N_ARGS + 2 == SESSION_ARGC, "argc");

static const char *const names[N_ARGS] = {
        [SESSION] = "--session",
        [PID] = "--client-pid",
        [UID] = "--uid",
        [GID] = "--gid",
        [FSUID] = "--client-uid",
        [FSGID] = "--client-gid",
        [PINNED] = "--pin-limit",
        [ODP] = "--odp-limit",
        [REGISTRATIONS] = "--registration-limit",
        [PINNED_CREDIT] = "--pin-credit",
        [ODP_CREDIT] = "--odp-credit",
        [REGISTRATION_CREDIT] = "--registration-credit",
        [HEARTBEAT] = "--heartbeat-ms",
        [HANG] = "--hang-ms",
        [HELLO] = "--hello-timeout-ms",
};

/* What the fields hold: a number that is too large must not turn into another one. */
static const uint64_t maxima[N_ARGS] = {
        [SESSION] = UINT64_MAX,
        [PID] = INT32_MAX,
        [UID] = UINT32_MAX,
        [GID] = UINT32_MAX,
        [FSUID] = UINT32_MAX,
        [FSGID] = UINT32_MAX,
        [PINNED] = UINT64_MAX,
        [ODP] = UINT64_MAX,
        [REGISTRATIONS] = UINT32_MAX,
        [PINNED_CREDIT] = UINT64_MAX,
        [ODP_CREDIT] = UINT64_MAX,
        [REGISTRATION_CREDIT] = UINT32_MAX,
        [HEARTBEAT] = UINT32_MAX,
        [HANG] = UINT32_MAX,
        [HELLO] = UINT32_MAX,
};

void session_args_format(const struct session_args *args, struct session_argv *ret_argv) {
        const uint64_t values[N_ARGS] = {
                [SESSION] = args->session,
                [PID] = (uint64_t)args->app_pid,
                [UID] = args->identity.uid,
                [GID] = args->identity.gid,
                [FSUID] = args->identity.fsuid,
                [FSGID] = args->identity.fsgid,
                [PINNED] = args->limits.pinned,
                [ODP] = args->limits.odp,
                [REGISTRATIONS] = args->limits.registrations,
                [PINNED_CREDIT] = args->credit.pinned,
                [ODP_CREDIT] = args->credit.odp,
                [REGISTRATION_CREDIT] = args->credit.registrations,
                [HEARTBEAT] = args->heartbeat_ms,
                [HANG] = args->hang_ms,
                [HELLO] = args->hello_timeout_ms,
        };

        (void)snprintf(ret_argv->text[0], SESSION_ARG_MAX, "pinlease-session");
        for (size_t i = 0; i < N_ARGS; i++)
                (void)snprintf(ret_argv->text[i + 1], SESSION_ARG_MAX, "%s=%" PRIu64, names[i], values[i]);
        (void)snprintf(ret_argv->text[N_ARGS + 1], SESSION_ARG_MAX, SOCKET_ARG "%s", args->session_socket);
        for (size_t i = 0; i < SESSION_ARGC; i++)
                ret_argv->argv[i] = ret_argv->text[i];
        ret_argv->argv[SESSION_ARGC] = NULL;
}

static int parse_one(const char *arg, uint64_t values[N_ARGS], uint32_t *seen) {
        for (size_t i = 0; i < N_ARGS; i++) {
                size_t n = strlen(names[i]);
                char *end;

                if (strncmp(arg, names[i], n) != 0 || arg[n] != '=')
                        continue;
                if (*seen & 1U << i || arg[n + 1] < '0' || arg[n + 1] > '9')
                        return -EINVAL;
                errno = 0;
                values[i] = strtoull(arg + n + 1, &end, 10);
                if (errno || *end || values[i] > maxima[i])
                        return -EINVAL;
                *seen |= 1U << i;
                return 0;
        }
        return -EINVAL;
}

int session_args_parse(int argc, char *const argv[], struct session_args *ret_args) {
        uint64_t values[N_ARGS];
        const char *session_socket = NULL;
        uint32_t seen = 0;

        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], SOCKET_ARG, strlen(SOCKET_ARG)) == 0) {
                        if (session_socket)
                                return -EINVAL;
                        session_socket = argv[i] + strlen(SOCKET_ARG);
                } else if (parse_one(argv[i], values, &seen) < 0)
                        return -EINVAL;
        if (seen != (1U << N_ARGS) - 1 || !session_socket || strlen(session_socket) >= sizeof ret_args->session_socket)
                return -EINVAL;

        *ret_args = (struct session_args) {
                .session = values[SESSION],
                .app_pid = (pid_t)values[PID],
                .identity = {
                        .uid = (uid_t)values[UID],
                        .gid = (gid_t)values[GID],
                        .fsuid = (uid_t)values[FSUID],
                        .fsgid = (gid_t)values[FSGID],
                },
                .limits = {
                        .pinned = values[PINNED],
                        .odp = values[ODP],
                        .registrations = values[REGISTRATIONS],
                },
                .credit = {
                        .pinned = values[PINNED_CREDIT],
                        .odp = values[ODP_CREDIT],
                        .registrations = values[REGISTRATION_CREDIT],
                },
                .heartbeat_ms = (unsigned int)values[HEARTBEAT],
                .hang_ms = (unsigned int)values[HANG],
                .hello_timeout_ms = (unsigned int)values[HELLO],
        };
        memcpy(ret_args->session_socket, session_socket, strlen(session_socket) + 1);
        return 0;
}
