/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pinleasectl.h"

#include <err.h>
#include <stdio.h>
#include <time.h>

#include "adminclient.h"
#include "text.h"

static void pause_for(uint64_t ms) {
        struct timespec ts = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

        while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
                ;
}

/* What has been written is of no use if it has not arrived. */
static void flush(void) {
        if (fflush(stdout) != 0 || ferror(stdout))
                err(STATUS_FAILED, "standard output");
}

/* The service may be replaced while one watches: once it has been seen, that it is away ends nothing. */
static enum status watch(struct context *context) {
        const struct options *o = context->options;

        /* A picture at once, not line by line. */
        if (context->terminal.is_terminal)
                (void)setvbuf(stdout, NULL, _IOFBF, 65536);

        for (bool first = true;; first = false) {
                enum status status;

                if (!o->json)
                        terminal_begin_picture(&context->terminal, first);
                status = o->command->run(context);
                terminal_end_picture(&context->terminal);
                flush();
                if (status != STATUS_OK && (first || status == STATUS_NOT_PERMITTED))
                        return status;
                pause_for(o->watch_ms);
        }
}

int main(int argc, char *argv[]) {
        struct options options;
        struct context context = { .options = &options };
        int r;

        r = options_find_explain(argc, argv);
        if (r > 0)
                return (int)explain_exec(argc, argv, r);
        text_init();
        r = options_parse(argc, argv, &options);
        if (r >= 0) {
                flush();
                return r;
        }

        terminal_init(&context.terminal, options.colour);
        r = (int)(options.watch_ms ? watch(&context) : options.command->run(&context));
        context.admin = admin_close(context.admin);
        flush();
        return r;
}
