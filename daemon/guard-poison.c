/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory failures, in RAM and in persistent memory: the kernel sends SIGBUS (BUS_MCEERR_AO) to who has mapped the page and
 * has asked for it (PR_MCE_KILL_EARLY), whether it has touched the page or not (but for DAX, where only who has).
 *
 * Of several signals at the same time all but one are lost: SIGBUS does not queue. So one signal is the occasion to look at
 * everything that is mapped: a fault on a broken page is an error (EHWPOISON) and nothing else, if the kernel is asked to do
 * it, by MADV_POPULATE_READ (Linux 5.14). Only pages that are in memory are asked for: others cannot be broken, and would be
 * made on the service's account.
 *
 * What the kernel does, as seen with Linux 7.3:
 *
 * - shmem, hugetlb: a signal, and EHWPOISON from then on, for pages that are pinned too. Deregistering works, the page is let
 *   go; pinning it again fails (EFAULT), ODP does not until the device faults. A huge page that this process has not touched
 *   is missing for mincore(), so only the one that the signal names is known.
 * - fsdax: a signal only if the page is in this process's page tables, which then lose it. EHWPOISON if the driver has noted
 *   it among the device's bad blocks, as it does when the processor has told it of the failure.
 * - device-dax: a signal if the page is in this process's page tables, which names the unit of the device's alignment that it lies
 *   in, no less. It can be had again at once, by a fault and by a pin.
 * - page cache: a signal and EHWPOISON for dirty pages, until the view goes; the file then has what the disk has. Clean pages
 *   are dropped without a word, and the next fault brings a good page; but what is pinned stays the broken one. So the guard
 *   is not said to hold there.
 */

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include "guards.h"
#include "mapping.h"
#include "residency.h"
#include "util.h"

/* An older C library. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef EHWPOISON
#define EHWPOISON 133
#endif

/* Looking at everything is done in slices, between which the session is served. */
#define SLICE_US 5000

/* What is looked at in one step: 4 MiB, or that many huge pages. */
#define STEP_PAGES      1024
#define STEP_HUGE_PAGES 16
/* What is skipped in one step where there is nothing in memory. */
#define SPAN_MAX (UINT64_C(1) << 30)

enum {
        PAGE_PRESENT = 1 << 0, /* as mincore() has it */
        PAGE_BROKEN  = 1 << 1,
};

/* A piece of a view. */
struct piece {
        uint64_t start, offset; /* address, place in the file */
        uint64_t page;
        size_t n;
        unsigned char pages[STEP_PAGES];
};

/* --- what has been reported already ------------------------------------------------------------------------------------ */

static bool is_known(const struct guarded *file, uint64_t offset) {
        for (size_t i = 0; i < file->poison.n_broken; i++) {
                const struct guard_range *range = &file->poison.broken[i];

                if (offset >= range->offset && offset - range->offset < range->length)
                        return true;
        }
        return false;
}

/* If there is no memory for it, it will be reported once more. */
static void remember(struct guarded *file, uint64_t offset, uint64_t length) {
        struct guard_range *more;

        for (size_t i = 0; i < file->poison.n_broken; i++) {
                struct guard_range *range = &file->poison.broken[i];

                if (range->offset + range->length == offset) {
                        range->length += length;
                        return;
                }
                if (offset + length == range->offset) {
                        range->offset = offset;
                        range->length += length;
                        return;
                }
        }

        more = realloc(file->poison.broken, (file->poison.n_broken + 1) * sizeof *more);
        if (!more)
                return;
        more[file->poison.n_broken++] = (struct guard_range) { offset, length };
        file->poison.broken = more;
}

static void forget(struct guarded *file) {
        free(file->poison.broken);
        file->poison.broken = NULL;
        file->poison.n_broken = 0;
}

/* --- looking ------------------------------------------------------------------------------------------------------------ */

/* Of huge pages the first of their small pages says it. Of DAX mincore() knows nothing; a fault on a hole makes none there. */
static void find_present(const struct guarded *file, struct piece *piece) {
        uint64_t small = (uint64_t)sysconf(_SC_PAGESIZE);

        memset(piece->pages, 0, sizeof piece->pages);
        if (file->class.dax)
                memset(piece->pages, PAGE_PRESENT, piece->n);
        else if (piece->page == small)
                (void)mincore((void *)(uintptr_t)piece->start, piece->n * small, piece->pages);
        else
                for (size_t i = 0; i < piece->n; i++)
                        (void)mincore((void *)(uintptr_t)(piece->start + i * piece->page), small, &piece->pages[i]);

        /* The other bits are reserved. */
        for (size_t i = 0; i < piece->n; i++)
                piece->pages[i] &= PAGE_PRESENT;
}

/* Halves until it is known which pages are broken. Other errors are no memory failure: beyond the end of the file, for one. */
static void find_broken(struct piece *piece, size_t first, size_t n) {
        void *start = (void *)(uintptr_t)(piece->start + first * piece->page);

        if (madvise(start, n * piece->page, MADV_POPULATE_READ) == 0 || errno != EHWPOISON)
                return;
        if (n == 1) {
                piece->pages[first] |= PAGE_BROKEN;
                return;
        }
        find_broken(piece, first, n / 2);
        find_broken(piece, first + n / 2, n - n / 2);
}

