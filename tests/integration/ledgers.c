/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledgers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "harness.h"
#include "ledger.h"

#define STRETCH 64

/* Calls it for each descriptor of a process, until it returns true. False: it never has, or the process is gone. */
static bool any_fd(pid_t pid, bool (*function)(int folder, const char *name, void *userdata), void *userdata) {
        bool found = false;
        struct dirent *e;
        char path[64];
        DIR *d;

        (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        d = opendir(path);
        if (!d)
                return false;
        while (!found && (e = readdir(d)))
                found = e->d_name[0] != '.' && function(dirfd(d), e->d_name, userdata);
        (void)closedir(d);
        return found;
}

static bool is_ledger(int folder, const char *name, void *userdata) {
        char target[64] = "";

        if (readlinkat(folder, name, target, sizeof target - 1) < 0 || !strstr(target, "pinlease-ledger"))
                return false;
        *(int *)userdata = openat(folder, name, O_RDONLY | O_CLOEXEC);
        return *(int *)userdata >= 0;
}

static struct ledgers_entry copy(const struct ledger_entry *entry) {
        const struct ledger_record *record = &entry->record;

        return (struct ledgers_entry) {
                .live = entry->state == LEDGER_LIVE,
                .id = record->id,
                .offset = record->offset,
                .length = record->length,
                .device = record->device,
                .inode = record->inode,
                .handle = entry->response.handle,
                .lkey = entry->response.lkey,
                .rkey = entry->response.rkey,
                .guards = entry->guards,
        };
}

ssize_t ledgers_read(pid_t keeper, struct ledgers_entry *ret_entries, size_t n) {
        struct ledger_entry entries[STRETCH];
        struct ledger_header header;
        size_t found = 0;
        int fd = -1;

        if (!any_fd(keeper, is_ledger, &fd))
                return -1;
        CHECK_EQUAL(pread(fd, &header, sizeof header, 0), sizeof header);
        CHECK_EQUAL(header.magic, LEDGER_MAGIC);
        for (uint32_t at = 0; at < header.high_water; at += STRETCH) {
                uint32_t k = header.high_water - at < STRETCH ? header.high_water - at : STRETCH;

                CHECK_EQUAL(pread(fd, entries, k * sizeof entries[0], (off_t)(sizeof header + at * sizeof entries[0])),
                            k * sizeof entries[0]);
                for (uint32_t i = 0; i < k; i++)
                        if (entries[i].state != LEDGER_FREE) {
                                if (found < n)
                                        ret_entries[found] = copy(entries + i);
                                found++;
                        }
        }
        close(fd);
        return (ssize_t)found;
}

struct file {
        dev_t device;
        ino_t inode;
};

static bool is_file(int folder, const char *name, void *userdata) {
        const struct file *file = userdata;
        struct stat st;

        return fstatat(folder, name, &st, 0) == 0 && st.st_dev == file->device && st.st_ino == file->inode;
}

bool ledgers_holds_file(pid_t pid, dev_t device, ino_t inode) {
        struct file file = { device, inode };

        return any_fd(pid, is_file, &file);
}
