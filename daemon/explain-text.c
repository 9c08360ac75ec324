/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-explain: for people. */

#include "explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Rules that do not match: those right before the one that decided say most. */
#define MAX_RULES 20

/* A part that is not there has no line. */
static void pair(FILE *out, const char *label, const char *format, ...) _printf_(3, 4);

static void pair(FILE *out, const char *label, const char *format, ...) {
        va_list ap;

        (void)fprintf(out, "  %-10s ", label);
        va_start(ap, format);
        (void)vfprintf(out, format, ap);
        va_end(ap);
        (void)fputc('\n', out);
}

/* "dmabuf, odp (unsound), pinned"; good until the next call. */
static const char *methods_text(unsigned int methods, unsigned int unsound) {
        static const enum pinlease_method order[] = { PINLEASE_METHOD_DMABUF, PINLEASE_METHOD_ODP, PINLEASE_METHOD_PINNED };
        static char text[sizeof "dmabuf, odp (unsound), pinned"];
        int n = 0;

        text[0] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(order); i++)
                if (methods & order[i])
                        n += snprintf(text + n,
                                      sizeof text - (size_t)n,
                                      "%s%s%s",
                                      n ? ", " : "",
                                      pl_method_name(order[i]),
                                      unsound & order[i] ? " (unsound)" : "");
        return text;
}

#define COLUMNS 80

/* Between words; a word that is too long has a line of its own. */
static void print_wrapped(const char *text, FILE *out) {
        size_t column = 0;

        while (*text) {
                size_t n = strcspn(text, " ");

                if (column > 0 && column + 1 + n > COLUMNS) {
                        (void)fputc('\n', out);
                        column = 0;
                }
                (void)fprintf(out, "%s%.*s", column ? " " : "  ", (int)n, text);
                column += n + (column ? 1 : 2);
                text += n + strspn(text + n, " ");
        }
        (void)fputc('\n', out);
}

static void print_verdict(const struct explanation *e, const char *name, FILE *out) {
        if (e->result == 0) {
                (void)fprintf(out, "%s: would be registered", name);
                for (unsigned int i = 0; i < e->decision.n_methods; i++)
                        (void)fprintf(out,
                                      "%s%s",
                                      i ? "; where the device cannot, " : ", ",
                                      pl_method_name(e->decision.methods[i]));
                (void)fputc('\n', out);
                return;
        }
        _cleanup_(pl_freep) char *sentence = explain_harmless(e->refusal.sentence);

        (void)fprintf(out, "%s: refused, %s\n", name, pl_code_name(e->refusal.code));
        print_wrapped(sentence, out);
}

static void print_memory(const struct explanation *e, FILE *out) {
        const char *what = pl_fdclass_name(&e->class);

        if (e->class.kind == PL_FD_HANGING) {
                _cleanup_(pl_freep) char *type = explain_harmless(e->found.type);

                if (*type)
                        pair(out, "memory", "a file on %s", type);
                else
                        pair(out, "memory", "%s", what);
        } else if (e->has_backing)
                pair(out, "memory", "%s: %s, %" PRIu64 " bytes", pl_backing_name(e->backing), what, e->class.size);
        else
                pair(out, "memory", "%s", what);
        if (e->class.kind == PL_FD_DMABUF)
                pair(out, "exporter", "%s", e->exporter_known ? e->exporter : "not known");
        if (e->place.known) {
                _cleanup_(pl_freep) char *path = explain_harmless(e->place.path);

                pair(out,
                     "place",
                     "%s%s",
                     path,
                     e->place.certain || !e->policy->paths ? ""
                                                           : " (not certain: rules that allow a path do not match it)");
        }
}

static void print_request(const struct explanation *e, FILE *out) {
        const struct policy_subject *subject = e->subject;

        pair(out,
             "request",
             "%s, bytes %" PRIu64 " to %" PRIu64 ", accepting %s",
             e->question.writable ? "write" : "read",
             e->request.offset,
             pl_range_end(e->request.offset, e->request.length),
             methods_text(e->question.accepted, 0));
        (void)fprintf(out, "  %-10s %" PRIu32, "user", (uint32_t)subject->uid);
        for (size_t i = 0; i < subject->n_gids && i < 16; i++)
                (void)fprintf(out, "%s%" PRIu32, i ? ", " : "; groups ", (uint32_t)subject->gids[i]);
        (void)fputs(subject->n_gids > 16 ? ", …" : "", out);
        if (subject->cgroup && e->policy->cgroups) {
                _cleanup_(pl_freep) char *cgroup = explain_harmless(subject->cgroup);

                (void)fprintf(out, "; control group %s", cgroup);
        }
        (void)fputc('\n', out);
}

static void print_device(const struct explanation *e, FILE *out) {
        _cleanup_(pl_freep) char *name = explain_harmless(e->question.device ? e->question.device : "");
        const char *methods = methods_text(e->question.offered, e->question.unsound);

        if (e->device_assumed && *name)
                pair(out, "device", "%s, which is not here: %s assumed", name, methods);
        else if (e->device_assumed)
                pair(out, "device", "none here: %s assumed", methods);
        else
                pair(out, "device", "%s%s%s", name, *name ? ": " : "", methods);
}

