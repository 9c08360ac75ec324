/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "codec.h"
#include "util.h"

#define BLANKS " \t"
/* Before and after those for each policy. */
#define WORDS_BEFORE 4
#define WORDS_AFTER 3

struct reader {
        const char *path;
        unsigned int line;
        struct table *table;
        char *problem;
        size_t size;
};

static _printf_(2, 3) int complain(const struct reader *reader, const char *format, ...) {
        int n = snprintf(reader->problem, reader->size, "%s:%u: ", reader->path, reader->line);
        va_list ap;

        va_start(ap, format);
        if (n >= 0 && (size_t)n < reader->size)
                (void)vsnprintf(reader->problem + n, reader->size - (size_t)n, format, ap);
        va_end(ap);
        return -1;
}

/* --- words --- */

static const struct {
        const char *name;
        int error;
} errors[] = {
        { "ok", 0 },          { "EFAULT", EFAULT }, { "EOPNOTSUPP", EOPNOTSUPP }, { "EINVAL", EINVAL },
        { "ENOMEM", ENOMEM }, { "EPERM", EPERM },   { "EACCES", EACCES },         { "EBADF", EBADF },
        { "ENOSYS", ENOSYS }, { "EAGAIN", EAGAIN }, { "ENOTTY", ENOTTY },         { "ENOPROTOOPT", ENOPROTOOPT },
};

static int parse_backing(const char *word, enum pinlease_backing *ret_backing) {
        /* "unknown" ends them. */
        for (int b = 0; b < 32; b++)
                if (strcmp(word, pl_backing_name((enum pinlease_backing)b)) == 0 && strcmp(word, "unknown") != 0) {
                        *ret_backing = (enum pinlease_backing)b;
                        return 0;
                }
        return -1;
}

static int parse_access(const char *word, bool *ret_writable) {
        if (strcmp(word, "write") != 0 && strcmp(word, "read") != 0)
                return -1;
        *ret_writable = *word == 'w';
        return 0;
}

static unsigned int method_of(const char *word) {
        for (unsigned int m = 1; m != 0 && m <= PINLEASE_METHOD_ANY; m <<= 1)
                if (strcmp(word, pl_method_name((enum pinlease_method)m)) == 0)
                        return m;
        return 0;
}

/* "odp!,pinned": unsound methods only where there is room for them. */
static int parse_methods(const char *word, struct table_outcome *ret_list, unsigned int *ret_unsound) {
        struct table_outcome list = { .code = PINLEASE_CODE_NONE };
        unsigned int seen = 0, unsound = 0;
        char copy[64], *save = NULL;

        if (strlen(word) >= sizeof copy)
                return -1;
        strcpy(copy, word);
        for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
                size_t n = strlen(name);
                bool wrong = n > 0 && name[n - 1] == '!';
                unsigned int method;

                if (wrong)
                        name[n - 1] = '\0';
                method = method_of(name);
                if (method == 0 || (seen & method) || (wrong && !ret_unsound) || list.n_methods == TABLE_MAX_METHODS)
                        return -1;
                list.methods[list.n_methods++] = (enum pinlease_method)method;
                seen |= method;
                unsound |= wrong ? method : 0;
        }
        if (list.n_methods == 0)
                return -1;
        *ret_list = list;
        if (ret_unsound)
                *ret_unsound = unsound;
        return 0;
}

static int parse_set(const char *word, unsigned int *ret_set) {
        struct table_outcome list;

        if (parse_methods(word, &list, NULL) < 0)
                return -1;
        *ret_set = 0;
        for (unsigned int i = 0; i < list.n_methods; i++)
                *ret_set |= list.methods[i];
        return 0;
}

static int parse_device(const char *word, struct table_device *ret_device) {
        struct table_device device = { 0 };
        struct table_outcome list;

        if (parse_methods(word, &list, &device.unsound) < 0)
                return -1;
        for (unsigned int i = 0; i < list.n_methods; i++)
                device.offered |= list.methods[i];
        *ret_device = device;
        return 0;
}

static int parse_outcome(const char *word, struct table_outcome *ret_outcome) {
        if (parse_methods(word, ret_outcome, NULL) == 0)
                return 0;
        for (int code = 1; code < 256; code++)
                if (strcmp(word, pl_code_name((enum pinlease_code)code)) == 0 && strcmp(word, "unknown") != 0) {
                        *ret_outcome = (struct table_outcome) { .code = (enum pinlease_code)code };
                        return 0;
                }
        return -1;
}

static int parse_error(const char *word, size_t length, int *ret_error) {
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                if (strlen(errors[i].name) == length && strncmp(word, errors[i].name, length) == 0) {
                        *ret_error = errors[i].error;
                        return 0;
                }
        return -1;
}