/* The end of a run of pages that all have the flag, or all have it not. */
static size_t run_end(const struct piece *piece, size_t first, unsigned char flag) {
        size_t end = first;

        while (end < piece->n && (piece->pages[end] & flag) == (piece->pages[first] & flag))
                end++;
        return end;
}

static void look_at(const struct guarded *file, struct piece *piece) {
        find_present(file, piece);
        for (size_t i = 0, end; i < piece->n; i = end) {
                end = run_end(piece, i, PAGE_PRESENT);
                if (piece->pages[i] & PAGE_PRESENT)
                        find_broken(piece, i, end - i);
        }
}

/* Who is told may give back registrations, and with them views; so the file is looked for each time. */
static bool tell(struct guards *guards, const struct mapping_view *view, struct piece *piece) {
        struct guarded *file = guards_find(guards, view->dev, view->inode);
        bool told = false;

        for (size_t i = 0; file && i < piece->n; i++)
                if (is_known(file, piece->offset + i * piece->page))
                        piece->pages[i] &= (unsigned char)~PAGE_BROKEN;

        for (size_t i = 0, end; file && i < piece->n; i = end) {
                struct guard_report report = { .kind = GUARD_POISONED, .guard = GUARD_POISON };

                end = run_end(piece, i, PAGE_BROKEN);
                if (!(piece->pages[i] & PAGE_BROKEN))
                        continue;
                report.offset = piece->offset + i * piece->page;
                report.length = (end - i) * piece->page;
                /* The next failure of a device may be in the same unit, and is told once as well. */
                if (!pl_fdclass_is_fixed(&file->class))
                        remember(file, report.offset, report.length);
                guards_report(guards, file, &report);
                told = true;
                file = guards_find(guards, view->dev, view->inode);
        }
        return told;
}

/* The step of a view in which the byte `at` is. Views begin and end with a page of their file. */
static struct piece piece_at(const struct mapping_view *view, const struct guarded *file, uint64_t at) {
        uint64_t page = pl_fdclass_map_unit(&file->class);
        uint64_t step = page * (page == (uint64_t)sysconf(_SC_PAGESIZE) ? STEP_PAGES : STEP_HUGE_PAGES);
        uint64_t from = at / step * step;
        uint64_t left = view->length - from;

        return (struct piece) {
                .start = view->base + from,
                .offset = view->offset + from,
                .page = page,
                .n = (left < step ? left : step) / page,
        };
}

/* --- one after the other ------------------------------------------------------------------------------------------------ */

/* How much can be passed over, because nothing of it is in memory; 0: nothing. */
static uint64_t skip(struct guards *guards, const struct guarded *file, const struct mapping_view *view, uint64_t step) {
        uint64_t at = guards->poison.at, left = view->length - at;
        uint64_t span = guards->poison.span > step ? guards->poison.span : step;
        int r;

        /* Without a descriptor: a memfd, of which everybody is told what is there. */
        if (file->class.dax || file->fd < 0)
                return 0;

        span = span < left ? span : left;
        r = residency_any(file->fd, view->offset + at, span);
        if (r == -EPERM)
                return left;
        if (r != 0) {
                guards->poison.span = 0;
                return 0;
        }
        guards->poison.span = span < SPAN_MAX ? span * 2 : SPAN_MAX;
        return span;
}

/* Goes on by one step in this view. Returns true if something was reported: no view is known to be there still. */
static bool go_on(struct guards *guards, const struct mapping_view *view) {
        const struct guarded *file = guards_find(guards, view->dev, view->inode);
        struct piece piece;
        uint64_t skipped;

        if (!file) {
                guards->poison.at = view->length;
                return false;
        }
        piece = piece_at(view, file, guards->poison.at);
        if (piece.n == 0) {
                guards->poison.at = view->length;
                return false;
        }
        skipped = skip(guards, file, view, piece.n * piece.page);
        if (skipped > 0) {
                guards->poison.at += skipped;
                return false;
        }
        /* What was skipped need not end where a step does. */
        guards->poison.at = piece.start + piece.n * piece.page - view->base;
        look_at(file, &piece);
        return tell(guards, view, &piece);
}

static void begin(struct guards *guards) {
        const struct mapping *youngest = mapping_from(guards->config.mappings, 1);

        guards->poison.number = 1;
        guards->poison.at = guards->poison.span = 0;
        guards->poison.last = guards->config.mappings->n_made;
        guards->poison.again = false;
        guards->poison.due = youngest ? pl_now_ms() : 0;
}

