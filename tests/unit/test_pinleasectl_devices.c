/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <infiniband/verbs.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fake_ioctl.h"
#include "pinleasectl.h"
#include "text.h"

/*
 * pinleasectl devices, with a libibverbs that is in this file, and the kernel's answers about dma-bufs: one device that can everything, one that cannot be opened,
 * one that can nothing.
 */

enum { FULL, CLOSED, POOR, N_DEVICES };

static struct fake {
        bool none;          /* the kernel has no RDMA */
        int dmabuf_error;   /* of the kernel's REG_DMABUF_MR; libibverbs, which may know less, is not asked for one */
        bool no_pd;
        int query_error;
        unsigned int open, pds, lists;
        struct ibv_device devices[N_DEVICES];
        struct verbs_context contexts[N_DEVICES];
} fake;

static int query_device_ex(struct ibv_context *context,
                           _unused_ const struct ibv_query_device_ex_input *input,
                           struct ibv_device_attr_ex *attr,
                           size_t size) {
        assert_int_equal(size, sizeof *attr);
        memset(attr, 0, size);
        if (fake.query_error)
                return fake.query_error;
        attr->orig_attr.phys_port_cnt = 1;
        if (context->device == &fake.devices[POOR])
                return 0;

        (void)snprintf(attr->orig_attr.fw_ver, sizeof attr->orig_attr.fw_ver, "16.35.2000");
        attr->orig_attr.max_mr = 16777216;
        attr->orig_attr.max_mr_size = UINT64_MAX;
        attr->orig_attr.max_pd = 8388608;
        attr->orig_attr.page_size_cap = UINT64_C(0xfffffffffffff000);
        attr->phys_port_cnt_ex = 2;
        attr->odp_caps.general_caps = IBV_ODP_SUPPORT | IBV_ODP_SUPPORT_IMPLICIT;
        attr->odp_caps.per_transport_caps.rc_odp_caps = 0x3f | 1U << 6 | 1U << 31;
        attr->odp_caps.per_transport_caps.ud_odp_caps = IBV_ODP_SUPPORT_SEND;
        attr->xrc_odp_caps = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_SRQ_RECV;
        return 0;
}

static int query_port(_unused_ struct ibv_context *context, uint8_t number, struct ibv_port_attr *attr, size_t size) {
        memset(attr, 0, size);
        if (number == 2)
                return EIO;
        attr->state = IBV_PORT_ACTIVE;
        attr->link_layer = IBV_LINK_LAYER_ETHERNET;
        return 0;
}

struct ibv_device **ibv_get_device_list(int *n) {
        struct ibv_device **list;

        if (fake.none) {
                errno = ENOSYS;
                return NULL;
        }
        list = calloc(N_DEVICES + 1, sizeof *list);
        assert_non_null(list);
        for (int i = 0; i < N_DEVICES; i++)
                list[i] = fake.devices + i;
        *n = N_DEVICES;
        fake.lists++;
        return list;
}

void ibv_free_device_list(struct ibv_device **list) {
        free(list);
        fake.lists--;
}

const char *ibv_get_device_name(struct ibv_device *device) {
        return device->name;
}

struct ibv_context *ibv_open_device(struct ibv_device *device) {
        struct verbs_context *context = fake.contexts + (device - fake.devices);

        if (device == &fake.devices[CLOSED]) {
                errno = EACCES;
                return NULL;
        }
        *context = (struct verbs_context) { .sz = sizeof *context, .query_device_ex = query_device_ex, .query_port = query_port };
        context->context.abi_compat = __VERBS_ABI_IS_EXTENDED;
        context->context.device = device;
        fake.open++;
        return &context->context;
}

int ibv_close_device(_unused_ struct ibv_context *context) {
        fake.open--;
        return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context) {
        static struct ibv_pd pd = { .handle = PD };

        if (fake.no_pd) {
                errno = ENOMEM;
                return NULL;
        }
        pd.context = context;
        kernel.error = context->device == &fake.devices[POOR] ? EOPNOTSUPP : fake.dmabuf_error;
        fake.pds++;
        return &pd;
}

int ibv_dealloc_pd(_unused_ struct ibv_pd *pd) {
        fake.pds--;
        return 0;
}

#undef ibv_query_port
int ibv_query_port(_unused_ struct ibv_context *context, _unused_ uint8_t number, _unused_ struct _compat_ibv_port_attr *attr) {
        fail_msg("the old call");
        return 0;
}

int ibv_query_device(_unused_ struct ibv_context *context, _unused_ struct ibv_device_attr *attr) {
        fail_msg("the old call");
        return 0;
}

/* sysfs for the devices: a driver, a description, nothing. */
static char sysfs[] = "/tmp/pinlease-test-XXXXXX";

