/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * tests/policy/decide.table, with real memory: the rows of the device that is here are asked of a service, and what
 * they say of the kernel is asked of the kernel. All differences are told, not only the first.
 */

#include "table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dmabuf.h"
#include "fixture.h"
#include "harness.h"
#include "ruled.h"
#include "samples.h"

#define TABLE_FILE TEST_PROGRAMS "/decide.table"
#define MAX_BACKINGS 32

struct tally {
        struct table table;
        struct table_device device; /* what is here */
        unsigned int asked, wrong;
        bool seen[MAX_BACKINGS];
};

static _printf_(2, 3) void differs(struct tally *tally, const char *format, ...) {
        char text[256];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        (void)dprintf(STDOUT_FILENO, "%s\n", text);
        tally->wrong++;
}

/* Asked without the service, which is what is tested. */
static struct table_device device_of(const struct rdma *rdma) {
        const uint32_t needed = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
        struct table_device device = { .offered = PINLEASE_METHOD_PINNED };
        struct ibv_device_attr_ex attributes;
        struct uverbs_mr_keys keys;

        CHECK_EQUAL(ibv_query_device_ex(rdma->context, NULL, &attributes), 0);
        if ((attributes.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed) {
                device.offered |= PINLEASE_METHOD_ODP;
                /* See "kernel: ODP on rxe misplaces bytes". */
                device.unsound = PINLEASE_METHOD_ODP;
        }
        if (dmabuf_try_register(rdma, -1, 0, 4096, 0, ACCESS_READ, &keys) != -EOPNOTSUPP)
                device.offered |= PINLEASE_METHOD_DMABUF;
        return device;
}

static struct tally tally_begin(const struct rdma *rdma) {
        struct tally tally = { .device = device_of(rdma) };
        char problem[256];