/* A slice of the way through all views. */
static void walk(struct guards *guards) {
        const struct mapping_table *table = guards->config.mappings;
        const struct mapping *mapping = mapping_from(table, guards->poison.number);
        uint64_t until = pl_now_us() + SLICE_US;

        while (mapping) {
                struct mapping_view view = mapping_view(mapping);

                if (view.number > guards->poison.last)
                        break;
                if (view.number != guards->poison.number) {
                        guards->poison.number = view.number;
                        guards->poison.at = guards->poison.span = 0;
                }
                if (guards->poison.at >= view.length) {
                        guards->poison.number++;
                        guards->poison.at = guards->poison.span = 0;
                        mapping = mapping_younger(mapping);
                        continue;
                }
                if (go_on(guards, &view))
                        mapping = mapping_from(table, guards->poison.number);
                if (pl_now_us() >= until) {
                        guards->poison.due = pl_now_ms();
                        return;
                }
        }

        guards->poison.due = 0;
        if (guards->poison.again)
                begin(guards);
}

/* --- signals -------------------------------------------------------------------------------------------------------------- */

/* What the signal names is broken, whatever a fault says; its neighbours may be, and are reported with it. The kernel's
 * ssi_addr_lsb says how the page is mapped, which for fsdax is more than what is broken. */
static void take(struct guards *guards, uint64_t address) {
        const struct mapping_table *table = guards->config.mappings;
        const struct mapping *mapping = mapping_from(table, 1);

        for (; mapping; mapping = mapping_younger(mapping)) {
                struct mapping_view view = mapping_view(mapping);
                const struct guarded *file;
                struct piece piece;

                if (address < view.base || address - view.base >= view.length)
                        continue;
                file = guards_find(guards, view.dev, view.inode);
                if (!file)
                        return;
                piece = piece_at(&view, file, address - view.base);
                if (piece.n == 0)
                        return;
                if (file->class.dax || file->fd < 0 ||
                    residency_any(file->fd, piece.offset, piece.n * piece.page) >= 0)
                        look_at(file, &piece);
                piece.pages[(address - piece.start) / piece.page % piece.n] |= PAGE_BROKEN;
                (void)tell(guards, &view, &piece);
                return;
        }
}

/* Returns 1 if anything has come. */
static int receive(struct guards *guards) {
        struct signalfd_siginfo info[4];
        ssize_t size;

        do
                size = read(guards->signals, info, sizeof info);
        while (size < 0 && errno == EINTR);
        if (size < 0)
                return errno == EAGAIN ? 0 : -errno;

        /* Other codes are somebody's kill(2). It may have taken the place of a signal of the kernel's. */
        for (size_t i = 0; i < (size_t)size / sizeof *info; i++)
                if (info[i].ssi_code == BUS_MCEERR_AO || info[i].ssi_code == BUS_MCEERR_AR)
                        take(guards, info[i].ssi_addr);
        return size > 0;
}

/* Without CONFIG_MEMORY_FAILURE prctl() and signalfd() succeed all the same, and nothing would ever come. */
static int listen_to_kernel(int *ret_fd) {
        sigset_t set;
        int fd;

        if (faccessat(AT_FDCWD, "/proc/sys/vm/memory_failure_early_kill", F_OK, 0) < 0 ||
            prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) < 0)
                return PINLEASE_GUARD_UNSUPPORTED;

        /* Blocked, it still ends the process if that itself touches a broken page; which it does not. */
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGBUS);
        fd = sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -1 : signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (fd < 0)
                return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? PINLEASE_GUARD_NO_RESOURCES
                                                                             : PINLEASE_GUARD_UNSUPPORTED;
        *ret_fd = fd;
        return PINLEASE_GUARD_HOLDS;
}

/* --- the table ------------------------------------------------------------------------------------------------------------ */

static int poison_look(struct guards *guards, struct guarded *file) {
        int r = PINLEASE_GUARD_HOLDS;

        /* Nothing of it is mapped here: its exporter alone hears of it. */
        if (file->class.kind == PL_FD_DMABUF)
                return PINLEASE_GUARD_NOT_FOR_THIS;
        if (guards->signals < 0)
                r = listen_to_kernel(&guards->signals);
        if (r == PINLEASE_GUARD_HOLDS && file->class.kind == PL_FD_FILE && !file->class.dax)
                r = PINLEASE_GUARD_NOT_FOR_THIS;
        return r;
}

static void poison_disarm(struct guards *guards _unused_, struct guarded *file) {
        forget(file);
}

static int poison_fd(const struct guards *guards) {
        return guards->signals;
}

static int poison_event(struct guards *guards) {
        int r = guards->signals >= 0 ? receive(guards) : 0;

        if (r < 0)
                return r;
        if (r > 0 && guards->poison.due)
                guards->poison.again = true;
        else if (r > 0)
                begin(guards);
        if (guards->poison.due)
                walk(guards);
        return 0;
}

static uint64_t poison_due(const struct guards *guards) {
        return guards->poison.due;
}

static void poison_done(struct guards *guards) {
        guards->signals = pl_close(guards->signals);
        guards->poison.due = 0;
}

const struct guard_ops guard_poison = {
        .name = "poison",
        .arm = poison_look,
        .disarm = poison_disarm,
        .look = poison_look,
        .fd = poison_fd,
        .event = poison_event,
        .due = poison_due,
        .done = poison_done,
};
