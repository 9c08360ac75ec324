/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attacks.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "admin.h"
#include "ledger.h"

#define SILENT        1000
#define SILENT_MAX    64 /* what the service allows a user */
#define DEAF          8
#define FDS_IN_PACKET 253 /* what the kernel allows */
#define TASKS_MAX     "20000" /* as in the unit */

/* What attacks with root's help have changed, and attack_stop() puts right. */
static pid_t daemon_pid;
static struct rlimit files_of_daemon;

static void done_once(struct progress *progress) {
        (void)atomic_fetch_add(&progress->n, 1);
        atomic_store(&progress->ready, 1);
}

/* Until the other side closes. */
static void await_end(int sock) {
        struct pl_received received;

        while (pl_wire_recv(sock, 0, &received) == 0)
                ;
}

/* --- neutral ----------------------------------------------------------------------------------------------------------- */

static void nothing(struct progress *progress) {
        atomic_store(&progress->ready, 1);
        for (;;)
                (void)pause();
}

static void spin(struct progress *progress) {
        for (;;)
                done_once(progress);
}

static void spin_twice(struct progress *progress) {
        if (fork() == 0)
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        spin(progress);
}

/* --- connections ------------------------------------------------------------------------------------------------------- */

/* So many at first, then as many as it is left with; whenever one times out there is another. */
static void stay_silent(struct progress *progress, size_t n) {
        static struct pollfd p[SILENT];
        size_t held = n;

        for (size_t i = 0; i < n; i++)
                p[i] = (struct pollfd) { .fd = dial(CLIENT_SOCKET, 0), .events = POLLIN };
        atomic_store(&progress->ready, 1);
        for (;;) {
                (void)poll(p, n, 50);
                for (size_t i = 0; i < n; i++) {
                        if (p[i].fd >= 0 && p[i].revents) {
                                p[i].fd = pl_close(p[i].fd);
                                held--;
                        }
                        if (p[i].fd < 0 && held < SILENT_MAX) {
                                p[i].fd = dial(CLIENT_SOCKET, 0);
                                held++;
                                done_once(progress);
                        }
                }
        }
}

static void silence(struct progress *progress) {
        stay_silent(progress, SILENT);
}

static void knock(const char *path, struct progress *progress) {
        for (;;) {
                int sock = dial(path, 0);

                if (sock >= 0)
                        close(sock);
                done_once(progress);
        }
}

static void come_and_go(struct progress *progress) {
        knock(CLIENT_SOCKET, progress);
}

static void knock_at_session_socket(struct progress *progress) {
        knock(SESSION_SOCKET, progress);
}

static void knock_at_admin_socket(struct progress *progress) {
        for (;;) {
                int sock = dial(ADMIN_SOCKET, 0);

                if (sock < 0)
                        die(ADMIN_SOCKET, sock);
                await_end(sock);
                close(sock);
                done_once(progress);
        }
}

/* --- packets ----------------------------------------------------------------------------------------------------------- */

static int send_fds(int sock, const struct pl_packet *packet, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(FDS_IN_PACKET * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)packet, .iov_len = packet->header.length };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE(n_fds * sizeof(int)),
        };

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* As many as the kernel takes, in packets that nobody may send, until the session ends of it; and again. */
static void flood_with_fds(struct progress *progress) {
        int fds[FDS_IN_PACKET];
        struct pl_packet packet;

        for (size_t i = 0; i < FDS_IN_PACKET; i++) {
                fds[i] = memfd_create("bench", MFD_CLOEXEC);
                if (fds[i] < 0)
                        die("memfd", errno);
        }
        pl_packet_init(&packet, PL_OP_REGISTER, 1);
        for (;;) {
                int sock = dial(CLIENT_SOCKET, 0);

                while (sock >= 0 && send_fds(sock, &packet, fds, FDS_IN_PACKET) == 0)
                        ;
                if (sock >= 0)
                        close(sock);
                done_once(progress);
        }
}

/* Asks, with a descriptor each time, and never reads an answer. */
static void never_read(struct progress *progress) {
        int socks[DEAF], memory = memfd_create("bench", MFD_CLOEXEC);
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REGISTER, 1);
        for (size_t i = 0; i < DEAF; i++) {
                socks[i] = open_session();
                (void)fcntl(socks[i], F_SETFL, O_NONBLOCK);
        }
        for (;;)
                for (size_t i = 0; i < DEAF; i++) {
                        (void)pl_wire_send(socks[i], MSG_DONTWAIT, &packet, memory);
                        done_once(progress);
                }
}

