/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory that really fails, through the service: whose it was is told, and all others go on. See cases-poison.c for the
 * guard. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "process.h"

#define PAGE 4096
#define HUGE_PAGE (UINT64_C(2) << 20)
#define N_PAGES 16
#define TRANSFER (64U << 10)

/* The registrations of the file: [first, first + n) pages. */
static const struct part {
        unsigned int first, n;
} parts[] = {
        { 0, 4 },
        { 2, 6 },
        { 8, 8 },
        { 4, 2 },
};
#define N_PARTS ELEMENTSOF(parts)

struct failure {
        enum memory_kind kind;
        bool at_once; /* the registrar hears of all at the same instant: it stands still meanwhile */
        uint32_t method;
        unsigned int n_pages;
        unsigned int pages[4]; /* in order */
        bool is_written;       /* the journal has it. Only so many lines of a kind are written in 10 s, so not for all cases */
};

static struct memory memory;
static uint64_t unit; /* a page of it */

/* --- the failure --- */

static void on_bus_error(int number _unused_) {
}

static void break_memory(int channel _unused_, const void *argument) {
        const struct sigaction action = { .sa_handler = on_bus_error };
        const struct failure *failure = argument;
        uint8_t *start;

        CHECK_CALL(sigaction(SIGBUS, &action, NULL));
        start = mmap(NULL, memory.length, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
        CHECK(start != MAP_FAILED);
        /* Of a page that is pinned the kernel says EBUSY, and has done all the same. */
        for (unsigned int i = 0; i < failure->n_pages; i++)
                if (madvise(start + failure->pages[i] * unit, unit, MADV_HWPOISON) < 0 && errno != EBUSY)
                        FAIL("MADV_HWPOISON: %m");
}

static bool is_hit(const struct failure *failure, const struct part *part) {
        for (unsigned int i = 0; i < failure->n_pages; i++)
                if (failure->pages[i] >= part->first && failure->pages[i] < part->first + part->n)
                        return true;
        return false;
}

/* --- the app --- */

/* What is told is within the registration, and a failed page; which of several comes first is not said. */
static void check_range(const struct failure *failure, const struct part *part, uint64_t offset, uint64_t length) {
        bool found = false;

        CHECK(length > 0 && offset % unit == 0 && length % unit == 0);
        CHECK(offset >= part->first * unit && offset + length <= (part->first + part->n) * unit);
        for (unsigned int i = 0; i < failure->n_pages; i++)
                found |= failure->pages[i] * unit == offset;
        for (uint64_t at = offset; at < offset + length; at += unit) {
                bool failed = false;

                for (unsigned int i = 0; i < failure->n_pages; i++)
                        failed |= failure->pages[i] * unit == at;
                if (!failed)
                        FAIL("page %u is said to have failed", (unsigned int)(at / unit));
        }
        CHECK(found);
}

static void expect_revoked(struct fixture *f, const struct failure *failure, const struct pl_register_reply *replies) {
        bool revoked[N_PARTS] = { false };
        unsigned int n = 0, k = 0;

        for (unsigned int i = 0; i < N_PARTS; i++)
                n += is_hit(failure, parts + i);
        CHECK(n > 0 && n < N_PARTS);
        while (k < n) {
                struct pl_packet packet;
                unsigned int i = 0;

                CHECK_EQUAL(raw_recv(&f->raw, &packet), 0);
                /* It is taken away at once: that it is about to be may be said or not. */
                if (packet.header.opcode == PL_OP_REVOKING) {
                        CHECK_EQUAL(packet.body.revoking.reason, PL_REVOKED_MEMORY_FAILURE);
                        continue;
                }
                CHECK_EQUAL(packet.header.opcode, PL_OP_REVOKED);
                CHECK_EQUAL(packet.body.revoked.reason, PL_REVOKED_MEMORY_FAILURE);
                while (i < N_PARTS && replies[i].id != packet.body.revoked.id)
                        i++;
                CHECK(i < N_PARTS && !revoked[i]);
                if (!is_hit(failure, parts + i))
                        FAIL("registration %u is taken away, and none of its pages has failed", i);
                check_range(failure, parts + i, packet.body.revoked.offset, packet.body.revoked.length);
                revoked[i] = true;
                k++;
        }
}

/* Some of a registration, which may be large. */
static enum ibv_wc_status transfer(struct fixture *f, const struct pl_register_reply *reply, uint64_t seed) {
        uint64_t length = reply->length < TRANSFER ? reply->length : TRANSFER;

        return rdma_try_transfer(&f->rdma, reply->iova, reply->rkey, NULL, length, seed);
}

static struct memory memory_to_break(const struct failure *failure) {
        struct memory m = { .length = N_PAGES * unit };
        char path[64];

        if (failure->kind != MEMORY_EXT4_DAX || !failure->at_once)
                return memory_new(failure->kind, m.length);
        /* Its blocks are never used again: it keeps its name. */
        m.fd = memory_file("/mnt/ext4-dax", path, m.length);
        CHECK_EQUAL(posix_fallocate(m.fd, 0, (off_t)m.length), 0);
        m.start = mmap(NULL, m.length, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        CHECK_CALL(madvise(m.start, m.length, 23 /* MADV_POPULATE_WRITE */));
        return m;
}

static void inject(const struct failure *failure, const struct session *session) {
        struct app injector;

        if (failure->at_once)
                CHECK_CALL(pidfd_send_signal(session->registrar_fd, SIGSTOP, NULL, 0));
        injector = app_start(break_memory, failure);
        app_finish(&injector);
        if (!failure->at_once)
                return;
        if (failure->kind == MEMORY_EXT4_DAX)
                for (unsigned int i = 0; i < failure->n_pages; i++)
                        memory_note_bad_blocks(memory.fd, failure->pages[i] * unit, unit);
        CHECK_CALL(pidfd_send_signal(session->registrar_fd, SIGCONT, NULL, 0));
}

static const struct ctl_message memory_failure = { "MESSAGE_ID=48704f47a5b740859271ddddeac17e02",
                                                   "pinlease-session",
                                                   "3" };

static void run_failure(const void *argument) {
        const struct failure *failure = argument;
        struct app other = bystander_start(NULL), holder;
        struct fixture f = fixture_open(NULL);
        struct pl_register_reply replies[N_PARTS];
        struct session session = session_of(getpid());
        unsigned int number;

        holder = holder_start(&(const struct holder) { 0 }, &number);
        unit = failure->kind == MEMORY_HUGETLB || failure->kind == MEMORY_DEVDAX ? HUGE_PAGE : PAGE;
        /* Who has mapped device-dax is told, whether it has asked for that or not. */
        if (failure->kind == MEMORY_DEVDAX)
                CHECK(signal(SIGBUS, SIG_IGN) != SIG_ERR);
        memory = memory_to_break(failure);
        rdma_connect(&f.rdma);
        for (unsigned int i = 0; i < N_PARTS; i++) {
                struct pl_register request = fixture_request(&f, &memory, failure->method);

                request.offset = parts[i].first * unit;
                request.address += request.offset;
                request.length = parts[i].n * unit;
                replies[i] = raw_register(&f.raw, &request, memory.fd);
                CHECK(pl_guards_held(replies[i].guards) & PINLEASE_GUARD_POISON);
                CHECK_EQUAL(transfer(&f, replies + i, i), IBV_WC_SUCCESS);
        }

        inject(failure, &session);
        expect_revoked(&f, failure, replies);
        if (failure->is_written)
                ctl_await_said(&memory_failure, getpid());

        /* Those that were not hit go on, and so does everybody else. */
        for (unsigned int i = 0; i < N_PARTS; i++)
                if (!is_hit(failure, parts + i))
                        CHECK_EQUAL(transfer(&f, replies + i, 9), IBV_WC_SUCCESS);
        for (unsigned int i = 0; i < N_PARTS; i++)
                if (is_hit(failure, parts + i)) {
                        CHECK_EQUAL(transfer(&f, replies + i, 9), IBV_WC_REM_ACCESS_ERR);
                        rdma_reconnect(&f.rdma);
                }
        raw_ping(&f.raw);
        for (unsigned int i = 0; i < N_PARTS; i++)
                if (!is_hit(failure, parts + i))
                        raw_deregister(&f.raw, replies[i].id);
        raw_ping(&f.raw);
        CHECK_EQUAL(session_of(getpid()).registrar, session.registrar);
        CHECK_EQUAL(holder_ask(&holder, HOLDER_TRANSFER), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&holder, HOLDER_READ_EVENTS), 0);
        CHECK_EQUAL(holder_ask(&holder, HOLDER_ANEW), IBV_WC_SUCCESS);
        holder_stop(&holder);
        bystander_stop(&other);
        memory_free(&memory);
        fixture_close(&f);
        /* Those that have failed are replaced. */
        if (failure->kind == MEMORY_HUGETLB)
                write_file("/proc/sys/vm/nr_hugepages", "96\n");
}

#define FAILURE(...) run_failure, &(const struct failure) { __VA_ARGS__ }, 0
#define PAGES(...) .n_pages = sizeof((unsigned int[]) { __VA_ARGS__ }) / sizeof(unsigned int), .pages = { __VA_ARGS__ }

const struct test_case cases_poison_session[] = {
        { "poison: a session's memfd, pinned", FAILURE(MEMORY_MEMFD, .method = PINLEASE_METHOD_PINNED, PAGES(3), .is_written = true) },
        { "poison: a session's memfd, pinned, several pages",
          FAILURE(MEMORY_MEMFD, .method = PINLEASE_METHOD_PINNED, PAGES(1, 5, 7), .is_written = true) },
        { "poison: a session's memfd, pinned, several pages at once",
          FAILURE(MEMORY_MEMFD, true, PINLEASE_METHOD_PINNED, PAGES(1, 5, 7), .is_written = true) },
        { "poison: a session's memfd", FAILURE(MEMORY_MEMFD, .method = PINLEASE_METHOD_ODP, PAGES(3)) },
        { "poison: a session's memfd, several pages",
          FAILURE(MEMORY_MEMFD, .method = PINLEASE_METHOD_ODP, PAGES(1, 5, 7)) },
        { "poison: a session's memfd, several pages at once",
          FAILURE(MEMORY_MEMFD, true, PINLEASE_METHOD_ODP, PAGES(1, 5, 7)) },
        { "poison: a session's huge pages, pinned, several at once",
          FAILURE(MEMORY_HUGETLB, true, PINLEASE_METHOD_PINNED, PAGES(1, 5, 7)) },
        { "poison: a session's ext4-dax file", FAILURE(MEMORY_EXT4_DAX, .method = PINLEASE_METHOD_ODP, PAGES(3)) },
        { "poison: a session's device-dax, pinned", FAILURE(MEMORY_DEVDAX, .method = PINLEASE_METHOD_PINNED, PAGES(3)) },
        { "poison: a session's device-dax", FAILURE(MEMORY_DEVDAX, .method = PINLEASE_METHOD_ODP, PAGES(4)) },
        { "poison: a session's ext4-dax file, several pages at once",
          FAILURE(MEMORY_EXT4_DAX, true, PINLEASE_METHOD_ODP, PAGES(1, 5, 7)) },
        { 0 },
};
