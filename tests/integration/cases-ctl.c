/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl itself: what it makes of hostile names, devices and counters, whom it serves, what it ends with. */

#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "instance.h"
#include "process.h"

#define PAGE 4096

/* Whoever cannot be told by a cursor or a colour what a name is. */
static const char *const names[] = {
        "two\nlines",
        "\033[31mred\033[2J\033]0;title\007",
        "\xff\xfe\xc0\x80 no UTF-8",
        "\xe2\x80\xae"
        "backwards",
        "tab\tand\rreturn\x7f",
        "\xc2\x9b"
        "31m CSI in one character",
        "200 and more bytes: 30________40________50________60________70________80________90________100_______110_______"
        "120_______130_______140_______150_______160_______170_______180_______190_______200_______210_______220",
};

#define N_NAMES (2 * ELEMENTSOF(names))

static void file_path(char path[static 300], size_t i) {
        (void)snprintf(path, 300, "/mnt/tmpfs/%s", names[i]);
}

static void has_hostile_names(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        char path[300];

        for (size_t i = 0; i < N_NAMES; i++) {
                struct memory m = { .length = PAGE };

                if (i % 2 == 0)
                        m.fd = CHECK_CALL(memfd_create(names[i / 2], MFD_CLOEXEC));
                else {
                        file_path(path, i / 2);
                        m.fd = CHECK_CALL(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
                }
                CHECK_CALL(ftruncate(m.fd, PAGE));
                m.start = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, m.fd, 0);
                CHECK(m.start != MAP_FAILED);
                m.start[0] = 1;
                (void)fixture_register(&f, &m, PINLEASE_METHOD_PINNED);
                close(m.fd);
        }
        /* And of the process itself. */
        CHECK_CALL(prctl(PR_SET_NAME, "\033[1mbold\n"));
        tell(channel);
        await_end(channel);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                file_path(path, i);
                (void)unlink(path);
        }
        fixture_close(&f);
}

/* Columns of a terminal, where every character takes one. */
static void check_lines(const char *text, bool utf8) {
        unsigned int columns = 0;

        for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
                if (*p == '\n') {
                        columns = 0;
                        continue;
                }
                if (*p < 0x20 || *p == 0x7f || (!utf8 && *p >= 0x80))
                        FAIL("a byte 0x%02x in: %s", *p, text);
                /* C1 controls, and what changes the direction of writing. */
                if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe2 && p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae))
                        FAIL("a control character in: %s", text);
                columns += *p < 0x80 || *p >= 0xc0;
                if (columns > 80)
                        FAIL("a line of more than 80 columns in: %s", text);
        }
}

static void run_names(const void *argument _unused_) {
        struct app app = app_start(has_hostile_names, NULL);
        struct json_object *documents;
        unsigned int n = 0;

        await(app.channel);
        for (int utf8 = 0; utf8 < 2; utf8++) {
                static const char *const commands[] = { "list", "status" };

                CHECK_CALL(setenv("LC_ALL", utf8 ? "C.UTF-8" : "C", 1));
                for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                        struct ctl_answer answer = ctl_run(NULL, commands[i], NULL);

                        ctl_expect(&answer, CTL_DONE);
                        check_lines(answer.out, utf8);
                        ctl_done(&answer);
                }
        }
        documents = ctl_json(NULL, "list", NULL);
        for (size_t i = 0; i < json_object_array_length(documents); i++) {
                struct json_object *object = json_object_array_get_idx(documents, i), *name;

                if (!json_object_object_get_ex(object, "name", &name))
                        continue;
                n++;
                for (const char *p = json_object_get_string(name); *p; p++)
                        CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
        }
        CHECK_EQUAL(n, N_NAMES);
        CHECK(ctl_find(documents, "registration", "name", "/memfd:two\\x0alines (deleted)"));
        CHECK(ctl_find(documents, "registration", "name", "/mnt/tmpfs/two\\x0alines"));
        CHECK(ctl_find(documents, "registration", "name", "/memfd:\\xff\\xfe\\xc0\\x80 no UTF-8 (deleted)"));
        CHECK(ctl_find(documents, "registration", "name", "/memfd:\\xe2\\x80\\xaebackwards (deleted)"));
        json_object_put(documents);
        app_hang_up(&app);
        app_finish(&app);
}

