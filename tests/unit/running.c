/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "running.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fds.h"

static struct sockaddr_un address_of(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert_true(strlen(path) < sizeof address.sun_path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        return address;
}

static int bind_to(const char *path, int type) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(chmod(path, 0666), 0);
        if (type == SOCK_SEQPACKET)
                assert_int_equal(listen(fd, 4096), 0);
        return fd;
}

/* Reads all that it is told, so that nobody waits to tell it. */
static _Noreturn void manage(int notices, int report) {
        const int keep[] = { 0, 1, 2, notices, report };

        fds_close_except(keep, ELEMENTSOF(keep));
        for (;;) {
                char notice[512];
                ssize_t n;

                if (poll(&(struct pollfd) { .fd = notices, .events = POLLIN }, 1, -1) < 0)
                        _exit(1);
                n = recv(notices, notice, sizeof notice - 1, 0);
                if (n < 0)
                        continue;
                notice[n] = 0;
                if (strstr(notice, "READY=1"))
                        (void)!write(report, "R", 1);
                if (strstr(notice, "STOPPING=1"))
                        (void)!write(report, "S", 1);
        }
}

static void start_manager(struct running *r) {
        int notices = bind_to(r->notify, SOCK_DGRAM), report[2];

        assert_int_equal(pipe2(report, O_CLOEXEC), 0);
        r->manager = testing_fork();
        if (r->manager == 0)
                manage(notices, report[1]);
        pl_close(notices);
        pl_close(report[1]);
        r->notices = report[0];
}

void running_setup(struct running *r) {
        const struct group *group;

        *r = (struct running) { .folder = "/tmp/pinlease-test-XXXXXX" };
        assert_non_null(mkdtemp(r->folder));
        assert_int_equal(chmod(r->folder, 0755), 0);
        (void)snprintf(r->client, sizeof r->client, "%s/client.sock", r->folder);
        (void)snprintf(r->session, sizeof r->session, "%s/session.sock", r->folder);
        (void)snprintf(r->admin, sizeof r->admin, "%s/admin.sock", r->folder);
        (void)snprintf(r->roster, sizeof r->roster, "%s/roster", r->folder);
        (void)snprintf(r->notify, sizeof r->notify, "%s/notify", r->folder);
        r->clients = bind_to(r->client, SOCK_SEQPACKET);
        r->sessions = bind_to(r->session, SOCK_SEQPACKET);
        r->admins = bind_to(r->admin, SOCK_SEQPACKET);
        start_manager(r);
        r->config = (struct supervisor_config) {
                .roster = r->roster,
                .sessions = {
                        .session_program = FAKE_KEEPER,
                        .session_socket = r->session,
                        .uid = 1,
                        .gid = 1,
                        .heartbeat_ms = 1000,
                        .hang_ms = 1000,
                        .hello_timeout_ms = 10000,
                },
                .limits.silent_per_user = 64,
                .policy.base = &r->base,
                .max_sessions = 4096,
                .grace_ms = 3000,
        };
        r->base = (struct policy_base) {
                .limits = {
                        .session = { UINT64_C(1) << 30, UINT64_C(1) << 40, 1 << 15 },
                        .user = { UINT64_C(1) << 36, UINT64_C(1) << 44, 1 << 20 },
                        .total = { UINT64_MAX, UINT64_MAX, UINT64_MAX },
                        .user_sessions = 1024,
                        .total_sessions = 4096,
                },
                .grace_ms = 3000,
                .on_layout_change = POLICY_LAYOUT_REVOKE,
                .force = POLICY_FORCE_STOP,
        };
        /* Whoever runs the tests may ask. */
        group = getgrgid(getegid());
        if (geteuid() != 0 && group)
                r->config.admin_group = strdup(group->gr_name);
}

void running_teardown(struct running *r) {
        if (geteuid() != 0)
                free((char *)(uintptr_t)r->config.admin_group);
        const char *const files[] = { r->client, r->session, r->admin, r->roster, r->notify };

        assert_int_equal(kill(r->manager, SIGKILL), 0);
        (void)testing_wait_child(r->manager);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                (void)unlink(files[i]);
        assert_int_equal(rmdir(r->folder), 0);
        pl_close(r->clients);
        pl_close(r->sessions);
        pl_close(r->admins);
        pl_close(r->notices);
}

