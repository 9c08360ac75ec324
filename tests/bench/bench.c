/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proc.h"

_Noreturn void die(const char *what, int error) {
        (void)fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(error < 0 ? -error : error));
        exit(EXIT_FAILURE);
}

double now_us(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

void sleep_ms(unsigned int ms) {
        const struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

        (void)nanosleep(&ts, NULL);
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

double median(double *values, size_t n) {
        qsort(values, n, sizeof *values, compare);
        if (n == 0)
                return 0;
        return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double quantile(double *values, size_t n, double q) {
        qsort(values, n, sizeof *values, compare);
        return n == 0 ? 0 : values[(size_t)(q * (double)(n - 1))];
}

/* --- who and where ----------------------------------------------------------------------------------------------------- */

void enter_host(void) {
        int fd = open("/run/netns/hosta", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        if (setns(fd, CLONE_NEWNET) < 0)
                die("hosta", errno);
        close(fd);
}

void become(const char *user) {
        const struct group *group = getgrnam("pinlease");
        const struct passwd *pw;
        gid_t gid;

        if (!group)
                die("group pinlease", ENOENT);
        gid = group->gr_gid;
        pw = getpwnam(user);
        if (!pw)
                die(user, ENOENT);
        if (setgroups(1, &gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
            setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
                die(user, errno);
}

struct device device_open(void) {
        struct ibv_device **devices = ibv_get_device_list(NULL);
        struct device device;

        if (!devices || !devices[0])
                die("no RDMA device", ENODEV);
        device.context = ibv_open_device(devices[0]);
        if (!device.context)
                die("ibv_open_device", errno);
        device.pd = ibv_alloc_pd(device.context);
        if (!device.pd)
                die("ibv_alloc_pd", errno);
        device.memory = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (device.memory < 0 || ftruncate(device.memory, BENCH_PAGE) < 0 ||
            fcntl(device.memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                die("memfd", errno);
        device.page = mmap(NULL, BENCH_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device.memory, 0);
        if (device.page == MAP_FAILED)
                die("mmap", errno);
        memset(device.page, 1, BENCH_PAGE);
        return device;
}

/* --- the protocol ------------------------------------------------------------------------------------------------------ */

int dial(const char *path, int flags) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(pl_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

        if (fd < 0)
                return -errno;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        return pl_steal_fd(&fd);
}

int call(int sock, struct pl_packet *packet, int fd, struct pl_packet *ret_reply) {
        struct pl_received received;
        int r;

        packet->header.seq = 1;
        r = pl_wire_send(sock, 0, packet, fd);
        if (r == 0)
                r = pl_wire_recv(sock, 0, &received);
        if (r < 0)
                return r;
        *ret_reply = received.packet;
        return received.packet.header.opcode == PL_OP_REFUSED ? (int)received.packet.body.refused.code : 0;
}

static void must(int sock, struct pl_packet *packet, int fd, struct pl_packet *ret_reply) {
        int r = call(sock, packet, fd, ret_reply);

        if (r < 0)
                die(pl_opcode_name(packet->header.opcode), r);
        if (r > 0) {
                (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, ret_reply->body.refused.sentence);
                exit(EXIT_FAILURE);
        }
}

void say_hello(int sock) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_HELLO, 0);
        must(sock, &packet, -1, &reply);
}

int open_session(void) {
        int sock = dial(CLIENT_SOCKET, 0);

        if (sock < 0)
                die(CLIENT_SOCKET, sock);
        say_hello(sock);
        return sock;
}

uint32_t attach(int sock, const struct device *device) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_ATTACH, 0);
        must(sock, &packet, device->context->cmd_fd, &reply);
        return reply.body.attach_reply.context;
}

uint64_t register_page(int sock, const struct device *device, uint32_t context) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_REGISTER, 0);
        packet.body.reg = (struct pl_register) {
                .context = context,
                .pd = device->pd->handle,
                .length = BENCH_PAGE,
                .address = (uintptr_t)device->page,
                .access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
                .methods = PINLEASE_METHOD_PINNED,
        };
        must(sock, &packet, device->memory, &reply);
        return reply.body.register_reply.id;
}

void deregister(int sock, uint64_t id) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_DEREGISTER, 0);
        packet.body.deregister.id = id;
        must(sock, &packet, -1, &reply);
}

void ping(int sock) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_PING, 0);
        must(sock, &packet, -1, &reply);
}

/* --- /proc ------------------------------------------------------------------------------------------------------------- */

static bool is_it(pid_t pid, const char *comm, const char *what) {
        char text[4096];
        size_t n;

        n = proc_read(pid, "comm", text, sizeof text);
        if (n != strlen(comm) + 1 || strncmp(text, comm, n - 1) != 0)
                return false;
        n = proc_read(pid, "cmdline", text, sizeof text);
        for (size_t i = 0; i + 1 < n; i++)
                if (!text[i])
                        text[i] = ' ';
        return n > 0 && strstr(text, what);
}

struct search {
        const char *comm, *what;
        pid_t *pids;
        size_t n, max;
};

static void match(pid_t pid, void *userdata) {
        struct search *s = userdata;

        if (!is_it(pid, s->comm, s->what))
                return;
        if (s->n < s->max)
                s->pids[s->n] = pid;
        s->n++;
}

size_t find_processes(const char *comm, const char *what, pid_t *ret_pids, size_t max) {
        struct search s = { .comm = comm, .what = what, .pids = ret_pids, .max = max };

        if (!proc_each(match, &s))
                die("/proc", errno);
        return s.n;
}

void await_processes(size_t n) {
        while (find_processes(SESSION_COMM, "", NULL, 0) > n)
                sleep_ms(20);
}

void pin(pid_t app) {
        pid_t pids[3] = { app };
        char what[64];
        cpu_set_t first;

        (void)snprintf(what, sizeof what, "--client-pid=%d ", (int)app);
        if (find_processes(SESSION_COMM, what, pids + 1, 2) != 2)
                die("the session", ESRCH);
        CPU_ZERO(&first);
        CPU_SET(0, &first);
        for (size_t i = 0; i < ELEMENTSOF(pids); i++)
                if (sched_setaffinity(pids[i], sizeof first, &first) < 0)
                        die("sched_setaffinity", errno);
}

double sum_lines(pid_t pid, const char *file, const char *const *names) {
        char text[8192], *line;
        double sum = 0;

        if (!proc_read(pid, file, text, sizeof text))
                return 0;
        for (line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                for (size_t i = 0; names[i]; i++)
                        if (strncmp(line, names[i], strlen(names[i])) == 0 && line[strlen(names[i])] == ':')
                                sum += strtod(line + strlen(names[i]) + 1, NULL);
        return sum;
}

double read_number(const char *path) {
        char text[64] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return -1;
        n = read(fd, text, sizeof text - 1);
        close(fd);
        return n > 0 ? strtod(text, NULL) : -1;
}

double service_cpu_us(void) {
        static const char path[] = SERVICE_CGROUP "cpu.stat";
        char text[512] = "";
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
                die(path, errno);
        close(fd);
        return strtod(text + strlen("usage_usec "), NULL);
}