static void run_devices(const void *argument _unused_) {
        struct json_object *documents, *device;
        struct ibv_context *context;
        struct ibv_device_attr attr;
        struct ctl_answer answer;

        if (netns_exclusive()) {
                /* There are none where the service is. */
                answer = ctl_run(NULL, "--json", "devices", NULL);
                ctl_expect(&answer, CTL_DONE);
                CHECK(strlen(answer.out) == 0 && strlen(answer.err) > 20);
                ctl_done(&answer);
        }
        enter_host("hosta");
        if (netns_exclusive()) {
                /* /sys is that of another namespace: known by netlink, with less to say about it. */
                documents = ctl_json(NULL, "devices", NULL);
                CHECK(strcmp(ctl_text(ctl_find(documents, "device", "name", "rxe_a"), "driver"), "") == 0);
                json_object_put(documents);
                CHECK_CALL(unshare(CLONE_NEWNS));
                CHECK_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
                CHECK_CALL(mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
        }
        documents = ctl_json(NULL, "devices", NULL);
        CHECK_EQUAL(ctl_count(documents, "device"), netns_exclusive() ? 1 : 2);
        device = ctl_find(documents, "device", "name", "rxe_a");
        CHECK(device);
        CHECK(strcmp(ctl_text(device, "driver"), "rxe") == 0);
        CHECK(json_object_get_boolean(ctl_get(ctl_get(device, "odp"), "supported")));
        CHECK(!json_object_get_boolean(ctl_get(ctl_get(device, "odp"), "implicit")));
        CHECK(strcmp(ctl_text(json_object_array_get_idx(ctl_get(device, "ports"), 0), "state"), "active") == 0);

        context = rdma_open_context("rxe_a");
        CHECK_EQUAL(ibv_query_device(context, &attr), 0);
        CHECK_EQUAL(ctl_number(ctl_get(device, "limits"), "max_mr"), attr.max_mr);
        CHECK_EQUAL(ctl_number(ctl_get(device, "limits"), "max_pd"), attr.max_pd);
        CHECK_EQUAL(ibv_close_device(context), 0);
        json_object_put(documents);

        answer = ctl_run(NULL, "devices", NULL);
        ctl_expect(&answer, CTL_DONE);
        CHECK(strstr(answer.out, "rxe_a"));
        check_lines(answer.out, false);
        ctl_done(&answer);
}

/* --- metrics --------------------------------------------------------------------------------------------------------
 */

static void check_grammar(const char *text) {
        regex_t regex;

        CHECK_EQUAL(regcomp(&regex,
                            "^(# (TYPE [a-z_]+ (counter|gauge|histogram)|UNIT [a-z_]+ [a-z]+|HELP [a-z_]+ .+|EOF)"
                            "|[a-z_]+(\\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\\})? [0-9.e+-]+)$",
                            REG_EXTENDED | REG_NOSUB),
                    0);
        for (const char *line = text, *end; *line; line = end + 1) {
                char copy[512];

                end = strchr(line, '\n');
                CHECK(end && end - line < (ptrdiff_t)sizeof copy);
                (void)snprintf(copy, sizeof copy, "%.*s", (int)(end - line), line);
                if (regexec(&regex, copy, 0, NULL, 0) != 0)
                        FAIL("no line of OpenMetrics: %s", copy);
                CHECK((strcmp(copy, "# EOF") == 0) == (end[1] == 0));
        }
        regfree(&regex);
}

static double sample(const char *text, const char *name) {
        size_t n = strlen(name);

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, name, n) == 0 && line[n] == ' ')
                        return strtod(line + n, NULL);
        FAIL("no sample %s in: %s", name, text);
}

/* As numbers of JSON, and the same as text. */
static char *metrics(struct json_object **ret_item) {
        struct json_object *documents = ctl_json(NULL, "metrics", NULL);
        struct ctl_answer answer = ctl_run(NULL, "metrics", NULL);
        char *text = answer.out;

        ctl_expect(&answer, CTL_DONE);
        check_grammar(text);
        *ret_item = json_object_get(json_object_array_get_idx(documents, 0));
        json_object_put(documents);
        free(answer.err);
        return text;
}

