/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "maps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lastrefusal.h"
#include "util.h"

/* Anonymous mappings have no name, or one in brackets. Others in brackets are the kernel's ("[vdso]", "[vvar]",
 * "[vsyscall]"), and those of shared memory ("[anon_shmem:…]"). */
static bool is_anonymous(const char *name) {
        static const char *const names[] = { "[heap]", "[stack]", "[anon:", "[stack:" };

        if (!*name)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strncmp(name, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

bool pl_maps_parse(const char *line, struct pl_vma *ret_vma) {
        unsigned int major, minor;
        uint64_t start, end, offset, inode;
        int name = -1;
        char mode[5];

        if (sscanf(line,
                   "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 "%n",
                   &start,
                   &end,
                   mode,
                   &offset,
                   &major,
                   &minor,
                   &inode,
                   &name) != 7 ||
            name < 0 || strlen(mode) != 4 || start >= end)
                return false;
        line += name;
        line += strspn(line, " ");
        *ret_vma = (struct pl_vma) {
                .start = start,
                .end = end,
                .readable = mode[0] == 'r',
                .writable = mode[1] == 'w',
                .private = mode[3] == 'p' && inode == 0 && major == 0 && minor == 0 && is_anonymous(line),
                .name = line,
        };
        return true;
}

static int refuse_hole(uint64_t serial, uint64_t hole) {
        return pl_refuse(serial,
                         PINLEASE_CODE_NOT_POPULATED,
                         EFAULT,
                         "Nothing is mapped at 0x%" PRIx64
                         ", which is in the range. Give a range that is mapped as a whole.",
                         hole);
}

static int check_vma(uint64_t serial, const struct pl_vma *vma, bool writable) {
        if (!vma->private)
                return pl_refuse(serial,
                                 PINLEASE_CODE_NOT_PRIVATE,
                                 ENODEV,
                                 "What is mapped at 0x%" PRIx64
                                 " (%.200s) is not private anonymous memory: it is shared, or it comes from a "
                                 "file, a private mapping of which still shows the file's own pages until they are "
                                 "written to. Register "
                                 "it by its descriptor, with pinlease_reg_fd(); or copy it.",
                                 vma->start,
                                 *vma->name ? vma->name : "without a name");
        if (!vma->readable || (writable && !vma->writable))
                return pl_refuse(serial,
                                 PINLEASE_CODE_NOT_POPULATED,
                                 EFAULT,
                                 "The memory at 0x%" PRIx64
                                 " is mapped without the protection that the access needs. Give it PROT_READ%s.",
                                 vma->start,
                                 writable ? " | PROT_WRITE, or ask for read-only access" : "");
        return 0;
}

int pl_maps_check_private(uint64_t serial, const void *address, uint64_t length, bool writable) {
        uint64_t next = (uintptr_t)address, end = next + length;
        char *line = NULL;
        size_t size = 0;
        int r = 0;
        FILE *f;

        f = fopen("/proc/self/maps", "re");
        if (!f)
                return pl_refuse(serial,
                                 PINLEASE_CODE_NOT_PRIVATE,
                                 ENODEV,
                                 "/proc/self/maps cannot be read, so that what is mapped at the address is not known. "
                                 "Mount /proc.");

        /* In the order of addresses. */
        while (r == 0 && next < end && getline(&line, &size, f) > 0) {
                struct pl_vma vma;

                line[strcspn(line, "\n")] = '\0';
                if (!pl_maps_parse(line, &vma) || vma.end <= next)
                        continue;
                if (vma.start > next)
                        break;
                r = check_vma(serial, &vma, writable);
                next = vma.end;
        }
        if (r == 0 && next < end)
                r = refuse_hole(serial, next);
        free(line);
        (void)fclose(f);
        return r;
}
