/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "roster.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util.h"

#define ROSTER_MAGIC   UINT64_C(0x727473726e6c7031)
#define ROSTER_VERSION 1
#define ROSTER_MAX     (1U << 20)

struct roster_entry {
        uint64_t session;
        uint64_t start_time; /* of the process, in clock ticks since boot */
        uint32_t pid;        /* 0: free. Written last */
        uint32_t expected;   /* of a former pinleased, and not seen yet */
};

struct roster_header {
        uint64_t magic;
        uint32_t version;
        uint32_t capacity;
        uint64_t last_id;
        struct roster_entry entries[];
};

static size_t size_for(uint32_t capacity) {
        return sizeof(struct roster_header) + capacity * sizeof(struct roster_entry);
}

/* The 22nd field of /proc/PID/stat; the second, the name, may hold anything, so it is counted from its closing bracket. The
 * third is the state: a process that has ended and not been waited for yet is none. */
static int start_time_of(pid_t pid, uint64_t *ret_time) {
        char path[32], text[1024], *p;
        _cleanup_(pl_closep) int fd = -1;
        ssize_t n;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, text, sizeof text - 1);
        if (n <= 0)
                return n < 0 ? -errno : -ESRCH;
        text[n] = 0;

        p = strrchr(text, ')');
        /* Dead, and its parent has not looked: where nobody does, it stays like that. */
        if (p && (p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X')))
                return -ESRCH;
        for (int field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        if (!p)
                return -EBADMSG;
        *ret_time = strtoull(p + 1, NULL, 10);
        return 0;
}

static bool lives(const struct roster_entry *entry) {
        uint64_t start_time;

        return entry->pid > 0 && entry->pid <= INT32_MAX && start_time_of((pid_t)entry->pid, &start_time) == 0 &&
               start_time == entry->start_time;
}

/* Reads what is there into memory of its own. Returns NULL if it is nothing to go by. */
static struct roster_header *read_former(const char *path) {
        _cleanup_(pl_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct roster_header *former;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof *former ||
            st.st_size > (off_t)size_for(ROSTER_MAX))
                return NULL;
        former = malloc((size_t)st.st_size);
        if (!former)
                return NULL;
        if (pread(fd, former, (size_t)st.st_size, 0) == st.st_size && former->magic == ROSTER_MAGIC &&
            former->version == ROSTER_VERSION && former->capacity <= ROSTER_MAX &&
            size_for(former->capacity) == (size_t)st.st_size)
                return former;
        free(former);
        return NULL;
}

/* Those that live, to the front. Returns how many. */
static uint32_t keep_living(struct roster_header *former) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < former->capacity; i++)
                if (lives(former->entries + i)) {
                        former->entries[n] = former->entries[i];
                        former->entries[n++].expected = true;
                }
        return n;
}

static int map_new(const char *path, uint32_t capacity, struct roster *roster) {
        _cleanup_(pl_closep) int fd = -1;
        void *memory;

        (void)unlink(path);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        /* Allocated now: a write into a hole of a full file system would be a SIGBUS. */
        if (fd < 0 || fallocate(fd, 0, 0, (off_t)size_for(capacity)) < 0)
                return -errno;
        memory = mmap(NULL, size_for(capacity), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
                return -errno;

        *roster = (struct roster) { .header = memory, .size = size_for(capacity), .capacity = capacity };
        return 0;
}

int roster_open(const char *path, uint32_t capacity, struct roster *ret_roster) {
        _cleanup_(pl_freep) struct roster_header *former = read_former(path);
        uint32_t n = former ? keep_living(former) : 0;
        struct roster roster;
        char fresh[256];
        int r;

        if (capacity < n)
                capacity = n;
        if (capacity > ROSTER_MAX || snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
                return -EINVAL;

        r = map_new(fresh, capacity, &roster);
        if (r < 0)
                return r;
        *roster.header = (struct roster_header) {
                .magic = ROSTER_MAGIC,
                .version = ROSTER_VERSION,
                .capacity = capacity,
                .last_id = former ? former->last_id : 0,
        };
        if (former)
                memcpy(roster.header->entries, former->entries, n * sizeof(struct roster_entry));
        roster.n_expected = n;

        /* At no instant is there no roster. */
        if (rename(fresh, path) < 0) {
                r = -errno;
                (void)unlink(fresh);
                roster_close(&roster);
                return r;
        }
        *ret_roster = roster;
        return 0;
}

void roster_close(struct roster *roster) {
        if (roster->header)
                (void)munmap(roster->header, roster->size);
        *roster = (struct roster) { 0 };
}

uint64_t roster_next_id(struct roster *roster) {
        return ++roster->header->last_id;
}

static struct roster_entry *find(struct roster *roster, uint64_t session, pid_t keeper) {
        for (uint32_t i = 0; i < roster->capacity; i++) {
                struct roster_entry *entry = roster->header->entries + i;

                if (entry->pid == (uint32_t)keeper && entry->session == session)
                        return entry;
        }
        return NULL;
}

bool roster_knows(const struct roster *roster, pid_t keeper) {
        for (uint32_t i = 0; i < roster->capacity; i++) {
                const struct roster_entry *entry = roster->header->entries + i;

                if (entry->pid == (uint32_t)keeper && lives(entry))
                        return true;
        }
        return false;
}

int roster_add(struct roster *roster, uint64_t session, pid_t keeper) {
        uint64_t start_time;
        int r;

        r = start_time_of(keeper, &start_time);
        if (r < 0)
                return r;

        for (uint32_t i = 0; i < roster->capacity; i++) {
                uint32_t index = (roster->hint + i) % roster->capacity;
                struct roster_entry *entry = roster->header->entries + index;

                if (entry->pid)
                        continue;
                roster->hint = index + 1;
                *entry = (struct roster_entry) { .session = session, .start_time = start_time };
                __atomic_store_n(&entry->pid, (uint32_t)keeper, __ATOMIC_RELEASE);
                return 0;
        }
        return -ENOSPC;
}

static void free_entry(struct roster *roster, struct roster_entry *entry) {
        if (entry->expected)
                roster->n_expected--;
        entry->expected = false;
        __atomic_store_n(&entry->pid, 0, __ATOMIC_RELEASE);
}

void roster_remove(struct roster *roster, uint64_t session, pid_t keeper) {
        struct roster_entry *entry = find(roster, session, keeper);

        if (entry)
                free_entry(roster, entry);
}

void roster_claim(struct roster *roster, uint64_t session, pid_t keeper) {
        struct roster_entry *entry = find(roster, session, keeper);

        if (!entry) {
                /* It may have been started in the instant before its pinleased was killed. */
                (void)roster_add(roster, session, keeper);
                if (session > roster->header->last_id)
                        roster->header->last_id = session;
                return;
        }
        if (entry->expected)
                roster->n_expected--;
        entry->expected = false;
}

uint32_t roster_expected(struct roster *roster) {
        if (roster->n_expected == 0)
                return 0;
        for (uint32_t i = 0; i < roster->capacity; i++) {
                struct roster_entry *entry = roster->header->entries + i;

                if (entry->pid && entry->expected && !lives(entry))
                        free_entry(roster, entry);
        }
        return roster->n_expected;
}