static uint64_t sum_of(struct json_object *array) {
        uint64_t n = 0;

        for (size_t i = 0; i < json_object_array_length(array); i++)
                n += json_object_get_uint64(json_object_array_get_idx(array, i));
        return n;
}

static long long counted(struct json_object *item, const char *group, const char *name) {
        struct json_object *value;

        return json_object_object_get_ex(ctl_get(item, group), name, &value) ? json_object_get_int64(value) : 0;
}

static void run_metrics(const void *argument _unused_) {
        struct json_object *before, *during, *after;
        struct ctl_answer answer;
        struct session session;
        char *text, value[64], pid[16];
        unsigned int number;
        struct app app;

        free(metrics(&before));
        CHECK_EQUAL(ctl_number(before, "sessions"), 0);

        app = holder_start(&(const struct holder) { .user = "alice" }, &number);
        session = session_of(app.pid);
        text = metrics(&during);
        CHECK_EQUAL(ctl_number(during, "sessions"), 1);
        CHECK_EQUAL(ctl_number(during, "sessions_started"), ctl_number(before, "sessions_started") + 1);
        CHECK_EQUAL(ctl_number(ctl_get(ctl_get(during, "live"), "pinned"), "bytes"), 8 * PAGE);
        CHECK_EQUAL(sum_of(ctl_get(during, "registrars")), session.registrar);
        CHECK(process_status(session.registrar, "VmPin", value, sizeof value));
        CHECK_EQUAL(strtoll(value, NULL, 10) * 1024, 8 * PAGE);
        CHECK_EQUAL(sample(text, "pinlease_kernel_pinned_bytes"), 8 * PAGE);
        CHECK_EQUAL(sample(text, "pinlease_ledger_pinned_bytes"), 8 * PAGE);
        CHECK_EQUAL(sample(text, "pinlease_live_registrations{method=\"pinned\"}"), 2);
        CHECK_EQUAL(sample(text, "pinlease_sessions"), 1);
        CHECK_EQUAL(sample(text, "pinlease_registrations_total{method=\"pinned\"}"),
                    counted(during, "registered", "pinned"));
        CHECK_EQUAL(sample(text, "pinlease_kernel_foll_pin_acquired_pages_total") -
                                    sample(text, "pinlease_kernel_foll_pin_released_pages_total") >=
                            8,
                    true);
        free(text);

        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        answer = ctl_run(NULL, "revoke", "--pid", pid, "--grace", "0", NULL);
        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
        (void)holder_ask(&app, HOLDER_READ_EVENTS);
        CHECK_EQUAL(holder_ask(&app, HOLDER_DEREGISTER), PINLEASE_CODE_NO_SUCH_REGISTRATION);
        CHECK_EQUAL(holder_ask(&app, HOLDER_ANEW), IBV_WC_SUCCESS);
        holder_stop(&app);
        session_await_end(&session);

        /* What ended sessions have counted stays. */
        free(metrics(&after));
        CHECK_EQUAL(ctl_number(after, "sessions"), 0);
        CHECK_EQUAL(ctl_number(ctl_get(ctl_get(after, "live"), "pinned"), "bytes"), 0);
        CHECK_EQUAL(counted(after, "registered", "pinned"), counted(before, "registered", "pinned") + 3);
        CHECK_EQUAL(ctl_number(after, "deregistered"), ctl_number(before, "deregistered") + 3);
        CHECK_EQUAL(counted(after, "revocations", "forced"), counted(before, "revocations", "forced") + 2);
        CHECK_EQUAL(counted(after, "refusals", "no-such-registration"),
                    counted(before, "refusals", "no-such-registration") + 1);
        CHECK_EQUAL(sum_of(ctl_get(ctl_get(ctl_get(after, "latency"), "register"), "counts")),
                    sum_of(ctl_get(ctl_get(ctl_get(before, "latency"), "register"), "counts")) + 3);
        json_object_put(before);
        json_object_put(during);
        json_object_put(after);
}

/* --- who may, and how it ends --- */

