/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "question.h"

#include <string.h>

#include "backing.h"
#include "dmabuf.h"

_Static_assert(sizeof PL_DMABUF_NAME_PREFIX - 1 + PL_DMABUF_EXPORTER_MAX <= LEDGER_NAME_MAX, "a name is kept whole");

/* NULL: not known, or there is none. What could not be looked at is another matter: whoever uses up what his session
 * has would be out of reach of rules that refuse. */
static int find_exporter(const struct question_of *of,
                         char room[PL_DMABUF_EXPORTER_MAX],
                         const char **ret_exporter,
                         struct refusal *ret_refusal) {
        const char *exporter = NULL;
        int r = 0;

        if (of->backing == PINLEASE_BACKING_DMABUF && of->fd < 0)
                exporter = of->name ? pl_dmabuf_exporter_of_name(of->name) : NULL;
        else if (of->backing == PINLEASE_BACKING_DMABUF) {
                r = pl_dmabuf_exporter(of->fd, room);
                exporter = r == 0 ? room : NULL;
        }
        if (r < 0 && r != -ENODATA && r != -EBADMSG)
                return refuse_errno(
                        ret_refusal,
                        PINLEASE_CODE_KERNEL,
                        r,
                        "Who has made this dma-buf could not be found out (%s), and there are rules that ask for it. "
                        "Deregister some memory, or try again.",
                        strerror(-r));
        *ret_exporter = exporter;
        return 0;
}

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
        char exporter[PL_DMABUF_EXPORTER_MAX];
        struct place place;
        int r;

        if (state->policy->paths && of->fd >= 0) {
                place_find(of->fd, of->class, &place);
                question.path = place.known ? place.path : NULL;
                question.path_is_certain = place.certain;
        }
        if (state->policy->exporters) {
                r = find_exporter(of, exporter, &question.exporter, ret_refusal);
                if (r < 0)
                        return r;
        }
        return policy_decide(state->policy, &state->subject, &question, ret_decision, ret_refusal);
}

struct terms question_terms(const struct policy_rule *rule, enum pinlease_method method) {
        return (struct terms) {
                .grace_ms = rule->grace_ms,
                .notify = rule->on_layout_change == POLICY_LAYOUT_NOTIFY && method == PINLEASE_METHOD_ODP,
                .kill = rule->force == POLICY_FORCE_KILL,
        };
}
