/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rival.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "mrs.h"

#define PAGE UINT64_C(4096)
#define MANY 256

const char *rival_word_name(enum rival_word word) {
        static const char *const names[N_RIVAL_WORDS] = {
                [RIVAL_TRUNCATES] = "truncate by name",
                [RIVAL_OPENS_AND_TRUNCATES] = "open with O_TRUNC",
                [RIVAL_OPENS_FOR_WRITING] = "open for writing",
                [RIVAL_OPENS_FOR_READING] = "open for reading",
                [RIVAL_CUTS] = "ftruncate",
                [RIVAL_PUNCHES] = "punch",
                [RIVAL_APPENDS] = "write past the end",
                [RIVAL_FILLS] = "fill",
                [RIVAL_UNLINKS] = "unlink",
                [RIVAL_RENAMES] = "rename over",
                [RIVAL_KEEPS] = "keep it open",
                [RIVAL_LEAVES] = "close it at last",
        };

        return names[word];
}

static int kept = -1;

static int get(const struct rival_order *order, int flags) {
        if (order->uses_kept)
                return kept;
        return order->path[0] ? CHECK_CALL(open(order->path, flags | O_CLOEXEC)) : order->fd;
}

static void put(int fd, const struct rival_order *order) {
        if (fd != kept && fd != order->fd)
                close(fd);
}

static void append(int fd, uint64_t size) {
        static const uint8_t page[PAGE] = { 1 };
        struct stat st;

        for (CHECK_CALL(fstat(fd, &st)); (uint64_t)st.st_size < size; st.st_size += (off_t)PAGE)
                CHECK_EQUAL(pwrite(fd, page, PAGE, st.st_size), PAGE);
}

/* No write(2) to huge pages. */
static void fill(int fd, uint64_t size) {
        static uint64_t stamp;
        uint8_t *start;

        CHECK_CALL(ftruncate(fd, (off_t)size));
        CHECK_EQUAL(posix_fallocate(fd, 0, (off_t)size), 0);
        start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(start != MAP_FAILED);
        for (uint64_t at = 0; at < size; at += PAGE) {
                stamp++;
                memcpy(start + at, &stamp, sizeof stamp);
        }
        CHECK_CALL(munmap(start, size));
}

static void look(const struct rival_order *order, struct rival_answer *answer) {
        static struct mr_entry entries[MANY];
        size_t n;

        if (answer->looked)
                return;
        answer->looked = true;
        n = mrs_list("rxe_a", entries, MANY);

        CHECK(n <= MANY);
        for (size_t i = 0; i < n; i++)
                for (unsigned int k = 0; k < order->n_regions; k++)
                        if (entries[i].rkey == order->regions[k]) {
                                answer->n_left++;
                                answer->left = entries[i].rkey;
                        }
}

static void by_descriptor(const struct rival_order *order, struct rival_answer *answer) {
        int fd = get(order, order->word == RIVAL_OPENS_FOR_READING ? O_RDONLY : O_RDWR);

        /* It is open(2) that waits. */
        look(order, answer);
        switch (order->word) {
        case RIVAL_CUTS:
                CHECK_CALL(ftruncate(fd, (off_t)order->size));
                break;
        case RIVAL_PUNCHES:
                CHECK_CALL(fallocate(
                        fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)order->offset, (off_t)order->length));
                break;
        case RIVAL_APPENDS:
                append(fd, order->size);
                break;
        case RIVAL_FILLS:
                fill(fd, order->size);
                break;
        case RIVAL_KEEPS:
                kept = fd;
                break;
        default:
                break;
        }
        put(fd, order);
}

static void obey(const struct rival_order *order, struct rival_answer *answer) {
        switch (order->word) {
        case RIVAL_TRUNCATES:
                CHECK_CALL(truncate(order->path, (off_t)order->size));
                break;
        case RIVAL_OPENS_AND_TRUNCATES:
                close(CHECK_CALL(open(order->path, O_RDWR | O_TRUNC | O_CLOEXEC)));
                break;
        case RIVAL_UNLINKS:
                CHECK_CALL(unlink(order->path));
                break;
        case RIVAL_RENAMES:
                CHECK_CALL(rename(order->other, order->path));
                break;
        case RIVAL_LEAVES:
                kept = pl_close(kept);
                break;
        default:
                by_descriptor(order, answer);
        }
}

static void run(int channel, const void *argument _unused_) {
        struct rival_order order;

        while (recv(channel, &order, sizeof order, 0) == sizeof order) {
                struct rival_answer answer = { 0 };
                uint64_t began = pl_now_ms();

                obey(&order, &answer);
                answer.took_ms = pl_now_ms() - began;
                look(&order, &answer);
                CHECK_EQUAL(send(channel, &answer, sizeof answer, MSG_NOSIGNAL), sizeof answer);
        }
}

struct app rival_start(void) {
        return app_start(run, NULL);
}

void rival_tell(const struct app *app, const struct rival_order *order) {
        CHECK_EQUAL(send(app->channel, order, sizeof *order, MSG_NOSIGNAL), sizeof *order);
}

struct rival_answer rival_answer(const struct app *app) {
        struct rival_answer answer;

        await_packet(app->channel, "the answer of who changes files", &answer, sizeof answer);
        return answer;
}