/* The answer comes before anything is asked. */
static void says_nothing(int channel _unused_, const void *argument _unused_) {
        struct json_object *object;
        bool end = false;
        int sock;

        become("alice");
        sock = ctl_connect(NULL);
        object = ctl_receive(sock, &end);
        CHECK(object && end);
        CHECK(strcmp(ctl_text(ctl_get(object, "error"), "code"), "not-permitted") == 0);
        CHECK(!ctl_receive(sock, &end));
        close(sock);
}

static void run_permission(const void *argument _unused_) {
        static const char *const commands[][3] = {
                { "status" }, { "list" }, { "metrics" }, { "revoke", "1" }, { "drain" }
        };
        const struct passwd *alice = getpwnam("alice");
        struct instance instance = instance_start((const char *const[]) { "--admin-group", "pinlease", NULL });
        const struct ctl by_alice = { NULL, "alice" };
        struct ctl_answer answer;
        struct json_object *lines;
        struct app user;
        char match[64];

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                const char *arguments[4] = { commands[i][0], commands[i][1], NULL };

                answer = ctl_run_array(&by_alice, arguments);
                ctl_expect(&answer, CTL_NOT_PERMITTED);
                CHECK(strlen(answer.out) == 0 && strlen(answer.err) > 20);
                ctl_done(&answer);
        }
        (void)snprintf(match, sizeof match, "PINLEASE_UID=%d", (int)alice->pw_uid);
        lines = ctl_journal("MESSAGE_ID=53d430aa4985428e95c15bb59dbd796f", match, "SYSLOG_IDENTIFIER=pinleased", NULL);
        CHECK(json_object_array_length(lines) >= ELEMENTSOF(commands));
        CHECK(strstr(ctl_text(ctl_last(lines), "MESSAGE"), "may not administer the service"));
        CHECK(ctl_number(ctl_last(lines), "PINLEASE_PID") > 1);
        json_object_put(lines);

        /* Root's word counts, and a member's where there is a group. */
        json_object_put(ctl_json(NULL, "status", NULL));
        json_object_put(ctl_json(&(const struct ctl) { instance.directory, NULL }, "status", NULL));
        json_object_put(ctl_json(&(const struct ctl) { instance.directory, "alice" }, "status", NULL));
        answer = ctl_run(&(const struct ctl) { instance.directory, "mallory" }, "status", NULL);
        ctl_expect(&answer, CTL_NOT_PERMITTED);
        ctl_done(&answer);

        user = app_start(says_nothing, NULL);
        app_finish(&user);
        instance_stop(&instance);
}

static void run_statuses(const void *argument _unused_) {
        static const struct {
                const char *arguments[5];
                int status;
        } calls[] = {
                { { "list" }, CTL_DONE },
                { { "revoke" }, CTL_USAGE },
                { { "revoke", "1", "--pid", "1" }, CTL_USAGE },
                { { "show", "a" }, CTL_USAGE },
                { { "list", "--grace", "1" }, CTL_USAGE },
                { { "no-such-command" }, CTL_USAGE },
                { { "list", "--socket", "/run/pl-nothing" }, CTL_UNREACHABLE },
                { { "show", "999999999" }, CTL_NOT_FOUND },
                { { "show", "999999999.1" }, CTL_NOT_FOUND },
                { { "revoke", "999999999.1" }, CTL_NOT_FOUND },
                { { "revoke", "--uid", "mallory" }, CTL_NOT_FOUND },
                { { "revoke", "--path", "/nothing" }, CTL_NOT_FOUND },
                { { "undrain" }, CTL_DONE },
        };

        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                struct ctl_answer answer = ctl_run_array(NULL, calls[i].arguments);

                if (answer.status != calls[i].status)
                        FAIL("%s %s: status %d, should be %d: %s",
                             calls[i].arguments[0],
                             calls[i].arguments[1] ? calls[i].arguments[1] : "",
                             answer.status,
                             calls[i].status,
                             answer.err);
                CHECK(answer.status == CTL_DONE || strlen(answer.err) > 10);
                ctl_done(&answer);
        }
}

const struct test_case cases_ctl[] = {
        { "admin: hostile names", run_names, NULL, 0 },    { "admin: devices", run_devices, NULL, CASE_ANYWHERE },
        { "admin: metrics", run_metrics, NULL, 0 },
        { "admin: who may ask", run_permission, NULL, 0 },
        { "admin: exit statuses", run_statuses, NULL, 0 },
        { 0 },
};
