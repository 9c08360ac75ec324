/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fds.h"

#include <fcntl.h>
#include <unistd.h>

#include "util.h"

void fds_close_except(const int *keep, size_t n_keep) {
        unsigned int from = 0;

        /* From one kept descriptor to the next higher one. */
        for (;;) {
                unsigned int next = ~0U;

                for (size_t i = 0; i < n_keep; i++)
                        if (keep[i] >= 0 && (unsigned int)keep[i] >= from && (unsigned int)keep[i] < next)
                                next = (unsigned int)keep[i];
                if (next > from)
                        (void)close_range(from, next - 1, 0);
                if (next == ~0U)
                        return;
                from = next + 1;
        }
}

int fds_arrange(const int *fds, size_t n_fds) {
        int above[8];

        if (n_fds > ELEMENTSOF(above))
                return -E2BIG;

        /* First out of the way of the places, then into them. */
        for (size_t i = 0; i < n_fds; i++) {
                above[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 3 + (int)n_fds);
                if (fds[i] >= 0 && above[i] < 0)
                        return -errno;
        }
        for (size_t i = 0; i < n_fds; i++) {
                if (above[i] < 0)
                        pl_close(3 + (int)i);
                else if (dup2(above[i], 3 + (int)i) < 0)
                        return -errno;
        }
        return close_range(3 + (unsigned int)n_fds, ~0U, 0) < 0 ? -errno : 0;
}