static _Noreturn void run(struct running *r) {
        const int keep[] = { 0, 1, 2, r->clients, r->sessions, r->admins };

        /* The apps' ends of connections, above all. */
        fds_close_except(keep, ELEMENTSOF(keep));
        r->config.clients = r->clients;
        r->config.keepers = r->sessions;
        r->config.admins = r->admins;
        (void)setenv("NOTIFY_SOCKET", r->notify, 1);
        if (r->prepare)
                r->prepare();
        exit(supervisor_run(&r->config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

void running_begin(struct running *r) {
        r->pid = testing_fork();
        if (r->pid == 0)
                run(r);
}

void running_expect_notice(struct running *r, char notice) {
        char got;

        do {
                (void)testing_wait_fd(r->notices, POLLIN);
                assert_int_equal(read(r->notices, &got, 1), 1);
        } while (got != notice);
}

void running_start(struct running *r) {
        running_begin(r);
        running_expect_notice(r, 'R');
}

int running_stop(struct running *r, int signal) {
        assert_int_equal(kill(r->pid, signal), 0);
        return testing_wait_child(r->pid);
}

int running_connect(const char *path, uid_t uid, gid_t gid) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bool other = uid != geteuid();

        assert_true(fd >= 0);
        /* The kernel takes down who somebody is when he connects. */
        if (other)
                assert_true(setegid(gid) == 0 && seteuid(uid) == 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        if (other)
                assert_true(seteuid(0) == 0 && setegid(0) == 0);
        return fd;
}

void running_app(const struct running *r, uid_t uid, struct fake_keeper *ret_keeper) {
        struct fake_keeper_state state;

        ret_keeper->line = running_connect(r->client, uid, (gid_t)uid);
        keeper_command(ret_keeper, FAKE_INTRODUCE, 0);
        do
                state = keeper_state(ret_keeper);
        while (!state.welcome);
        ret_keeper->id = state.session;
}

int admin_connect(const struct running *r) {
        return running_connect(r->admin, geteuid(), getegid());
}

void admin_send(int fd, uint32_t seq, const char *call) {
        struct pl_admin_packet packet = { .header = { .magic = PL_MAGIC, .version = PL_VERSION, .opcode = PL_ADMIN_CALL, .seq = seq } };
        size_t n = strlen(call);

        assert_true(n <= sizeof packet.body);
        memcpy(packet.body, call, n);
        packet.header.length = (uint32_t)(sizeof packet.header + n);
        assert_int_equal(send(fd, &packet, packet.header.length, MSG_NOSIGNAL), packet.header.length);
}

struct json_object *admin_receive(int fd, uint16_t *ret_opcode, uint32_t *ret_seq) {
        static struct pl_admin_packet packet;
        struct json_tokener *tokener;
        struct json_object *object;
        ssize_t n;

        (void)testing_wait_fd(fd, POLLIN);
        n = recv(fd, &packet, sizeof packet, MSG_TRUNC);
        if (n <= 0)
                return NULL;
        assert_in_range(n, sizeof packet.header, sizeof packet);
        assert_int_equal(packet.header.magic, PL_MAGIC);
        assert_int_equal(packet.header.version, PL_VERSION);
        assert_int_equal(packet.header.length, n);
        assert_int_equal(packet.header.flags, 0);
        assert_int_equal(packet.header.reserved, 0);
        *ret_opcode = packet.header.opcode;
        *ret_seq = packet.header.seq;

        n -= (ssize_t)sizeof packet.header;
        assert_null(memchr(packet.body, 0, (size_t)n));
        tokener = json_tokener_new();
        assert_non_null(tokener);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, packet.body, (int)n);
        assert_true(json_object_is_type(object, json_type_object));
        assert_int_equal(json_tokener_get_parse_end(tokener), n);
        json_tokener_free(tokener);
        return object;
}

struct json_object *admin_receive_end(int fd, uint32_t seq, struct json_object **ret_items) {
        struct json_object *items = json_object_new_array(), *object;
        uint32_t got_seq;
        uint16_t opcode;

        for (;;) {
                object = admin_receive(fd, &opcode, &got_seq);
                assert_non_null(object);
                assert_int_equal(got_seq, seq);
                if (opcode == PL_ADMIN_END)
                        break;
                assert_int_equal(opcode, PL_ADMIN_ITEM);
                (void)json_object_array_add(items, object);
        }
        if (ret_items)
                *ret_items = items;
        else
                json_object_put(items);
        return object;
}

struct json_object *admin_ask(int fd, const char *call, struct json_object **ret_items) {
        static uint32_t seq;

        admin_send(fd, ++seq, call);
        return admin_receive_end(fd, seq, ret_items);
}

const char *admin_text(struct json_object *object, const char *name) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, json_type_string))
                return "";
        return json_object_get_string(value);
}

const char *admin_code(struct json_object *end) {
        struct json_object *error;

        if (!json_object_object_get_ex(end, "error", &error))
                return "";
        assert_true(strlen(admin_text(error, "message")) > 10);
        return admin_text(error, "code");
}

int64_t admin_number(struct json_object *object, const char *path) {
        struct json_object *value = object;
        char name[64];

        while (*path) {
                size_t n = strcspn(path, ".");

                (void)snprintf(name, sizeof name, "%.*s", (int)n, path);
                if (!json_object_object_get_ex(value, name, &value))
                        fail_msg("no member %s in %s", name, json_object_to_json_string(object));
                path += n + (path[n] == '.');
        }
        assert_true(json_object_is_type(value, json_type_int));
        return json_object_get_int64(value);
}

void admin_expect_code(int fd, const char *text, const char *code) {
        struct json_object *end = admin_ask(fd, text, NULL);

        assert_string_equal(admin_code(end), code);
        json_object_put(end);
}

int64_t admin_ask_number(int fd, const char *text, const char *path) {
        struct json_object *items, *end = admin_ask(fd, text, &items);
        int64_t number = admin_number(json_object_array_get_idx(items, 0), path);

        assert_int_equal(json_object_array_length(items), 1);
        json_object_put(items);
        json_object_put(end);
        return number;
}

int64_t admin_ask_result(int fd, const char *text, const char *path) {
        struct json_object *end = admin_ask(fd, text, NULL);
        int64_t number = admin_number(end, path);

        json_object_put(end);
        return number;
}

bool running_is_quiet(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 0;
}

void keeper_fill(struct fake_keeper *keeper, uint32_t n) {
        keeper_command(keeper, FAKE_FILL, n);
        (void)keeper_state(keeper);
}
