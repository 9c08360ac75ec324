/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pattern.h"

#include <string.h>

#include "utf8.h"
#include "util.h"

/* --- components: a text is one or more, with a / between --- */

static size_t component(const char *text) {
        return (size_t)(strchrnul(text, '/') - text);
}

static bool is_deep(const char *pattern) {
        return pattern[0] == '*' && pattern[1] == '*' && (!pattern[2] || pattern[2] == '/');
}

static bool is_any(const char *pattern, size_t length) {
        return length == 1 && *pattern == '*';
}

static size_t component_of_pattern(const char *pattern) {
        return *pattern == '*' && (!pattern[1] || pattern[1] == '/') ? 1 : component(pattern);
}

/* How long the character is that one ? stands for. */
static size_t character(const char *text, size_t length) {
        uint32_t c;
        size_t n = pl_utf8_decode(text, length, &c);

        return n > 0 ? n : 1;
}

/* Only the last * is ever tried anew: what an earlier one would have to take instead, the last can take as well. */
static bool match_component(const char *pattern, size_t n_pattern, const char *text, size_t n_text) {
        size_t p = 0, t = 0, after_star = SIZE_MAX, star_text = 0;

        while (t < n_text) {
                if (p < n_pattern && pattern[p] == '*') {
                        if (++p == n_pattern)
                                return true;
                        after_star = p;
                        star_text = t;
                } else if (p < n_pattern && pattern[p] == '?') {
                        p++;
                        t += character(text + t, n_text - t);
                } else if (p < n_pattern && pattern[p] == text[t]) {
                        p++;
                        t++;
                } else if (after_star != SIZE_MAX) {
                        p = after_star;
                        star_text += character(text + star_text, n_text - star_text);
                        t = star_text;
                } else
                        return false;
        }
        while (p < n_pattern && pattern[p] == '*')
                p++;
        return p == n_pattern;
}

/* What follows the component and its slash; NULL: nothing, it was the last. */
static const char *next(const char *text) {
        text += component(text);
        return *text ? text + 1 : NULL;
}

/* Where the components begin that are not alike byte for byte; false: they can never match. Most texts are out by this. */
static bool skip_literal(const char **pattern, const char **text) {
        size_t n = 0, begin = 0;

        while ((*pattern)[n] && (*pattern)[n] != '*' && (*pattern)[n] != '?') {
                if ((*pattern)[n] != (*text)[n])
                        return false;
                if ((*pattern)[n++] == '/')
                        begin = n;
        }
        *pattern += begin;
        *text += begin;
        return true;
}

/* The same for whole components: only the last ** is ever tried anew. */
bool pattern_match(const char *pattern, const char *text) {
        const char *after_deep = NULL, *deep_text = NULL;

        if (!skip_literal(&pattern, &text))
                return false;
        while (text) {
                size_t n_pattern, n_text;

                /* Nothing that could take another part of the text, and not even the first byte is right: as most end. */
                if (!after_deep && pattern && *pattern != '*' && *pattern != '?' && *pattern != *text)
                        return false;
                n_pattern = pattern ? component_of_pattern(pattern) : 0;
                n_text = component(text);
                if (pattern && is_deep(pattern)) {
                        after_deep = next(pattern);
                        if (!after_deep)
                                return true; /* one component at least is left */
                        deep_text = text;
                        pattern = after_deep;
                } else if (pattern && (is_any(pattern, n_pattern) || match_component(pattern, n_pattern, text, n_text))) {
                        pattern = pattern[n_pattern] ? pattern + n_pattern + 1 : NULL;
                        text = text[n_text] ? text + n_text + 1 : NULL;
                } else if (after_deep) {
                        deep_text = next(deep_text);
                        pattern = after_deep;
                        text = deep_text;
                } else
                        return false;
        }
        return !pattern;
}

/* --- what is a pattern --- */

static const char *wrong_component(const char *text, size_t n, bool last) {
        if (n == 0)
                return last ? "it ends with a /, as no path does" : "it has // in it, as no path does";
        if ((n == 1 && text[0] == '.') || (n == 2 && text[0] == '.' && text[1] == '.'))
                return "it has a component . or .., as no path does";
        for (size_t i = 0; n > 2 && i + 1 < n; i++)
                if (text[i] == '*' && text[i + 1] == '*')
                        return "** stands for whole components: write /**/ or /** at the end";
        return NULL;
}

const char *pattern_wrong(const char *pattern, enum pattern_kind kind) {
        if (!*pattern)
                return "it is empty";
        if (strlen(pattern) > PATTERN_MAX)
                return "it is longer than 1024 bytes";
        if (kind == PATTERN_NAME) {
                if (strchr(pattern, '/'))
                        return "it has a / in it, as no such name does";
                return wrong_component(pattern, strlen(pattern), true);
        }
        if (pattern[0] != '/')
                return "it does not begin with a /";
        if (!pattern[1])
                return NULL; /* the root */
        for (const char *rest = pattern + 1; rest; rest = next(rest)) {
                const char *why = wrong_component(rest, component(rest), !next(rest));

                if (why)
                        return why;
        }
        return NULL;
}

/* --- covering --- */

static bool is_literal(const char *pattern, size_t n) {
        return !memchr(pattern, '*', n) && !memchr(pattern, '?', n);
}

bool pattern_covers(const char *wide, const char *narrow) {
        size_t n = strlen(wide);

        if (strcmp(wide, narrow) == 0)
                return true;
        if (is_literal(narrow, strlen(narrow)))
                return pattern_match(wide, narrow);
        /* All that is below a folder: whatever begins with its path and a slash, and is not that alone, as no pattern
         * is. */
        if (n >= 3 && strcmp(wide + n - 3, "/**") == 0 && is_literal(wide, n - 2))
                return strncmp(wide, narrow, n - 2) == 0;
        return strcmp(wide, "*") == 0 && !strchr(narrow, '/');
}