static int set_up(_unused_ void **state) {
        static const char *const names[] = { "mlx5_0", "rxe\033[2J", "poor" };
        char path[512];
        FILE *f;

        if (!mkdtemp(sysfs))
                return -1;
        for (int i = 0; i < N_DEVICES; i++) {
                struct ibv_device *device = fake.devices + i;

                device->transport_type = i == POOR ? IBV_TRANSPORT_IWARP : IBV_TRANSPORT_IB;
                (void)snprintf(device->name, sizeof device->name, "%s", names[i]);
                (void)snprintf(device->ibdev_path, sizeof device->ibdev_path, "%s/%d", sysfs, i);
                if (mkdir(device->ibdev_path, 0700) < 0)
                        return -1;
        }
        (void)snprintf(path, sizeof path, "%s/0/device", sysfs);
        if (mkdir(path, 0700) < 0)
                return -1;
        (void)snprintf(path, sizeof path, "%s/0/device/driver", sysfs);
        if (symlink("../../bus/pci/drivers/mlx5_core", path) < 0)
                return -1;
        (void)snprintf(path, sizeof path, "%s/1/node_desc", sysfs);
        f = fopen(path, "we");
        return f && fputs("rxe\x07\n", f) >= 0 && fclose(f) == 0 ? 0 : -1;
}

static int tear_down(_unused_ void **state) {
        char command[128];

        (void)snprintf(command, sizeof command, "rm -r %s", sysfs);
        return system(command);
}

/* Runs the command and returns what it writes; standard error is not looked at. */
static char *run(bool json, enum status *ret_status) {
        struct options options = { .json = json };
        struct context context = { .options = &options, .terminal = { .columns = 80, .room = -1 } };
        int saved = dup(STDOUT_FILENO);
        FILE *f = tmpfile();
        char *text = calloc(1, 16384);

        assert_non_null(f);
        assert_non_null(text);
        (void)fflush(stdout);
        assert_true(dup2(fileno(f), STDOUT_FILENO) >= 0);
        *ret_status = devices_run(&context);
        (void)fflush(stdout);
        assert_true(dup2(saved, STDOUT_FILENO) >= 0);
        pl_close(saved);
        rewind(f);
        (void)!fread(text, 1, 16383, f);
        (void)fclose(f);
        assert_int_equal(fake.open + fake.pds + fake.lists, 0);
        return text;
}

static void assert_contains(const char *text, const char *part) {
        if (!strstr(text, part))
                fail_msg("\"%s\" is not in:\n%s", part, text);
}

TEST(test_text) {
        enum status status;
        char *text;

        fake.dmabuf_error = EBADF;
        text = run(false, &status);
        assert_int_equal(status, STATUS_NOT_PERMITTED);
        assert_contains(text,
                        "mlx5_0\n"
                        "  driver          mlx5_core\n"
                        "  transport       InfiniBand\n"
                        "  firmware        16.35.2000\n"
                        "  port 1          active, Ethernet\n"
                        "  port 2          cannot be asked: Input/output error\n"
                        "  ODP             yes, implicit too\n"
                        "    RC            send recv write read atomic srq-recv flush bit-31\n"
                        "    UC            -\n"
                        "    UD            send\n"
                        "    XRC           send srq-recv\n"
                        "  dma-buf         yes\n"
                        "  max_mr          16777216\n"
                        "  max_mr_size     16.0 EiB (18446744073709551615)\n"
                        "  max_pd          8388608\n"
                        "  page_size_cap   0xfffffffffffff000, smallest 4.0 KiB\n");
        assert_contains(text,
                        "rxe\\x1b[2J\n"
                        "  driver          rxe\\x07\n"
                        "  transport       InfiniBand\n"
                        "  error           cannot be opened: Permission denied\n");
        assert_contains(text, "poor\n  driver          -\n  transport       iWARP\n");
        assert_contains(text, "  ODP             no\n  dma-buf         no\n");
        free(text);
}

static struct json_object *member(struct json_object *object, const char *name) {
        struct json_object *value = json_object_object_get(object, name);

        if (!value)
                fail_msg("no %s in %s", name, json_object_to_json_string(object));
        return value;
}

TEST(test_json) {
        struct json_object *device;
        enum status status;
        char *text, *line, *state = NULL;

        fake.dmabuf_error = EINVAL;
        text = run(true, &status);
        line = strtok_r(text, "\n", &state);
        device = json_tokener_parse(line);
        assert_string_equal(json_object_get_string(member(device, "name")), "mlx5_0");
        assert_string_equal(json_object_get_string(member(device, "dmabuf")), "yes");
        assert_true(json_object_get_boolean(member(member(device, "odp"), "implicit")));
        assert_int_equal(json_object_array_length(member(member(device, "odp"), "rc")), 8);
        assert_int_equal(json_object_array_length(member(member(device, "odp"), "uc")), 0);
        assert_int_equal(json_object_array_length(member(device, "ports")), 2);
        assert_true(json_object_get_uint64(member(member(device, "limits"), "max_mr_size")) == UINT64_MAX);
        (void)json_object_put(device);

        device = json_tokener_parse(strtok_r(NULL, "\n", &state));
        assert_string_equal(json_object_get_string(member(device, "error")), "Permission denied");
        (void)json_object_put(device);
        device = json_tokener_parse(strtok_r(NULL, "\n", &state));
        assert_string_equal(json_object_get_string(member(device, "dmabuf")), "no");
        (void)json_object_put(device);
        assert_null(strtok_r(NULL, "\n", &state));
        free(text);
}

