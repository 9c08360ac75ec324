/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_CALLS_H
#define TEST_CALLS_H

/* Calls of the kernel's verbs interface that libibverbs does not make for memory regions of another process. Of
 * soft-RoCE. */

#include <stdbool.h>
#include <stdint.h>

/* Does the context have a memory region of that handle? Failures other than that it has not end the case. */
bool call_mr_is_there(int command_fd, uint32_t handle);

/* QUERY_MR, and ibv_rereg_mr() with new access flags: 0, or -1 and errno. */
int call_query_mr(int command_fd, uint32_t handle);
int call_change_access(int command_fd, uint32_t handle, uint32_t access);

/* What ibv_dereg_mr() asks of the kernel, without its books. */
int call_deregister_mr(int command_fd, uint32_t handle);

/* The answer, which may go to memory that is not there yet. */
struct call_mr {
        uint64_t length, iova;
        uint32_t lkey, rkey;
};
int call_query_mr_into(int command_fd, uint32_t handle, struct call_mr *mr);

#endif