static void print_time(FILE *out, uint32_t ms) {
        if (ms % 1000 == 0)
                (void)fprintf(out, "%" PRIu32 "s", ms / 1000);
        else
                (void)fprintf(out, "%" PRIu32 "ms", ms);
}

static void print_rule_name(const struct explanation *e, const struct policy_rule *rule, int width, FILE *out) {
        _cleanup_(pl_freep) char *name = explain_harmless(policy_text(e->policy, rule->name));
        _cleanup_(pl_freep) char *file = explain_harmless(policy_text(e->policy, rule->file));

        (void)fprintf(out, "%-*s  ", width, *name ? name : "-");
        if (rule->builtin)
                (void)fputs("built in", out);
        else
                (void)fprintf(out, "%s:%" PRIu32 ":%" PRIu32, file, rule->line, rule->column);
}

static void print_rule(const struct explanation *e, FILE *out) {
        if (!e->asked)
                return;
        if (!e->rule) {
                pair(out, "rule", "none matches");
                return;
        }
        (void)fprintf(out, "  %-10s ", "rule");
        print_rule_name(e, e->rule, 0, out);
        (void)fputc('\n', out);
        if (e->result < 0)
                return;

        (void)fprintf(out,
                      "  %-10s %s, grace ",
                      "on change",
                      e->rule->on_layout_change == POLICY_LAYOUT_NOTIFY && e->decision.methods[0] == PINLEASE_METHOD_ODP
                              ? "notify"
                              : "revoke");
        print_time(out, e->rule->grace_ms);
        (void)fprintf(out, "; last force: %s\n", e->rule->force == POLICY_FORCE_KILL ? "kill" : "stop");
        if (e->rule->prefetch && e->decision.methods[0] == PINLEASE_METHOD_ODP)
                pair(out, "prefetch", "yes");
}

static void print_guards(const struct explanation *e, FILE *out) {
        static const char *const words[] = {
                [FORECAST_HOLDS] = "yes",
                [FORECAST_PERHAPS] = "perhaps",
                [FORECAST_NOT] = "no",
        };

        /* Whoever is refused for something else has nothing of them. */
        if (e->result < 0 && e->refusal.code != PINLEASE_CODE_NO_GUARD)
                return;
        for (unsigned int i = 0; e->has_backing && i < N_GUARDS; i++)
                pair(out,
                     i ? "" : "guards",
                     "%-7s %-8s %s%s",
                     pl_guard_name(1U << i),
                     words[e->guards[i].forecast],
                     e->rule && e->rule->guards & 1U << i ? "(required) " : "",
                     e->guards[i].why);
}

static void print_ways(const struct explanation *e, FILE *out) {
        for (size_t i = 0; i < e->n_ways; i++) {
                _cleanup_(pl_freep) char *text = explain_way_text(e->ways + i);

                pair(out, i ? "" : "instead", "%s", text);
        }
}

static void print_others(const struct explanation *e, FILE *out) {
        const struct policy_rule *rules = policy_rules(e->policy);
        uint32_t n = e->rule ? (uint32_t)(e->rule - rules) : e->policy->n_rules,
                 first = n > MAX_RULES ? n - MAX_RULES : 0;
        int width = 1;

        if (!e->asked || n == 0)
                return;
        for (uint32_t i = first; i < n; i++) {
                _cleanup_(pl_freep) char *name = explain_harmless(policy_text(e->policy, rules[i].name));

                if ((int)strlen(name) > width)
                        width = (int)strlen(name);
        }
        (void)fputs(e->rule ? "Rules before it, which do not match:\n" : "Rules, none of which matches:\n", out);
        if (first > 0)
                (void)fprintf(out, "  (%" PRIu32 " more)\n", first);
        for (uint32_t i = first; i < n; i++) {
                enum policy_mismatch mismatch = policy_match(e->policy, rules + i, e->subject, &e->question);
                _cleanup_(pl_freep) char *wanted = explain_wanted(e, rules + i, mismatch);

                (void)fputs("  ", out);
                print_rule_name(e, rules + i, width, out);
                (void)fprintf(out,
                              "  %s: %s%s\n",
                              mismatch == POLICY_UNCERTAIN_PATH ? "path" : explain_mismatch_name(mismatch),
                              wanted,
                              mismatch == POLICY_UNCERTAIN_PATH ? " (the file's place is not certain)" : "");
        }
}

int explain_print_text(const struct explanation *e, FILE *out) {
        char descriptor[64];
        _cleanup_(pl_freep) char *name = NULL;

        (void)snprintf(
                descriptor, sizeof descriptor, "descriptor %u of process %d", e->options->fd, (int)e->options->pid);
        name = explain_harmless(e->options->path ? e->options->path : descriptor);
        print_verdict(e, name, out);
        print_memory(e, out);
        if (e->has_backing) {
                print_request(e, out);
                print_device(e, out);
        }
        print_rule(e, out);
        print_guards(e, out);
        print_ways(e, out);
        print_others(e, out);
        return 0;
}
