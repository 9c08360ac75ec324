/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "terminal.h"

#include <err.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "pinleasectl.h"
#include "text.h"

static bool wants_colour(const struct terminal *terminal) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

        return terminal->is_terminal && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}

static void find_size(struct terminal *terminal) {
        const char *given = getenv("COLUMNS");
        struct winsize size = { 0 };
        long columns = 0;

        if (terminal->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
                columns = size.ws_col;
                terminal->rows = size.ws_row;
        }
        if (given && *given >= '1' && *given <= '9')
                columns = strtol(given, NULL, 10);
        terminal->columns = columns < TERMINAL_COLUMNS       ? TERMINAL_COLUMNS
                            : columns > TERMINAL_COLUMNS_MAX ? TERMINAL_COLUMNS_MAX
                                                             : (int)columns;
}

void terminal_init(struct terminal *terminal, enum colour colour) {
        *terminal = (struct terminal) { .is_terminal = isatty(STDOUT_FILENO) == 1, .room = -1 };
        terminal->coloured = colour == COLOUR_ALWAYS || (colour == COLOUR_AUTO && wants_colour(terminal));
        find_size(terminal);
}

void terminal_begin_picture(struct terminal *terminal, bool first) {
        terminal->hidden = 0;
        if (!terminal->is_terminal) {
                if (!first)
                        (void)putchar('\n');
                return;
        }
        /* The window may have changed. Two lines are left for what did not fit, and the cursor. */
        find_size(terminal);
        terminal->room = terminal->rows > 4 ? terminal->rows - 2 : -1;
        (void)fputs("\033[H\033[2J", stdout);
}

void terminal_end_picture(struct terminal *terminal) {
        if (terminal->hidden > 0)
                (void)printf("(and %" PRIu64 " more lines)\n", terminal->hidden);
}

void terminal_line(struct terminal *terminal, const char *sgr, const char *format, ...) {
        va_list args;

        if (terminal->room == 0) {
                terminal->hidden++;
                return;
        }
        if (terminal->room > 0)
                terminal->room--;

        if (sgr && terminal->coloured)
                (void)fputs(sgr, stdout);
        va_start(args, format);
        (void)vprintf(format, args);
        va_end(args);
        (void)fputs(sgr && terminal->coloured ? "\033[0m\n" : "\n", stdout);
}

void terminal_pair(struct terminal *terminal, int indent, const char *label, const char *value) {
        int left = indent + TERMINAL_LABEL, room = terminal->columns - left;

        do {
                size_t n = text_prefix(value, room);
                size_t blank = n;

                /* At a blank, if there is one in the second half. */
                if (value[n])
                        while (blank > n / 2 && value[blank] != ' ')
                                blank--;
                if (value[n] && blank > n / 2)
                        n = blank;
                terminal_line(terminal, NULL, "%*s%-*s%.*s", indent, "", left - indent, label, (int)n, value);
                value += n;
                value += *value == ' ' && n > 0;
                label = "";
        } while (*value);
}

void terminal_pairf(struct terminal *terminal, int indent, const char *label, const char *format, ...) {
        _cleanup_(pl_freep) char *value = NULL;
        va_list args;
        int r;

        va_start(args, format);
        r = vasprintf(&value, format, args);
        va_end(args);
        if (r < 0)
                err(STATUS_FAILED, "%s", label);
        terminal_pair(terminal, indent, label, value);
}
