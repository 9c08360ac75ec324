/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_SERVICE_H
#define TEST_SERVICE_H

/* The installed service, as systemctl and pinleasectl deal with it. */

#include <sys/types.h>

/* Starts a shell command, and waits for its end: status 0, else the case fails. */
pid_t command_start(const char *command);
void command_finish(pid_t pid);
void command(const char *command);
/* Its first line of output; "" if there is none. */
void command_line(const char *command, char *ret_line, size_t size);

/* Waits until there is a pinleased other than `old`, ready or not. */
pid_t service_await_other(pid_t old);

/* A folder of drop-ins for this case: what the text says, in force after the next start. And without. */
void service_drop_in(const char *text);
void service_drop_out(void);

#endif
