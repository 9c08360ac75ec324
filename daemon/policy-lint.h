/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_LINT_H
#define PL_POLICY_LINT_H

/* What is right as a policy and still will not do what its author meant: warnings. */

#include "policy-reader.h"

/* Of a rule by itself; the node is the key's value. */
void policy_lint_match(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule);
void policy_lint_guards(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule);
void policy_lint_methods(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule);
void policy_lint_prefetch(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule);

/* Does `first` match all that `second` matches? Says no where that is hard to say. Texts are those of the block in the
 * making, at `data`. Takes what it costs from *steps, and says no when nothing is left. */
bool policy_lint_covers(const char *data,
                        const struct policy_rule *first,
                        const struct policy_rule *second,
                        uint64_t *steps);

#endif