/* "ok", "EFAULT", "EFAULT>=6.5", "EINVAL,EOPNOTSUPP>=6.2", "*". */
static int parse_answer(const char *word, struct table_answer *ret_answer) {
        struct table_answer answer = { .known = strcmp(word, "*") != 0 };
        size_t n = strcspn(word, ",");
        unsigned int major, minor;
        int end = -1;

        if (word[n] == ',') {
                if (parse_error(word, n, &answer.before) < 0 || !strchr(word, '>'))
                        return -1;
                word += n + 1;
        }
        n = strcspn(word, ">");
        if (word[n] != '\0') {
                if (sscanf(word + n, ">=%u.%u%n", &major, &minor, &end) != 2 || word[n + (size_t)end] != '\0')
                        return -1;
                answer.since = TABLE_VERSION(major, minor);
        }
        if (answer.known && parse_error(word, n, &answer.error) < 0)
                return -1;
        if (answer.since && answer.error == answer.before)
                return -1;
        *ret_answer = answer;
        return 0;
}

/* --- lines --- */

/* axis NAME VALUE... */
static int read_axis(struct reader *reader, char *save) {
        const char *name = strtok_r(NULL, BLANKS, &save), *word;
        struct table *t = reader->table;

        if (!name)
                return complain(reader, "an axis has a name");
        while ((word = strtok_r(NULL, BLANKS, &save))) {
                int r = -1;

                if (strcmp(name, "backing") == 0 && t->n_backings < TABLE_MAX_AXIS)
                        r = parse_backing(word, &t->backings[t->n_backings++]);
                else if (strcmp(name, "access") == 0 && t->n_writable < TABLE_MAX_AXIS)
                        r = parse_access(word, &t->writable[t->n_writable++]);
                else if (strcmp(name, "accepts") == 0 && t->n_accepted < TABLE_MAX_AXIS)
                        r = parse_set(word, &t->accepted[t->n_accepted++]);
                else if (strcmp(name, "device") == 0 && t->n_devices < TABLE_MAX_AXIS)
                        r = parse_device(word, &t->devices[t->n_devices++]);
                if (r < 0)
                        return complain(reader, "axis %s: \"%s\" means nothing, or is one too many", name, word);
        }
        return 0;
}

/* policy NAME [JSON] */
static int read_policy(struct reader *reader, char *save) {
        const char *name = strtok_r(NULL, BLANKS, &save);
        struct table *t = reader->table;
        struct table_policy *policy = t->policies + t->n_policies;

        if (!name || strlen(name) >= sizeof policy->name || t->n_policies == TABLE_MAX_POLICIES)
                return complain(reader, "a policy has a short name, and there are %d at most", TABLE_MAX_POLICIES);
        t->n_policies++;
        strcpy(policy->name, name);
        save += strspn(save, BLANKS);
        policy->text = *save ? strdup(save) : NULL;
        return 0;
}

static int read_words(struct reader *reader, char *const *words, struct table_row *row) {
        const struct table *t = reader->table;
        size_t n = t->n_policies;

        if (parse_backing(words[0], &row->backing) < 0)
                return complain(reader, "no backing: \"%s\"", words[0]);
        if (parse_access(words[1], &row->writable) < 0)
                return complain(reader, "no access: \"%s\"", words[1]);
        if (parse_set(words[2], &row->accepted) < 0)
                return complain(reader, "no methods: \"%s\"", words[2]);
        if (parse_device(words[3], &row->device) < 0)
                return complain(reader, "no device: \"%s\"", words[3]);
        for (size_t p = 0; p < n; p++) {
                /* The rule stands behind the first one. */
                const char *word = words[WORDS_BEFORE + p + (p > 0)];

                if (parse_outcome(word, row->outcomes + p) < 0)
                        return complain(reader, "neither methods nor a refusal: \"%s\"", word);
        }
        if (strlen(words[WORDS_BEFORE + 1]) >= sizeof row->rule)
                return complain(reader, "a long name of a rule: \"%s\"", words[WORDS_BEFORE + 1]);
        strcpy(row->rule, words[WORDS_BEFORE + 1]);
        if (parse_answer(words[WORDS_BEFORE + n + 1], &row->pinned) < 0)
                return complain(reader, "no answer of the kernel: \"%s\"", words[WORDS_BEFORE + n + 1]);
        if (parse_answer(words[WORDS_BEFORE + n + 2], &row->odp) < 0)
                return complain(reader, "no answer of the kernel: \"%s\"", words[WORDS_BEFORE + n + 2]);
        return 0;
}

static int read_row(struct reader *reader, char *first, char *save) {
        char *words[WORDS_BEFORE + TABLE_MAX_POLICIES + WORDS_AFTER + 1] = { first };
        struct table *t = reader->table;
        struct table_row row = { .line = reader->line }, *rows;
        size_t n = 1, wanted = WORDS_BEFORE + t->n_policies + WORDS_AFTER;

        while (n < ELEMENTSOF(words) && (words[n] = strtok_r(NULL, BLANKS, &save)))
                n++;
        if (n != wanted || t->n_policies == 0)
                return complain(reader, "%zu words, not %zu", n, wanted);
        if (read_words(reader, words, &row) < 0)
                return -1;
        if (table_find(t, row.backing, row.writable, row.accepted, row.device))
                return complain(reader, "this combination is there already");

        rows = reallocarray(t->rows, t->n_rows + 1, sizeof *rows);
        if (!rows)
                return complain(reader, "out of memory");
        t->rows = rows;
        t->rows[t->n_rows++] = row;
        return 0;
}

