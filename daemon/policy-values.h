/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_VALUES_H
#define PL_POLICY_VALUES_H

/* What values of a policy can be. Each function is a policy_read_fn: what `what` of its key points to, and what the
 * target is, is said here. */

#include "policy-reader.h"

/* For sizes, counts and times. */
struct policy_bounds {
        uint64_t min, max;
        bool none; /* "none" is right as well, and is the largest number that the target can be: no limit */
};

struct policy_word {
        const char *name; /* NULL: the end */
        uint32_t value;
};

void policy_read_size(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      void *target); /* bounds; uint64_t */
void policy_read_count(struct policy_reader *reader,
                       uint32_t node,
                       const struct policy_key *key,
                       void *target); /* bounds; uint64_t */
void policy_read_count32(struct policy_reader *reader,
                         uint32_t node,
                         const struct policy_key *key,
                         void *target); /* bounds; uint32_t */
void policy_read_time(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      void *target); /* bounds; uint32_t, ms */
void policy_read_flag(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      void *target); /* -; uint8_t */

/* One word, or several whose values are put together. */
void policy_read_word(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      void *target); /* words; uint8_t */
void policy_read_words(struct policy_reader *reader,
                       uint32_t node,
                       const struct policy_key *key,
                       void *target); /* words; uint32_t */

/* Different words in their order. */
struct policy_order {
        uint8_t n;
        uint8_t values[POLICY_MAX_METHODS];
};
void policy_read_order(struct policy_reader *reader,
                       uint32_t node,
                       const struct policy_key *key,
                       void *target); /* words; struct policy_order */

/* Into the block. */
void policy_read_name(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      void *target); /* -; uint32_t */
void policy_read_message(struct policy_reader *reader,
                         uint32_t node,
                         const struct policy_key *key,
                         void *target); /* -; uint32_t */
void policy_read_patterns(struct policy_reader *reader,
                          uint32_t node,
                          const struct policy_key *key,
                          void *target); /* enum pattern_kind; policy_list */
void policy_read_ids(struct policy_reader *reader,
                     uint32_t node,
                     const struct policy_key *key,
                     void *target); /* -; policy_list */
void policy_read_fs_types(struct policy_reader *reader,
                          uint32_t node,
                          const struct policy_key *key,
                          void *target); /* -; policy_list */

#define POLICY_MAX_MESSAGE 300 /* bytes */

#endif
