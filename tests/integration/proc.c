/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

size_t proc_read(pid_t pid, const char *name, char *text, size_t size) {
        char path[64];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        n = read(fd, text, size - 1);
        close(fd);
        if (n <= 0)
                return 0;
        text[n] = 0;
        return (size_t)n;
}

bool proc_each(void (*function)(pid_t pid, void *userdata), void *userdata) {
        struct dirent *e;
        DIR *d = opendir("/proc");

        if (!d)
                return false;
        while ((e = readdir(d)))
                if (isdigit((unsigned char)e->d_name[0]))
                        function((pid_t)atoi(e->d_name), userdata);
        (void)closedir(d);
        return true;
}
