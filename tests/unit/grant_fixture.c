/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "grant_fixture.h"

#include <string.h>

struct fixture f;
uint32_t context;
struct raised raised;

static int raise_limit(void *userdata, uint64_t total, int *ret_error) {
        assert_ptr_equal(userdata, &raised);
        raised.n++;
        raised.total = total;
        *ret_error = raised.error;
        return raised.fatal;
}

void begin_test(void) {
        fixture_init(&f, &generous);
        memset(&raised, 0, sizeof raised);
        f.state.raise = raise_limit;
        f.state.raise_userdata = &raised;
        context = must_attach(&f, "/dev/null");
}

int command_fd(void) {
        return f.state.contexts[context].device.fd;
}

struct pl_grant ask_for(uint64_t length) {
        return (struct pl_grant) {
                .context = context,
                .pd = 1,
                .address = ADDRESS,
                .length = length,
                .access = WRITING,
                .methods = PINLEASE_METHOD_ANY,
        };
}

struct pl_grant_reply must_grant(uint64_t length) {
        const struct pl_grant request = ask_for(length);
        struct pl_grant_reply reply;
        struct refusal refusal;
        int r = grant_make(&f.state, &request, &reply, &refusal);

        if (r < 0)
                fail_msg("refused: %s: %s", pl_code_name(refusal.code), refusal.sentence);
        assert_int_equal(reply.iova, ADDRESS);
        assert_int_equal(reply.method, PINLEASE_METHOD_ODP);
        return reply;
}

void refused_grant(const struct pl_grant *request, enum pinlease_code code) {
        struct pl_grant_reply reply;
        struct refusal refusal;

        testing_assert_refusal(grant_make(&f.state, request, &reply, &refusal), &refusal, code);
}

struct pl_grant_commit commit_of(uint64_t id, const struct fake_mr *mr) {
        return (struct pl_grant_commit) { .id = id, .handle = mr->handle, .lkey = mr->lkey, .rkey = mr->rkey };
}

void must_commit(const struct pl_grant_commit *commit) {
        struct pl_grant_commit_reply reply;
        struct refusal refusal;
        int r = grant_commit(&f.state, commit, &reply, &refusal);

        if (r < 0)
                fail_msg("refused: %s: %s", pl_code_name(refusal.code), refusal.sentence);
        assert_int_equal(reply.backing, PINLEASE_BACKING_ANON);
        assert_int_equal(pl_guards_held(reply.guards), 0);
        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                assert_int_equal(pl_guard_reason(reply.guards, i), PINLEASE_GUARD_NOT_FOR_THIS);
}

void refused_commit(const struct pl_grant_commit *commit, enum pinlease_code code) {
        struct pl_grant_commit_reply reply;
        struct refusal refusal;

        testing_assert_refusal(grant_commit(&f.state, commit, &reply, &refusal), &refusal, code);
}

uint64_t must_have(uint64_t length, uint32_t *ret_handle) {
        uint64_t id = must_grant(length).id;
        const struct fake_mr *mr = fake_app_reg(command_fd(), length, ADDRESS);
        const struct pl_grant_commit commit = commit_of(id, mr);

        *ret_handle = mr->handle;
        must_commit(&commit);
        return id;
}