        if (table_read(TABLE_FILE, &tally.table, problem, sizeof problem) < 0)
                FAIL("%s", problem);
        return tally;
}

static bool is_here(const struct tally *tally, const struct table_row *row) {
        return row->device.offered == tally->device.offered && row->device.unsound == tally->device.unsound;
}

static void asked(struct tally *tally, const struct table_row *row) {
        tally->asked++;
        tally->seen[row->backing] = true;
}

/* Says what was asked, and what was not, and why. Ends the case if anything differs, or nothing was asked. */
static void tally_end(struct tally *tally) {
        unsigned int here = 0, missing = 0, counts[MAX_BACKINGS] = { 0 };
        char names[256] = "";

        for (size_t i = 0; i < tally->table.n_rows; i++) {
                const struct table_row *row = tally->table.rows + i;

                if (!is_here(tally, row))
                        continue;
                here++;
                if (!tally->seen[row->backing]) {
                        missing++;
                        counts[row->backing]++;
                }
        }
        for (int b = 0; b < MAX_BACKINGS; b++)
                if (counts[b])
                        (void)snprintf(names + strlen(names),
                                       sizeof names - strlen(names),
                                       "%s%s",
                                       *names ? ", " : ": ",
                                       pl_backing_name((enum pinlease_backing)b));

        CHECK(tally->asked > 0);
        if (tally->wrong)
                FAIL("%u of %u answers are not those of decide.table", tally->wrong, tally->asked);
        (void)dprintf(STDOUT_FILENO,
                      "%u questions, by %u of %zu rows; not asked: %zu of devices other than \"%s\", %u of memory that "
                      "cannot be "
                      "had here%s\n",
                      tally->asked,
                      here - missing,
                      tally->table.n_rows,
                      tally->table.n_rows - here,
                      table_device_text(tally->device),
                      missing,
                      names);
        table_free(&tally->table);
}

/* --- the service --- */

struct asking {
        struct tally *tally;
        struct fixture *f;
        size_t policy;
        const struct sample *sample;
        const struct memory *memory;
};

/* Before Linux 6.2 all is pinned as if it were written to, which files whose writes are tracked never are. */
static const struct table_outcome *outcome_of(const struct asking *asking, const struct table_row *row) {
        static const struct table_outcome cannot = { .code = PINLEASE_CODE_KERNEL };
        const struct table_outcome *outcome = row->outcomes + asking->policy;
        bool tracked = row->backing == PINLEASE_BACKING_PAGECACHE || row->backing == PINLEASE_BACKING_OTHER;

        return tracked && outcome->methods[0] == PINLEASE_METHOD_PINNED && table_kernel() < TABLE_VERSION(6, 2) ? &cannot :
                                                                                                                  outcome;
}

static enum pinlease_code try_register(const struct asking *asking,
                                       const struct table_row *row,
                                       uint64_t *ret_id,
                                       uint32_t *ret_method) {
        struct pl_register request = fixture_request(asking->f, asking->memory, row->accepted);
        struct pl_register_reply reply;
        enum pinlease_code code;

        request.access = row->writable ? ACCESS_READ_WRITE : ACCESS_READ;
        code = fixture_try(asking->f, &request, asking->memory->fd, &reply);
        if (code == PINLEASE_CODE_NONE) {
                *ret_id = reply.id;
                *ret_method = reply.method;
        }
        return code;
}

/* Private memory has no descriptor: the app is allowed to register it, and here gives that back. */
static enum pinlease_code try_grant(const struct asking *asking,
                                    const struct table_row *row,
                                    uint64_t *ret_id,
                                    uint32_t *ret_method) {
        struct pl_packet request, reply;
        enum pinlease_code code;

        pl_packet_init(&request, PL_OP_GRANT, 0);
        request.body.grant = (struct pl_grant) {
                .context = asking->f->context,
                .pd = asking->f->rdma.pd->handle,
                .address = (uintptr_t)asking->memory->start,
                .length = asking->memory->length,
                .access = row->writable ? ACCESS_READ_WRITE : ACCESS_READ,
                .methods = (uint16_t)row->accepted,
        };
        code = raw_call(&asking->f->raw, &request, -1, &reply);
        if (code == PINLEASE_CODE_NONE) {
                *ret_id = reply.body.grant_reply.id;
                *ret_method = reply.body.grant_reply.method;
        }
        return code;
}

static void ask_service(const struct asking *asking, const struct table_row *row) {
        const struct table_outcome *should = outcome_of(asking, row);
        struct table_outcome is = { .code = PINLEASE_CODE_NONE };
        uint32_t method;
        uint64_t id;

        is.code = (asking->memory->fd < 0 ? try_grant : try_register)(asking, row, &id, &method);
        if (is.code == PINLEASE_CODE_NONE) {
                is.methods[is.n_methods++] = (enum pinlease_method)method;
                raw_deregister(&asking->f->raw, id);
        }
        asked(asking->tally, row);
        /* What is tried first, and has to succeed. */
        if (is.code != should->code || is.methods[0] != should->methods[0])
                differs(asking->tally,
                        "decide.table:%u: %s: the service says %s, the table %s",
                        row->line,
                        asking->sample->name,
                        table_outcome_text(&is),
                        table_outcome_text(should));
}

static void ask_all(struct tally *tally, struct fixture *f, size_t policy) {
        for (const struct sample *sample = samples; sample < samples + n_samples; sample++) {
                struct memory memory;

                if (!sample_exists(sample))
                        continue;
                memory = sample_make(sample);
                for (size_t i = 0; i < tally->table.n_rows; i++) {
                        const struct table_row *row = tally->table.rows + i;

                        if (row->backing == sample->backing && is_here(tally, row))
                                ask_service(&(const struct asking) { tally, f, policy, sample, &memory }, row);
                }
                sample_free(&memory);
        }
}

/* The built-in one is that of the installed service. */
static void ask_service_of(const char *policy) {
        struct rdma rdma = rdma_open("rxe_a");
        struct tally tally = tally_begin(&rdma);
        const struct table *table = &tally.table;
        struct ruled ruled;
        struct fixture f;
        size_t p = 0;

        rdma_close(&rdma);
        while (p < table->n_policies && strcmp(table->policies[p].name, policy) != 0)
                p++;
        CHECK(p < table->n_policies);
        if (table->policies[p].text)
                ruled = ruled_start(table->policies[p].text);
        f = fixture_open(table->policies[p].text ? ruled.instance.path : NULL);
        ask_all(&tally, &f, p);
        fixture_close(&f);
        if (table->policies[p].text)
                ruled_stop(&ruled);
        tally_end(&tally);
}

/* argument: the policy's name. Of the device as it is, and as it would be without the module of tests/kmod. */
static void run_service(const void *argument) {
        int r;

        ask_service_of(argument);
        r = dmabuf_unload();
        if (r == -ENOENT)
                return;
        CHECK_EQUAL(r, 0);
        ask_service_of(argument);
        dmabuf_load();
}

/* --- the kernel --- */

static void compare(struct tally *tally,
                    const struct sample *sample,
                    const struct table_row *row,
                    const char *way,
                    int is,
                    const struct table_answer *answer) {
        asked(tally, row);
        if (!answer->known)
                (void)dprintf(STDOUT_FILENO,
                              "%s, %s, %s: %s\n",
                              sample->name,
                              row->writable ? "write" : "read",
                              way,
                              table_error_text(is));
        else if (is != table_error(answer, table_kernel()))
                differs(tally,
                        "decide.table:%u: %s, %s: the kernel says %s, the table %s",
                        row->line,
                        sample->name,
                        way,
                        table_error_text(is),
                        table_error_text(table_error(answer, table_kernel())));
}

/* That all rows of one memory and one access say the same of the kernel is test_policy_table's matter. */
static void run_kernel(const void *argument _unused_) {
        struct rdma rdma = rdma_open("rxe_a");
        struct tally tally = tally_begin(&rdma);

        for (const struct sample *sample = samples; sample < samples + n_samples; sample++) {
                struct memory memory;

                if (!sample_exists(sample))
                        continue;
                memory = sample_make(sample);
                for (size_t i = 0; i < tally.table.n_rows; i++) {
                        const struct table_row *row = tally.table.rows + i;
                        uint32_t access = row->writable ? ACCESS_READ_WRITE : ACCESS_READ;

                        if (row->backing != sample->backing || !is_here(&tally, row) ||
                            row->accepted != tally.table.accepted[0])
                                continue;
                        compare(&tally, sample, row, "pinned", sample_register(&rdma, &memory, access), &row->pinned);
                        compare(&tally,
                                sample,
                                row,
                                "by ODP",
                                sample_register(&rdma, &memory, access | IBV_ACCESS_ON_DEMAND),
                                &row->odp);
                }
                sample_free(&memory);
        }
        rdma_close(&rdma);
        tally_end(&tally);
}

const struct test_case cases_table[] = {
        { "policy table: the kernel's own answers", run_kernel, NULL, 0 },
        { "policy table: the built-in rules", run_service, "built-in", 0 },
        { "policy table: rules that allow everything", run_service, "any", 0 },
        { 0 },
};
