/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "question.h"

#include "backing.h"
#include "dmabuf.h"

int question_ask(const struct registrar_state *state,
                 const struct question_of *of,
                 struct policy_decision *ret_decision,
                 struct refusal *ret_refusal) {
        struct policy_question question = {
                .backing = of->backing,
                .writable = backing_access_writable(of->access),
                .length = of->length,
                .fs_type = of->class->fs_magic,
                .device = of->context->name[0] ? of->context->name : NULL,
                .accepted = of->accepted,
                .offered = of->context->methods,
                .unsound = of->context->unsound,
        };
        struct place place;

        if (state->policy->paths && of->fd >= 0) {
                place_find(of->fd, of->class, &place);
                question.path = place.known ? place.path : NULL;
                question.path_is_certain = place.certain;
        }
        if (of->backing == PINLEASE_BACKING_DMABUF && of->name)
                question.exporter = pl_dmabuf_exporter_of_name(of->name);
        return policy_decide(state->policy, &state->subject, &question, ret_decision, ret_refusal);
}

struct terms question_terms(const struct policy_rule *rule, enum pinlease_method method) {
        return (struct terms) {
                .grace_ms = rule->grace_ms,
                .notify = rule->on_layout_change == POLICY_LAYOUT_NOTIFY && method == PINLEASE_METHOD_ODP,
                .kill = rule->force == POLICY_FORCE_KILL,
        };
}
