/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "harness.h"
#include "leftovers.h"
#include "process.h"

#define PAGE UINT64_C(4096)

struct problem {
        char *text;
        size_t size;
};

bool audit_differs(char *text, size_t size, const char *what, uint64_t is, uint64_t should) {
        if (is == should)
                return false;
        (void)snprintf(text, size, "%s: %" PRIu64 ", should be %" PRIu64, what, is, should);
        return true;
}

static bool differs(const struct problem *problem, const char *what, uint64_t is, uint64_t should) {
        return audit_differs(problem->text, problem->size, what, is, should);
}

static bool session_is_right(const struct problem *p, const struct view_session *s, const struct amount *should) {
        struct rlimit limit = { 0 };
        char value[32] = "";

        if (differs(p, "pinned, says pinleased", s->in_use.pinned, should->pinned) ||
            differs(p, "ODP, says pinleased", s->in_use.odp, should->odp) ||
            differs(p, "registrations, says pinleased", s->in_use.registrations, should->registrations) ||
            differs(p, "registrations that are listed", s->n_registrations, should->registrations))
                return false;
        if (!process_status(s->registrar, "VmPin", value, sizeof value) ||
            differs(p, "VmPin of the registrar", strtoull(value, NULL, 10) << 10, should->pinned))
                return false;
        if (prlimit(s->registrar, RLIMIT_MEMLOCK, NULL, &limit) < 0 ||
            differs(p, "RLIMIT_MEMLOCK of the registrar", limit.rlim_cur, s->credit.pinned))
                return false;
        if (s->credit.pinned >= should->pinned && s->credit.odp >= should->odp &&
            s->credit.registrations >= should->registrations)
                return true;
        (void)snprintf(p->text, p->size, "a session holds less than it uses: %s", amount_text(&s->credit));
        return false;
}

/* The status's sums are those of the list. */
static bool sums_are_right(const struct problem *p, const struct status *status, const struct amount *credit) {
        struct amount users = { 0 };

        for (unsigned int i = 0; i < status->n_users; i++)
                amount_add(&users, &status->users[i].credit);
        if (amount_equal(&status->credit, credit) && amount_equal(&users, credit))
                return true;
        (void)snprintf(p->text, p->size, "the status's sums are others than those of the list");
        return false;
}

bool audit_is_right(const char *directory, const struct audited *apps, size_t n, char *text, size_t size) {
        const struct problem problem = { text, size };
        struct amount credit = { 0 }, use = { 0 };
        static struct view view;
        uint64_t own = 0;
        struct status status;

        view_list(directory, &view);
        view_status(directory, &status);
        if (differs(&problem, "sessions", view.n, n) || differs(&problem, "sessions of the status", status.sessions, n))
                return false;
        for (size_t i = 0; i < n; i++) {
                const struct view_session *s = view_of(&view, apps[i].app);

                if (!session_is_right(&problem, s, &apps[i].should))
                        return false;
                amount_add(&credit, &s->credit);
                amount_add(&use, &apps[i].should);
                own += apps[i].own;
        }
        if (!sums_are_right(&problem, &status, &credit))
                return false;
        if (!amount_equal(&status.in_use, &use)) {
                (void)snprintf(text, size, "in use, says the status: %s", amount_text(&status.in_use));
                return false;
        }
        return !differs(
                &problem, "bytes that the kernel has pinned", (uint64_t)leftovers_pinned() * PAGE, use.pinned + own);
}