static void violate(struct progress *progress) {
        for (;;) {
                int sock = dial(CLIENT_SOCKET, 0);

                if (sock < 0)
                        die(CLIENT_SOCKET, sock);
                (void)send(sock, "nonsense", 8, MSG_NOSIGNAL);
                await_end(sock);
                close(sock);
                done_once(progress);
        }
}

static void start_and_end(struct progress *progress) {
        struct pl_packet packet, reply;

        for (;;) {
                int sock = dial(CLIENT_SOCKET, 0);

                if (sock < 0)
                        die(CLIENT_SOCKET, sock);
                pl_packet_init(&packet, PL_OP_HELLO, 0);
                (void)call(sock, &packet, -1, &reply);
                close(sock);
                done_once(progress);
        }
}

/* --- with the help of root --------------------------------------------------------------------------------------------- */

/* A session of the attacker's, by a process of its own. */
static pid_t attacker_with_session(void) {
        int pair[2];
        char byte;
        pid_t pid;

        if (pipe(pair) < 0)
                die("pipe", errno);
        pid = fork();
        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                become(ATTACKER);
                (void)open_session();
                (void)!write(pair[1], "", 1);
                for (;;)
                        (void)pause();
        }
        if (read(pair[0], &byte, 1) != 1)
                die("a session", ECONNRESET);
        return pid;
}

static int open_ledger(pid_t app) {
        char what[64], path[64], target[128];
        pid_t pids[2];

        (void)snprintf(what, sizeof what, "--client-pid=%d ", (int)app);
        if (find_processes(SESSION_COMM, what, pids, 2) != 2)
                die("the session", ESRCH);
        for (int fd = 3; fd < 64; fd++) {
                ssize_t n;

                (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pids[0], fd);
                n = readlink(path, target, sizeof target - 1);
                target[n < 0 ? 0 : n] = 0;
                if (strstr(target, "pinlease-ledger"))
                        return open(path, O_RDWR | O_CLOEXEC);
        }
        return -1;
}

/* What a registrar that has been taken over can do: every entry taken, every name as long as can be and full of what must be
 * escaped. */
static void lie(int fd) {
        struct ledger_header *header;
        struct ledger_entry *entries;

        header = mmap(NULL, LEDGER_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (header == MAP_FAILED)
                die("the ledger", errno);
        entries = mmap(NULL,
                       LEDGER_HEADER_SIZE + header->capacity * sizeof *entries,
                       PROT_READ | PROT_WRITE,
                       MAP_SHARED,
                       fd,
                       0);
        if (entries == MAP_FAILED)
                die("the ledger", errno);
        entries = (struct ledger_entry *)((char *)entries + LEDGER_HEADER_SIZE);
        for (uint32_t i = 0; i < header->capacity; i++) {
                entries[i].record = (struct ledger_record) { .id = (uint64_t)(i + 1) << 32 | i, .length = UINT64_MAX };
                memset(entries[i].record.name, '\n', LEDGER_NAME_MAX - 1);
                atomic_store(&entries[i].state, LEDGER_LIVE);
        }
        atomic_store(&header->high_water, header->capacity);
}

/* An administrator who looks all the time at what one session says. */
static void list_lies(struct progress *progress) {
        static const char body[] = "{\"method\":\"list\"}";
        static struct pl_admin_packet packet;
        int sock, fd = open_ledger(attacker_with_session());

        if (fd < 0)
                die("the ledger", errno);
        lie(fd);
        sock = dial(ADMIN_SOCKET, 0);
        if (sock < 0)
                die(ADMIN_SOCKET, sock);
        for (;;) {
                ssize_t n;

                packet.header = (struct pl_header) {
                        .magic = PL_MAGIC,
                        .version = PL_VERSION,
                        .opcode = PL_ADMIN_CALL,
                        .seq = 1,
                        .length = (uint32_t)(sizeof packet.header + strlen(body)),
                };
                memcpy(packet.body, body, strlen(body));
                if (send(sock, &packet, packet.header.length, MSG_NOSIGNAL) < 0)
                        die(ADMIN_SOCKET, errno);
                do {
                        n = recv(sock, &packet, sizeof packet, 0);
                        if (n <= 0)
                                die(ADMIN_SOCKET, ECONNRESET);
                        atomic_store(&progress->ready, 1);
                } while (packet.header.opcode != PL_ADMIN_END);
                (void)atomic_fetch_add(&progress->n, 1);
        }
}

static void limit_tasks(const char *limit) {
        int fd = open(CGROUP "pids.max", O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, limit, strlen(limit)) < 0)
                die(CGROUP "pids.max", errno);
        close(fd);
}