/* What the answer to a registration that cannot be says about dma-buf. */
TEST(test_dmabuf) {
        static const struct {
                int error;
                const char *line;
        } answers[] = {
                { EBADF, "  dma-buf         yes\n" }, { EINVAL, "  dma-buf         yes\n" }, { EOPNOTSUPP, "  dma-buf         no\n" }, { EPROTONOSUPPORT, "  dma-buf         no\n" },
                { EPERM, "  dma-buf         unknown: Operation not permitted\n" },
                { EIO, "  dma-buf         unknown: Input/output error\n" },
                { ENOENT, "  dma-buf         unknown: No such file or directory\n" },
                { 0, "  dma-buf         unknown: Input/output error\n" }, /* nobody can have registered that */
        };
        enum status status;
        char *text;

        for (size_t i = 0; i < ELEMENTSOF(answers); i++) {
                char *end;

                fake.dmabuf_error = answers[i].error;
                text = run(false, &status);
                end = strstr(text, "\n\n");
                assert_non_null(end);
                end[1] = 0;
                assert_contains(text, answers[i].line);
                free(text);
        }

        /* It does not come to a try. */
        fake.dmabuf_error = EBADF;
        fake.no_pd = true;
        kernel.n_dmabufs = 0;
        text = run(false, &status);
        assert_contains(text, "  dma-buf         unknown: Cannot allocate memory\n");
        fake.no_pd = false;
        free(text);
        kernel.probe_error = ENOTTY;
        text = run(false, &status);
        assert_contains(text, "  dma-buf         unknown: Inappropriate ioctl for device\n");
        kernel.probe_error = 0;
        free(text);
        assert_int_equal(kernel.n_dmabufs, 0);
}

TEST(test_errors) {
        enum status status;
        char *text;

        fake.query_error = EIO;
        text = run(false, &status);
        assert_int_equal(status, STATUS_NOT_PERMITTED);
        assert_contains(text, "mlx5_0\n  driver          mlx5_core\n  transport       InfiniBand\n  error           cannot be opened: Input");
        free(text);
        fake.query_error = 0;

        fake.none = true;
        text = run(false, &status);
        assert_int_equal(status, STATUS_OK);
        assert_string_equal(text, "");
        free(text);
        fake.none = false;
}

/* What pinleasectl explain hands on, told by a program that says its arguments. */
static void assert_explains(char *words, const char *expected) {
        char *argv[16], *save = NULL, text[512];
        int argc = 0, ends[2];
        ssize_t n;

        for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
                argv[argc++] = word;
        argv[argc] = NULL;
        assert_int_equal(pipe(ends), 0);
        if (testing_fork() == 0) {
                int command = options_find_explain(argc, argv);

                if (command > 0 && dup2(ends[1], STDOUT_FILENO) >= 0)
                        explain_exec(argc, argv, command);
                _exit(1);
        }
        pl_close(ends[1]);
        n = read(ends[0], text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        assert_string_equal(text, expected);
        pl_close(ends[0]);
}

TEST(test_explain) {
        char parent[512];
        FILE *f;

        assert_int_equal(setenv("PINLEASE_EXPLAIN_PROGRAM", "/bin/echo", 1), 0);
        fake.dmabuf_error = EOPNOTSUPP;
        assert_explains((char[]) { "pinleasectl --json explain /a --access read" },
                        "--host=mlx5_0=odp,pinned --host=poor=pinned --json /a --access read\n");
        assert_explains((char[]) { "pinleasectl --socket explain explain --pid 1 --fd 7 --offers odp" },
                        "--socket explain --pid 1 --fd 7 --offers odp\n");
        /* Another command. */
        assert_explains((char[]) { "pinleasectl list explain" }, "");
        assert_explains((char[]) { "pinleasectl --nonsense explain" }, "");

        (void)snprintf(parent, sizeof parent, "%s/0/parent", sysfs);
        f = fopen(parent, "we");
        assert_non_null(f);
        (void)fclose(f);
        assert_explains((char[]) { "pinleasectl explain /a" }, "--host=mlx5_0=odp-unsound,pinned --host=poor=pinned /a\n");
        fake.dmabuf_error = EBADF;
        assert_explains((char[]) { "pinleasectl explain /a" },
                        "--host=mlx5_0=odp-unsound,pinned,dmabuf --host=poor=pinned /a\n");
        assert_int_equal(unlink(parent), 0);
        assert_explains((char[]) { "pinleasectl explain /a" }, "--host=mlx5_0=odp,pinned,dmabuf --host=poor=pinned /a\n");
        /* What is not known is not promised. */
        fake.dmabuf_error = EIO;
        assert_explains((char[]) { "pinleasectl explain /a" }, "--host=mlx5_0=odp,pinned --host=poor=pinned /a\n");

        fake.none = true;
        assert_explains((char[]) { "pinleasectl explain /a" }, "/a\n");
        fake.none = false;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_text),
                CHECKED(test_json),
                CHECKED(test_dmabuf),
                CHECKED(test_errors),
                CHECKED(test_explain),
        };

        (void)setenv("LC_ALL", "C.UTF-8", 1);
        text_init();
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
