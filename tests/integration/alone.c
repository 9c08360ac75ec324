/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "alone.h"

#include "harness.h"

struct guarded *(*alone_find)(uint64_t device, uint64_t inode);
void (*alone_report)(struct guarded *file, const struct guard_report *report);

struct guarded *guards_find(const struct guards *guards _unused_, uint64_t device, uint64_t inode) {
        return alone_find(device, inode);
}

void guards_report(struct guards *guards _unused_, struct guarded *file, const struct guard_report *report) {
        alone_report(file, report);
}
