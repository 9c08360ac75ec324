/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

/*
 * How a connection outlives a change of the file. Another program is about to truncate it, say, and waits:
 *
 *   the service asks (memory.c, on_revoking)    we tell the client to stop
 *   its work requests are finished              we release the registration: now the other program goes on
 *   the service says that the file has settled  we map and register it anew, and tell the client what and where
 *
 * The messages lie in memory of their own, which nobody changes, and the queue pair never sees a dead key.
 */

static double ms_since(double start) {
        return (clock_now() - start) * 1000;
}

void keeping_asked(struct server *s) {
        if (s->keeping != KEEPING_SERVE)
                return;
        s->asked = clock_now();
        s->keeping = KEEPING_STOP;
        if (!s->connection.established)
                keeping_stopped(s);
        /* Without a client that can be told, it is lost. */
        else if (server_send(s, (struct message) { .kind = MESSAGE_STOP }) < 0) {
                s->status = STATUS_FAILED;
                s->stop = true;
        }
}

void keeping_stopped(struct server *s) {
        struct stat st;
        int r;

        if (s->keeping != KEEPING_STOP || !s->memory_reg)
                return;
        r = pinlease_release(s->session, s->memory_reg);
        if (r < 0) {
                warnx("the memory could not be released: %s", pinlease_refusal(s->session)->sentence);
                s->status = STATUS_FAILED;
                s->stop = true;
                return;
        }
        s->memory_reg = NULL;
        s->keeping = KEEPING_AWAY;
        printf("let go, %.0f ms after we were asked\n", ms_since(s->asked));
        /* Nobody is changing anything (any more). */
        if (r == 0 && fstat(s->memory.fd, &st) == 0)
                keeping_settled(s, (uint64_t)st.st_size);
}

void keeping_settled(struct server *s, uint64_t file_size) {
        char text[64];
        int r;

        if (s->keeping != KEEPING_AWAY && s->keeping != KEEPING_RETRY)
                return;
        s->file_size = file_size;

        r = memory_map_again(s->options, &s->memory, file_size);
        if (r != 0) {
                if (r > 0)
                        printf("%s has %" PRIu64 " bytes now: there is nothing left to offer\n", s->memory.name, file_size);
                s->status = r > 0 ? s->status : STATUS_FAILED;
                s->stop = true;
                return;
        }
        r = registered_memory(s);
        if (r == -EAGAIN) {
                /* The next change has begun before we have heard that this one is over. */
                s->keeping = KEEPING_RETRY;
                return;
        }
        if (r < 0) {
                warnx("the memory could not be registered again: %s", pinlease_refusal(s->session)->sentence);
                s->status = STATUS_FAILED;
                s->stop = true;
                return;
        }
        s->keeping = KEEPING_SERVE;
        printf("registered again, %s with rkey 0x%" PRIx32 ", %.0f ms after we were asked\n",
               size_format(s->memory.length, text, sizeof text), s->memory_reg->mr.rkey, ms_since(s->asked));

        if (s->connection.established && server_send(s,
                                                     (struct message) {
                                                             .kind = MESSAGE_GO,
                                                             .rkey = s->memory_reg->mr.rkey,
                                                             .offset = s->memory_reg->iova,
                                                             .length = s->memory_reg->mr.length,
                                                     }) < 0) {
                s->status = STATUS_FAILED;
                s->stop = true;
        }
}
