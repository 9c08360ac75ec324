/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chardev.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int pl_chardev_is(dev_t rdev, const char *driver) {
        char line[128];
        int found = 0;
        FILE *f;

        f = fopen("/proc/devices", "re");
        if (!f)
                return -errno;

        while (!found && fgets(line, sizeof line, f)) {
                unsigned int number;
                char name[64];

                if (sscanf(line, "%u %63s", &number, name) == 2)
                        found = number == major(rdev) && strcmp(name, driver) == 0;
                else if (line[0] == 'B') /* "Block devices:" come last and have majors of their own */
                        break;
        }

        (void)fclose(f);
        return found;
}

static int read_number(dev_t rdev, const char *attribute, uint64_t *ret_value) {
        char path[64], c;
        uint64_t value;
        FILE *f;
        int n;

        (void)snprintf(path, sizeof path, "/sys/dev/char/%u:%u/%s", major(rdev), minor(rdev), attribute);
        f = fopen(path, "re");
        if (!f)
                return errno == ENOENT ? -ENODEV : -errno;
        n = fscanf(f, "%" SCNu64 "%c", &value, &c);
        (void)fclose(f);
        if (n != 2 || c != '\n')
                return -EIO;
        *ret_value = value;
        return 0;
}

int pl_chardev_dax(dev_t rdev, uint64_t *ret_size, uint64_t *ret_align) {
        uint64_t size, align;
        int r;

        r = pl_chardev_is(rdev, "dax");
        if (r <= 0)
                return r < 0 ? r : -ENODEV;
        r = read_number(rdev, "size", &size);
        if (r == 0)
                r = read_number(rdev, "align", &align);
        if (r < 0)
                return r;
        if (align < (uint64_t)sysconf(_SC_PAGESIZE) || (align & (align - 1)) || size > INT64_MAX)
                return -EIO;
        *ret_size = size;
        *ret_align = align;
        return 0;
}
