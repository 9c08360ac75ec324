/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rules by who has made a dma-buf, asked in the registrar, within its sandbox; and pinleasectl explain says the same.
 * Whatever the app does to its dma-buf, it does not change whose it is. */

#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "ruled.h"
#include "samples.h"

#define PAGE UINT64_C(4096)
#define LOCKS 300 /* more than fits into a page of its fdinfo */

static const char policy[] =
        "{\"version\": 1, \"rules\": ["
        "{\"name\": \"others\", \"match\": {\"exporter\": [\"system\", \"mine*\"]}, \"allow\": false},"
        "{\"name\": \"udmabufs\", \"match\": {\"exporter\": \"udma*\", \"size\": {\"max\": 4096}}, \"allow\": false}]}";

/* The rule that refuses so much of it. */
static void expect_rule(
        struct fixture *f, const struct memory *memory, uint64_t length, enum pinlease_code code, const char *rule) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_REGISTER, 0);
        packet.body.reg = fixture_request(f, memory, PINLEASE_METHOD_PINNED);
        packet.body.reg.length = length;
        expect_code(raw_call(&f->raw, &packet, memory->fd, &reply), code);
        if (strcmp(reply.body.refused.rule, rule) != 0)
                FAIL("refused by %s, should be by %s", reply.body.refused.rule, rule);
}

static void expect_both(struct fixture *f, const struct memory *memory) {
        expect_rule(f, memory, PAGE, PINLEASE_CODE_POLICY, "udmabufs");
        expect_rule(f, memory, 2 * PAGE, PINLEASE_CODE_NO_DMABUF, "builtin:dmabuf");
}

static void expect_explained(const struct ruled *ruled, const struct memory *memory) {
        char pid[16], fd[16];
        struct ctl_answer answer;
        struct json_object *object;

        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        (void)snprintf(fd, sizeof fd, "%d", memory->fd);
        answer = ctl_run(NULL,
                         "explain",
                         "--json",
                         "--pid",
                         pid,
                         "--fd",
                         fd,
                         "--length",
                         "4096",
                         "--policy",
                         ruled->folder,
                         NULL);
        ctl_expect(&answer, CTL_FAILED);
        object = json_tokener_parse(answer.out);
        CHECK(object);
        CHECK(strcmp(ctl_text(ctl_get(object, "memory"), "exporter"), "udmabuf") == 0);
        CHECK(strcmp(ctl_text(ctl_get(object, "rule"), "name"), "udmabufs") == 0);
        object = json_object_array_get_idx(ctl_get(object, "other_rules"), 0);
        CHECK(strcmp(ctl_text(object, "mismatch"), "exporter") == 0);
        ctl_done(&answer);
}

static void run_exporter(const void *argument _unused_) {
        static const char *const names[] = { "system", "mine", "x\nexp_name:\tsystem\n" };
        const struct sample *sample = samples;
        struct ruled ruled = ruled_start(policy);
        struct fixture f = fixture_open(ruled.instance.path);
        struct memory memory;

        while (sample->backing != PINLEASE_BACKING_DMABUF)
                sample++;
        memory = sample_make(sample);
        expect_both(&f, &memory);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                CHECK_CALL(ioctl(memory.fd, DMA_BUF_SET_NAME_B, (uintptr_t)names[i]));
                expect_both(&f, &memory);
        }
        expect_explained(&ruled, &memory);

        for (off_t i = 0; i < LOCKS; i++)
                CHECK_CALL(fcntl(
                        memory.fd,
                        F_OFD_SETLK,
                        &(struct flock) { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1 }));
        expect_both(&f, &memory);
        sample_free(&memory);
        fixture_close(&f);
        ruled_stop(&ruled);
}

const struct test_case cases_policy_exporter[] = {
        { "policy: who has made a dma-buf", run_exporter, NULL, 0 },
        { 0 },
};