/* The service has as many processes as it may have, and the attacker wants a session. */
static void fill_the_table(struct progress *progress) {
        char limit[32];

        (void)snprintf(limit, sizeof limit, "%.0f", read_number(CGROUP "pids.current"));
        limit_tasks(limit);
        become(ATTACKER);
        start_and_end(progress);
}

static size_t count_fds(pid_t pid) {
        char path[32];
        size_t n = 0;
        DIR *dir;

        (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        dir = opendir(path);
        if (!dir)
                die(path, errno);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}

/* The attacker has the last descriptors that pinleased may have, and wants more. */
static void take_the_descriptors(struct progress *progress) {
        struct rlimit few = files_of_daemon;

        few.rlim_cur = count_fds(daemon_pid) + SILENT_MAX / 2;
        if (prlimit(daemon_pid, RLIMIT_NOFILE, &few, NULL) < 0)
                die("prlimit", errno);
        become(ATTACKER);
        stay_silent(progress, 2 * SILENT_MAX);
}

/* --- all of them ------------------------------------------------------------------------------------------------------- */

const struct attack attacks[] = {
        [UNDISTURBED] = { "undisturbed", nothing, false, false },
        [ONE_HOG] = { "neutral: 1 process that spins", spin, false, false },
        [TWO_HOGS] = { "neutral: 2 processes that spin", spin_twice, false, false },
        { "1000 silent connections, renewed", silence, false, false },
        { "connect and close", come_and_go, false, false },
        { "packets of 253 descriptors", flood_with_fds, false, false },
        { "answers never read", never_read, false, false },
        { "protocol violations", violate, false, false },
        { "sessions started and ended", start_and_end, false, false },
        { "admin socket, not permitted", knock_at_admin_socket, false, false },
        { "session socket, not permitted", knock_at_session_socket, false, false },
        { "a full ledger of lies, listed", list_lies, true, false },
        { "full process table", fill_the_table, true, true },
        { "descriptors of pinleased used up", take_the_descriptors, true, true },
};
const size_t n_attacks = ELEMENTSOF(attacks);

/* Not any process of its name: there are children that only close something. */
static pid_t main_pid(void) {
        char line[32] = "";
        FILE *f = popen("systemctl show -P MainPID pinlease.service", "re");

        if (!f || !fgets(line, sizeof line, f))
                die("systemctl", errno);
        (void)pclose(f);
        return (pid_t)strtol(line, NULL, 10);
}

pid_t attack_start(const struct attack *attack, struct progress *progress) {
        pid_t pid;

        atomic_store(&progress->ready, 0);
        atomic_store(&progress->n, 0);
        if (!daemon_pid)
                daemon_pid = main_pid();
        if (prlimit(daemon_pid, RLIMIT_NOFILE, NULL, &files_of_daemon) < 0)
                die("pinleased", errno);
        pid = fork();
        if (pid < 0)
                die("fork", errno);
        if (pid == 0) {
                const struct rlimit files = { 4096, 4096 };

                (void)setpgid(0, 0);
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)setrlimit(RLIMIT_NOFILE, &files);
                if (!attack->as_root)
                        become(ATTACKER);
                attack->run(progress);
                _exit(EXIT_FAILURE);
        }
        (void)setpgid(pid, pid);
        while (!atomic_load(&progress->ready)) {
                if (waitpid(pid, NULL, WNOHANG) == pid)
                        die(attack->name, ECHILD);
                sleep_ms(5);
        }
        return pid;
}

void attack_stop(pid_t pid, size_t n) {
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        limit_tasks(TASKS_MAX);
        if (prlimit(daemon_pid, RLIMIT_NOFILE, &files_of_daemon, NULL) < 0)
                die("prlimit", errno);
        while (find_processes(SESSION_COMM, "", NULL, 0) > n)
                sleep_ms(20);
}
