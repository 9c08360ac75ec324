/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_H
#define PL_POLICY_H

/*
 * Which ways of registering are right for this memory, for this user, best first: a pure function of a policy, who asks, and what.
 * No system call, no allocation, no state. The first rule that matches decides; the built-in ones (policy-default.json) stand below
 * the administrator's. Whatever a rule says, what the kernel forbids stays forbidden:
 *
 *   file-system DAX      never pinned          "vfio/type1, dax: disallow long-term file-system-DAX pins", get_user_pages_longterm()
 *   page cache           never, for writing    "mm/gup: disallow FOLL_LONGTERM writing to file-backed mappings" (Linux 6.5); older
 *                                              kernels would let it through and lose data at writeback, so it is refused here
 *   page cache, reading  by rule only          the kernel allows it, but the file can be truncated under the pin
 *   shmem, hugetlb       yes                   no dirty tracking, no write-protection by writeback
 *   device-dax           yes                   no file system, which could want the memory back
 *   private memory       by a rule that names  the kernel allows it, but its owner's RLIMIT_MEMLOCK has to be raised for it, see
 *                        it                    memlock.h
 *   dma-buf              -                     its exporter maps it: it is not memory of a process
 */

#include <stdbool.h>
#include <sys/types.h>

#include "policy-block.h"
#include "refusal.h"

/* Who asks. Texts and lists are borrowed. */
struct policy_subject {
        uid_t uid;
        const gid_t *gids; /* all of its groups */
        size_t n_gids;
        const char *cgroup; /* "/system.slice/…", of the unified hierarchy; NULL: not known, which no pattern matches */
};

struct policy_question {
        enum pinlease_backing backing;
        bool writable;
        uint64_t length;     /* bytes */
        uint64_t fs_type;    /* statfs(2) f_type; 0 where there is none */
        const char *device;  /* the RDMA device's name; NULL: not known, which no pattern matches */
        const char *exporter; /* who has made the dma-buf; NULL: not known, or it is none */
        const char *path;    /* NULL: the memory has none */
        bool path_is_certain; /* the path is the only place of the file, and has been looked up again. A rule that allows asks for
                               * that; one that refuses does not: whoever could change the name could also copy the file */
        unsigned int accepted; /* enum pinlease_method: what the app would take */
        unsigned int offered;  /* enum pinlease_method: what the device has */
        unsigned int unsound;  /* enum pinlease_method: what it has but does wrong; only for an app that accepts nothing else */
};

struct policy_decision {
        const struct policy_rule *rule; /* in the block */
        unsigned int n_methods;
        enum pinlease_method methods[POLICY_MAX_METHODS]; /* to be tried in this order */
};

/* Returns 0 or REFUSED. */
int policy_decide(const struct policy_block *policy,
                  const struct policy_subject *subject,
                  const struct policy_question *question,
                  struct policy_decision *ret_decision,
                  struct refusal *ret_refusal);

/* What of it a rule does not match, the first of it. */
enum policy_mismatch {
        POLICY_MATCHES,
        POLICY_OTHER_BACKING,
        POLICY_OTHER_ACCESS,
        POLICY_OTHER_SIZE,
        POLICY_OTHER_FS_TYPE,
        POLICY_OTHER_UID,
        POLICY_OTHER_GID,
        POLICY_OTHER_DEVICE,
        POLICY_OTHER_EXPORTER,
        POLICY_OTHER_CGROUP,
        POLICY_OTHER_PATH,
        POLICY_UNCERTAIN_PATH,
};

enum policy_mismatch policy_match(const struct policy_block *policy,
                                  const struct policy_rule *rule,
                                  const struct policy_subject *subject,
                                  const struct policy_question *question);

/* The enum pinlease_methods that the kernel never allows for such memory, whatever a rule says. */
unsigned int policy_kernel_forbids(enum pinlease_backing backing, bool writable);

#endif
