/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "openmetrics_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "testing.h"

#define MAX_FAMILIES 64
#define MAX_SAMPLES  1024

struct state {
        char families[MAX_FAMILIES][128]; /* the last one is the present one */
        unsigned int n_families;
        char type[16];
        bool unit, help, samples;

        /* Names with labels, of the present family */
        char seen[MAX_SAMPLES][256];
        unsigned int n_seen;

        /* The histogram whose buckets are being read */
        char labels[256];
        double le, bucket, count;
        bool in_buckets, complete, has_count, has_sum;
};

static bool is_name(const char *text, size_t length) {
        static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
        size_t i;

        if (length == 0 || !strchr(first, text[0]))
                return false;
        for (i = 1; i < length; i++)
                if (!strchr(first, text[i]) && !(text[i] >= '0' && text[i] <= '9'))
                        return false;
        return true;
}

static bool ends_with(const char *text, const char *end) {
        return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static const char *finish_histogram(struct state *s) {
        if (s->in_buckets && !(s->complete && s->has_count && s->has_sum))
                return "a histogram without its +Inf bucket, its count or its sum";
        if (s->in_buckets && s->bucket != s->count)
                return "the count of a histogram is not its last bucket";
        s->in_buckets = false;
        return NULL;
}

static const char *begin_family(struct state *s, const char *name, const char *type) {
        static const char *const types[] = { "counter", "gauge", "histogram", "info" };
        const char *wrong = finish_histogram(s);
        bool known = false;

        if (wrong)
                return wrong;
        if (s->n_families > 0 && !s->help)
                return "a family without HELP";
        if (!is_name(name, strlen(name)))
                return "not a name";
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                known = known || strcmp(type, types[i]) == 0;
        if (!known)
                return "an unknown type";
        for (unsigned int i = 0; i < s->n_families; i++)
                if (strcmp(s->families[i], name) == 0)
                        return "a family in two parts";
        if (ends_with(name, "_total") || ends_with(name, "_bucket") || ends_with(name, "_count") || ends_with(name, "_sum"))
                return "the name of a family ends as one of its samples would";
        if (s->n_families == MAX_FAMILIES)
                return "too many families for this test";
        (void)snprintf(s->families[s->n_families++], sizeof s->families[0], "%s", name);
        (void)snprintf(s->type, sizeof s->type, "%s", type);
        s->unit = s->help = s->samples = false;
        s->n_seen = 0;
        return NULL;
}

static const char *check_comment(struct state *s, const char *line) {
        char word[8], name[128], rest[512];

        if (sscanf(line, "# %7[A-Z] %127[^ ] %511[^\n]", word, name, rest) != 3)
                return "neither TYPE, UNIT, HELP nor EOF";
        if (strcmp(word, "TYPE") == 0)
                return begin_family(s, name, rest);
        if (s->n_families == 0 || strcmp(name, s->families[s->n_families - 1]) != 0)
                return "UNIT or HELP of another family";
        if (s->samples)
                return "UNIT or HELP after samples";
        if (strcmp(word, "UNIT") == 0) {
                if (s->unit || !ends_with(name, rest) || name[strlen(name) - strlen(rest) - 1] != '_')
                        return "a second unit, or one that the name does not end with";
                s->unit = true;
        } else if (strcmp(word, "HELP") == 0) {
                if (s->help)
                        return "a second HELP";
                s->help = true;
        } else
                return "neither TYPE, UNIT, HELP nor EOF";
        return NULL;
}

/* {name="value",…}; le is taken out, the others are copied to ret_labels. Returns what follows, or NULL. */
static const char *parse_labels(const char *p, char ret_labels[static 256], char ret_le[static 64]) {
        size_t n = 0;

        ret_labels[0] = ret_le[0] = 0;
        if (*p != '{')
                return p;
        do {
                const char *name = ++p, *value;
                size_t length;
                bool is_le;

                p += strcspn(p, "=\n");
                if (*p != '=' || !is_name(name, (size_t)(p - name)) || p[1] != '"')
                        return NULL;
                is_le = p - name == 2 && strncmp(name, "le", 2) == 0;
                for (value = p += 2; *p && *p != '"' && *p != '\n'; p++)
                        if (*p == '\\' && !strchr("\\\"n", *++p))
                                return NULL;
                if (*p != '"')
                        return NULL;
                length = (size_t)(p - value);
                p++;
                if (is_le && length < 64)
                        (void)snprintf(ret_le, 64, "%.*s", (int)length, value);
                else if (!is_le && n < 200)
                        n += (size_t)snprintf(ret_labels + n, 256 - n, "%.*s,", (int)(p - name), name);
        } while (*p == ',');
        return *p == '}' ? p + 1 : NULL;
}

/* As OpenMetrics wants le: a float that shows that it is one. */
static bool is_canonical(const char *le) {
        return strcmp(le, "+Inf") == 0 || (strpbrk(le, ".e") && strspn(le, "0123456789.e+-") == strlen(le));
}

static const char *check_histogram(struct state *s, const char *suffix, const char *labels, const char *le, double value) {
        const char *wrong;

        if (strcmp(suffix, "_bucket") == 0) {
                double bound = strcmp(le, "+Inf") == 0 ? INFINITY : strtod(le, NULL);

                if (!is_canonical(le))
                        return "le is not written as a float";
                if (!s->in_buckets || strcmp(labels, s->labels) != 0) {
                        wrong = finish_histogram(s);
                        if (wrong)
                                return wrong;
                        (void)snprintf(s->labels, sizeof s->labels, "%s", labels);
                        s->in_buckets = true;
                        s->complete = s->has_count = s->has_sum = false;
                        s->le = -INFINITY;
                        s->bucket = 0;
                }
                if (s->complete || bound <= s->le || value < s->bucket)
                        return "buckets that do not ascend";
                s->le = bound;
                s->bucket = value;
                s->complete = isinf(bound);
                return NULL;
        }
        if (*le || !s->in_buckets || strcmp(labels, s->labels) != 0)
                return "count or sum without buckets";
        if (strcmp(suffix, "_count") == 0) {
                s->count = value;
                s->has_count = true;
        } else if (strcmp(suffix, "_sum") == 0)
                s->has_sum = true;
        else
                return "a sample that no histogram has";
        return NULL;
}

static const char *check_sample(struct state *s, const char *line) {
        const char *family, *suffix, *p = line + strcspn(line, "{ \n"), *number;
        char name[160], labels[256], le[64], series[256], *end;
        double value;

        if (s->n_families == 0)
                return "a sample without a family";
        family = s->families[s->n_families - 1];
        (void)snprintf(name, sizeof name, "%.*s", (int)(p - line), line);
        if (strncmp(name, family, strlen(family)) != 0)
                return "a sample of another family";
        suffix = name + strlen(family);

        p = parse_labels(p, labels, le);
        if (!p || *p != ' ')
                return "labels are not as they should be";
        number = p + 1;
        value = strtod(number, &end);
        if (end == number || *end != '\n' || !strchr("0123456789", *number))
                return "the value is not a number that may be there";

        (void)snprintf(series, sizeof series, "%.*s", (int)(p - line), line);
        for (unsigned int i = 0; i < s->n_seen; i++)
                if (strcmp(s->seen[i], series) == 0)
                        return "a sample twice";
        if (s->n_seen < MAX_SAMPLES)
                memcpy(s->seen[s->n_seen++], series, sizeof series);
        s->samples = true;

        if (strcmp(s->type, "histogram") == 0)
                return check_histogram(s, suffix, labels, le, value);
        if (*le)
                return "le without a histogram";
        if (strcmp(suffix, strcmp(s->type, "counter") == 0 ? "_total" : strcmp(s->type, "info") == 0 ? "_info" : "") != 0)
                return "the sample's name does not end as its type wants";
        return NULL;
}

const char *openmetrics_check(const char *text, unsigned int *ret_line) {
        static struct state s;
        const char *wrong;

        s = (struct state) { 0 };
        for (*ret_line = 1; *text; (*ret_line)++) {
                if (strcmp(text, "# EOF\n") == 0)
                        return s.n_families > 0 && !s.help ? "a family without HELP" : finish_histogram(&s);
                if (!strchr(text, '\n'))
                        return "the last line does not end";
                wrong = *text == '#' ? check_comment(&s, text) : check_sample(&s, text);
                if (wrong)
                        return wrong;
                text = strchr(text, '\n') + 1;
        }
        return "no EOF";
}

double openmetrics_value(const char *text, const char *sample) {
        size_t length = strlen(sample);
        double value = 0;
        unsigned int n = 0;

        for (const char *p = text; p; p = strchr(p, '\n')) {
                p += *p == '\n';
                if (strncmp(p, sample, length) == 0 && p[length] == ' ') {
                        value = strtod(p + length, NULL);
                        n++;
                }
        }
        if (n != 1)
                fail_msg("%u times %s in:\n%s", n, sample, text);
        return value;
}
