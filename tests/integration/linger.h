/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LINGER_H
#define TEST_LINGER_H

/*
 * In a process that has not done so yet: moves to hosta's network, where there is a loopback interface that is up,
 * becomes the user, and returns a connected TCP socket with data that its peer never takes. Whoever closes it last
 * waits for a minute.
 */
int linger_socket(const char *user);

#endif
