/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double clock_now(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int address_resolve(const char *host, const char *port, bool to_listen, struct sockaddr_storage *ret_address) {
        struct addrinfo *found, hints = { .ai_socktype = SOCK_STREAM, .ai_flags = to_listen ? AI_PASSIVE : 0 };
        int r;

        r = getaddrinfo(host, port, &hints, &found);
        if (r != 0) {
                warnx("%s port %s: %s", host ? host : "any address", port, gai_strerror(r));
                return -1;
        }

        memset(ret_address, 0, sizeof *ret_address);
        memcpy(ret_address, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        return 0;
}

const char *address_format(const struct sockaddr *address, char *buffer, size_t size) {
        char host[NI_MAXHOST], port[NI_MAXSERV];
        socklen_t length = address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

        if (getnameinfo(address, length, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
                (void)snprintf(buffer, size, "%s port %s", host, port);
        else
                (void)snprintf(buffer, size, "an address of family %d", (int)address->sa_family);
        return buffer;
}

static const struct {
        char letter;
        unsigned int shift;
} units[] = { { 'G', 30 }, { 'M', 20 }, { 'K', 10 } };

const char *size_format(uint64_t size, char *buffer, size_t buffer_size) {
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
                if (size != 0 && size % (UINT64_C(1) << units[i].shift) == 0) {
                        (void)snprintf(buffer, buffer_size, "%" PRIu64 " %ciB", size >> units[i].shift,
                                       units[i].letter);
                        return buffer;
                }

        (void)snprintf(buffer, buffer_size, "%" PRIu64 " byte%s", size, size == 1 ? "" : "s");
        return buffer;
}

int size_parse(const char *string, uint64_t *ret_size) {
        unsigned int shift = 0;
        unsigned long long number;
        char *rest;

        /* strtoull() takes "-1" for a very large number. */
        if (!isdigit((unsigned char)*string))
                return -1;
        errno = 0;
        number = strtoull(string, &rest, 0);
        if (errno != 0)
                return -1;

        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
                if (toupper((unsigned char)*rest) == units[i].letter) {
                        shift = units[i].shift;
                        rest++;
                        break;
                }
        if (*rest != 0 || number > UINT64_MAX >> shift)
                return -1;

        *ret_size = (uint64_t)number << shift;
        return 0;
}
