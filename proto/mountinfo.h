/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MOUNTINFO_H
#define PL_MOUNTINFO_H

/* The lines of /proc/PID/mountinfo, see proc_pid_mountinfo(5). Whoever may mount writes some of the words in them. */

#include <sys/types.h>

struct pl_mount {
        unsigned int id, parent; /* what the kernel alone has mounted may have the number 0 */
        dev_t dev;               /* st_dev of what is in it */
        const char *point;       /* in the line, unescaped */
        const char *type;        /* of the file system, in the line: "ext4", "fuse.sshfs" */
};

/* Takes the line apart, in place. Returns 0, or -EBADMSG for what is no such line. */
int pl_mountinfo_parse(char *line, struct pl_mount *ret_mount);

#endif