static int read_line(struct reader *reader, char *line) {
        char *save = NULL, *word;

        line[strcspn(line, "\n")] = '\0';
        if (*line == '#')
                return 0;
        word = strtok_r(line, BLANKS, &save);
        if (!word)
                return 0;
        if (strcmp(word, "axis") == 0)
                return read_axis(reader, save);
        if (strcmp(word, "policy") == 0)
                return read_policy(reader, save);
        return read_row(reader, word, save);
}

/* As many rows as combinations, no two of them the same (read_row()), and each of them one of the axes. */
static int check_complete(struct reader *reader) {
        const struct table *t = reader->table;
        size_t n = t->n_backings * t->n_writable * t->n_accepted * t->n_devices;

        for (size_t b = 0; b < t->n_backings; b++)
                for (size_t w = 0; w < t->n_writable; w++)
                        for (size_t a = 0; a < t->n_accepted; a++)
                                for (size_t d = 0; d < t->n_devices; d++)
                                        if (!table_find(
                                                    t, t->backings[b], t->writable[w], t->accepted[a], t->devices[d]))
                                                return complain(reader,
                                                                "there is no row for: %s %s, accepted 0x%x, %s",
                                                                pl_backing_name(t->backings[b]),
                                                                t->writable[w] ? "write" : "read",
                                                                t->accepted[a],
                                                                table_device_text(t->devices[d]));
        if (n == 0 || t->n_rows != n)
                return complain(reader, "%zu rows, but %zu combinations", t->n_rows, n);
        return 0;
}

int table_read(const char *path, struct table *ret_table, char *ret_problem, size_t size) {
        struct table table = { 0 };
        struct reader reader = { path, 0, &table, ret_problem, size };
        FILE *f = fopen(path, "re");
        size_t allocated = 0;
        char *line = NULL;
        int r = 0;

        if (!f)
                return complain(&reader, "%s", strerror(errno));
        while (r == 0 && getline(&line, &allocated, f) >= 0) {
                reader.line++;
                r = read_line(&reader, line);
        }
        if (r == 0)
                r = check_complete(&reader);
        free(line);
        (void)fclose(f);
        if (r < 0) {
                table_free(&table);
                return r;
        }
        *ret_table = table;
        return 0;
}

void table_free(struct table *table) {
        for (size_t p = 0; p < table->n_policies; p++)
                free(table->policies[p].text);
        free(table->rows);
        *table = (struct table) { 0 };
}

const struct table_row *table_find(const struct table *table,
                                   enum pinlease_backing backing,
                                   bool writable,
                                   unsigned int accepted,
                                   struct table_device device) {
        for (size_t i = 0; i < table->n_rows; i++) {
                const struct table_row *row = table->rows + i;

                if (row->backing == backing && row->writable == writable && row->accepted == accepted &&
                    row->device.offered == device.offered && row->device.unsound == device.unsound)
                        return row;
        }
        return NULL;
}

/* --- the kernel's answers --- */

int table_error(const struct table_answer *answer, unsigned int version) {
        return version >= answer->since ? answer->error : answer->before;
}

unsigned int table_kernel(void) {
        struct utsname name;
        unsigned int major = 0, minor = 0;

        if (uname(&name) == 0)
                (void)sscanf(name.release, "%u.%u", &major, &minor);
        return TABLE_VERSION(major, minor);
}

/* --- in words --- */

static char *buffer(size_t *ret_size) {
        static char buffers[4][64];
        static unsigned int next;

        *ret_size = sizeof buffers[0];
        return buffers[next++ % 4];
}

static void append(char *text, size_t size, unsigned int method, bool unsound) {
        size_t n = strlen(text);

        (void)snprintf(text + n,
                       size - n,
                       "%s%s%s",
                       n > 0 ? "," : "",
                       pl_method_name((enum pinlease_method)method),
                       unsound ? "!" : "");
}

const char *table_outcome_text(const struct table_outcome *outcome) {
        size_t size;
        char *text;

        if (outcome->code != PINLEASE_CODE_NONE)
                return pl_code_name(outcome->code);
        text = buffer(&size);
        *text = '\0';
        for (unsigned int i = 0; i < outcome->n_methods; i++)
                append(text, size, outcome->methods[i], false);
        return text;
}

const char *table_device_text(struct table_device device) {
        size_t size;
        char *text = buffer(&size);

        *text = '\0';
        for (unsigned int m = 1; m != 0 && m <= device.offered; m <<= 1)
                if (device.offered & m)
                        append(text, size, m, device.unsound & m);
        return text;
}

const char *table_error_text(int error) {
        for (size_t i = 0; i < ELEMENTSOF(errors); i++)
                if (errors[i].error == error)
                        return errors[i].name;
        return strerror(error);
}
