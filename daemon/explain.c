/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-explain: the program behind `pinleasectl explain`. It needs no service, no device and no right but to look
 * at the file. */

#include "explain.h"

#include <err.h>
#include <string.h>

#include "policy-load.h"

/* As pinleased does: a grace time that does not fit is an error of the policy. */
static uint32_t read_lease_break_ms(void) {
        FILE *f = fopen("/proc/sys/fs/lease-break-time", "re");
        unsigned int seconds = 45;

        if (f && fscanf(f, "%u", &seconds) != 1)
                seconds = 45;
        if (f)
                (void)fclose(f);
        return seconds * 1000;
}

/* What is not installed may be anybody's, and is asked about only. */
static struct policy_block *load(const char *folder) {
        const struct policy_source source = {
                .folder = folder ? folder : POLICY_FOLDER,
                .check_owner = !folder,
                .lease_break_ms = read_lease_break_ms(),
                .generation = 1,
        };
        struct policy_problems problems = { 0 };
        struct policy_block *block = NULL;
        int r;

        /* Without files there is the built-in policy: not what is meant by a folder that was mistyped. */
        if (folder && access(folder, F_OK) < 0) {
                warn("--policy");
                return NULL;
        }
        r = policy_load(&source, &problems, &block);
        for (size_t i = 0; r < 0 && i < problems.n; i++) {
                _cleanup_(pl_freep) char *line =
                        problems.list[i].warning ? NULL : policy_problem_format(problems.list + i);

                if (line)
                        warnx("%s", line);
        }
        if (r < 0 && problems.n_errors == 0)
                warnx("the policy cannot be loaded: %s", strerror(-r));
        policy_problems_done(&problems);
        return r < 0 ? NULL : block;
}

static int explain(struct explanation *e) {
        const struct explain_options *o = e->options;
        int r = explain_find(e);

        if (r < 0 && o->path) {
                _cleanup_(pl_freep) char *path = explain_harmless(o->path);

                warnx("%s: %s", path, strerror(-r));
                return EXPLAIN_NO_ANSWER;
        }
        if (r < 0) {
                warnx("descriptor %u of process %d: %s", o->fd, (int)o->pid, strerror(-r));
                return EXPLAIN_NO_ANSWER;
        }
        explain_answer(e);
        r = o->json ? explain_print_json(e, stdout) : explain_print_text(e, stdout);
        if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
                r = -EIO;
        if (r < 0) {
                warnx("standard output: %s", strerror(-r));
                return EXPLAIN_NO_ANSWER;
        }
        return e->result < 0 ? EXPLAIN_REFUSED : EXPLAIN_ALLOWED;
}

int main(int argc, char *argv[]) {
        static struct explanation e;
        struct explain_options options;
        struct subject subject;
        _cleanup_(pl_freep) struct policy_block *policy = NULL;
        int r;

        r = explain_options_parse(argc, argv, &options);
        if (r >= 0)
                return r;
        r = explain_subject(&options, &subject);
        if (r < 0)
                errx(EXPLAIN_NO_ANSWER, "process %d: %s", (int)options.pid, strerror(-r));
        policy = load(options.policy);
        e = (struct explanation) { .options = &options, .policy = policy, .subject = &subject.policy };
        r = policy ? explain(&e) : EXPLAIN_NO_ANSWER;
        if (policy)
                explain_done(&e);
        subject_done(&subject);
        explain_options_done(&options);
        return r;
}
