/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MAPS_H
#define PL_MAPS_H

/* What lies at an address of this process: /proc/self/maps. */

#include <stdbool.h>
#include <stdint.h>

struct pl_vma {
        uint64_t start, end;
        bool readable, writable;
        bool private;     /* memory of this process alone, which no file stands behind: what malloc(3), the stack and
                             MAP_ANONYMOUS are */
        const char *name; /* in the line */
};

/* One line, without its newline. Returns whether it is one. */
bool pl_maps_parse(const char *line, struct pl_vma *ret_vma);

/*
 * Is all of [address, address + length), which does not overflow, private anonymous memory with the protection that the
 * access needs? Returns 0 or a negative errno, recorded as a refusal of session `serial`. What it says may be over as
 * soon as it is said: other threads map and unmap.
 */
int pl_maps_check_private(uint64_t serial, const void *address, uint64_t length, bool writable);

#endif
