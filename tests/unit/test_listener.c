/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fds.h"
#include "listener.h"

static char folder[32]; /* 25 characters */

static int make_folder(void **state) {
        (void)strcpy(folder, "/tmp/pinlease-test-XXXXXX");
        return mkdtemp(folder) ? testing_leak_setup(state) : -1;
}

static int remove_folder(void **state) {
        return rmdir(folder) < 0 ? -1 : testing_leak_teardown(state);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

static const char *path_of(const char *name) {
        static char path[256];

        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        return path;
}

static void done(struct listeners *l) {
        listeners_remove(l);
        for (unsigned int i = 0; i < N_LISTENERS; i++)
                l->fds[i] = pl_close(l->fds[i]);
}

static int bound(const char *path, int type, bool listening) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        if (listening)
                assert_int_equal(listen(fd, 0), 0);
        return fd;
}

static void assert_socket(const struct listeners *l, enum listener kind, const char *name, mode_t mode) {
        struct stat st;
        int fd, on = 0;
        socklen_t size = sizeof on;
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        assert_string_equal(l->paths[kind], path_of(name));
        assert_int_equal(lstat(l->paths[kind], &st), 0);
        assert_int_equal(st.st_mode, S_IFSOCK | mode);
        assert_int_equal(getsockopt(l->fds[kind], SOL_SOCKET, SO_ACCEPTCONN, &on, &size), 0);
        assert_int_equal(on, 1);
        assert_true(fcntl(l->fds[kind], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(l->fds[kind], F_GETFD) & FD_CLOEXEC);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        memcpy(address.sun_path, l->paths[kind], sizeof address.sun_path);
        assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        pl_close(fd);
}

TEST(test_made) {
        struct listeners l, other;
        mode_t mask = umask(077);

        assert_int_equal(listeners_get(folder, getegid(), &l), 0);
        (void)umask(mask);
        assert_socket(&l, LISTENER_CLIENT, "client.sock", 0660);
        assert_socket(&l, LISTENER_SESSION, "session.sock", 0600);
        assert_socket(&l, LISTENER_ADMIN, "admin.sock", 0660);

        /* Another one while these are listened on: it is refused, and takes nothing away. */
        assert_int_equal(listeners_get(folder, (gid_t)-1, &other), -EADDRINUSE);
        assert_socket(&l, LISTENER_CLIENT, "client.sock", 0660);

        /* What a former daemon has left is replaced; and what is a successor's by then is not removed. */
        for (unsigned int i = 0; i < N_LISTENERS; i++)
                l.fds[i] = pl_close(l.fds[i]);
        assert_int_equal(listeners_get(folder, (gid_t)-1, &other), 0);
        listeners_remove(&l);
        assert_socket(&other, LISTENER_CLIENT, "client.sock", 0660);
        assert_socket(&other, LISTENER_ADMIN, "admin.sock", 0660);
        done(&other);
        assert_int_equal(access(path_of("session.sock"), F_OK), -1);
}

/* The folder is made as well. */
TEST(test_folder) {
        struct listeners l;
        char path[64];

        (void)snprintf(path, sizeof path, "%s/deeper", folder);
        assert_int_equal(listeners_get(path, (gid_t)-1, &l), 0);
        done(&l);
        assert_int_equal(rmdir(path), 0);
        (void)snprintf(path, sizeof path, "%s/much/deeper", folder);
        assert_int_equal(listeners_get(path, (gid_t)-1, &l), -ENOENT);
        assert_int_equal(listeners_get(NULL, (gid_t)-1, &l), -ENOTCONN);
}

/* What is not a socket that nobody listens on stays, whichever of the three is in the way; and nothing is left of the others. */
TEST(test_in_the_way) {
        static const char *const names[] = { "client.sock", "session.sock", "admin.sock" };
        enum { FILE_, LINK, FOLDER, OTHER_TYPE, NOT_ACCEPTING, N_HOWS };

        for (unsigned int how = 0; how < N_HOWS; how++)
                for (unsigned int i = 0; i < N_LISTENERS; i++) {
                        char path[64];
                        struct listeners l;
                        int fd = -1, full = -1;

                        (void)snprintf(path, sizeof path, "%.30s/%s", folder, names[i]);
                        if (how == FILE_)
                                fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
                        else if (how == LINK)
                                assert_int_equal(symlink("/nonexistent", path), 0);
                        else if (how == FOLDER)
                                assert_int_equal(mkdir(path, 0700), 0);
                        else if (how == OTHER_TYPE)
                                fd = bound(path, SOCK_STREAM, true);
                        else {
                                struct sockaddr_un address = { .sun_family = AF_UNIX };

                                fd = bound(path, SOCK_SEQPACKET, true);
                                memcpy(address.sun_path, path, sizeof path);
                                full = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
                                assert_int_equal(connect(full, (const struct sockaddr *)&address, sizeof address), 0);
                        }
                        assert_int_equal(listeners_get(folder, (gid_t)-1, &l), how >= OTHER_TYPE ? -EADDRINUSE : -EEXIST);
                        assert_int_equal(access(path, F_OK), how == LINK ? -1 : 0);
                        assert_int_equal(how == FOLDER ? rmdir(path) : unlink(path), 0);
                        pl_close(fd);
                        pl_close(full);
                        /* remove_folder() would find the others. */
                        for (unsigned int k = 0; k < N_LISTENERS; k++)
                                assert_int_equal(access(path_of(names[k]), F_OK), -1);
                }
}

/* "client.sock" fits, "session.sock" does not. */
TEST(test_long_names) {
        char path[128];
        struct listeners l;

        for (size_t length = 90; length < 100; length++) {
                size_t n = strlen(folder);
                int r;

                (void)snprintf(path, sizeof path, "%s/", folder);
                memset(path + n + 1, 'a', length - n - 1);
                path[length] = 0;
                r = listeners_get(path, (gid_t)-1, &l);
                assert_int_equal(r, length + strlen("/session.sock") < sizeof l.paths[0] ? 0 : -ENAMETOOLONG);
                if (r == 0)
                        done(&l);
                assert_int_equal(rmdir(path), 0);
        }
}

/* The child has these sockets from systemd. Returns what listeners_get() says; 0 if it is content, and they are. */
static int from_systemd(const int *fds, unsigned int n, const char *names, const char *pid) {
        pid_t child = testing_fork();
        int status;

        if (child == 0) {
                struct listeners l;
                char text[32];
                int r;

                if (fds_arrange(fds, n) < 0)
                        _exit(100);
                (void)snprintf(text, sizeof text, "%d", (int)getpid());
                (void)setenv("LISTEN_PID", pid ? pid : text, 1);
                (void)snprintf(text, sizeof text, "%u", n);
                (void)setenv("LISTEN_FDS", text, 1);
                if (names)
                        (void)setenv("LISTEN_FDNAMES", names, 1);
                r = listeners_get(NULL, (gid_t)-1, &l);
                if (r < 0)
                        _exit(-r);
                /* Files of systemd's are not removed. */
                listeners_remove(&l);
                if (l.fds[LISTENER_SESSION] != 3 || l.fds[LISTENER_CLIENT] != 4 || l.fds[LISTENER_ADMIN] != 5 ||
                    strcmp(l.paths[LISTENER_SESSION], path_of("s")) != 0 || getenv("LISTEN_FDS"))
                        _exit(101);
                _exit(0);
        }
        status = testing_wait_child(child);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

TEST(test_from_systemd) {
        int fds[4], stream, deaf;

        fds[0] = bound(path_of("s"), SOCK_SEQPACKET, true);
        fds[1] = bound(path_of("c"), SOCK_SEQPACKET, true);
        fds[2] = bound(path_of("a"), SOCK_SEQPACKET, true);
        fds[3] = bound(path_of("x"), SOCK_SEQPACKET, true);
        stream = bound(path_of("stream"), SOCK_STREAM, true);
        deaf = bound(path_of("deaf"), SOCK_SEQPACKET, false);

        assert_int_equal(from_systemd(fds, 3, "session:client:admin", NULL), 0);
        assert_int_equal(from_systemd(fds, 3, "session:client:client", NULL), EINVAL);
        assert_int_equal(from_systemd(fds, 3, "session:client:other", NULL), EINVAL);
        assert_int_equal(from_systemd(fds, 3, NULL, NULL), EINVAL);
        assert_int_equal(from_systemd(fds, 2, "session:client", NULL), EINVAL);
        assert_int_equal(from_systemd(fds, 4, "session:client:admin:other", NULL), EINVAL);
        assert_int_equal(from_systemd(fds, 4, "session:client:admin:admin", NULL), EINVAL);
        /* Of somebody else: none. */
        assert_int_equal(from_systemd(fds, 3, "session:client:admin", "1"), ENOTCONN);
        assert_int_equal(from_systemd(fds, 3, "session:client:admin", "x"), EINVAL);

        assert_int_equal(from_systemd((const int[]) { stream, fds[1], fds[2] }, 3, "session:client:admin", NULL), EINVAL);
        assert_int_equal(from_systemd((const int[]) { deaf, fds[1], fds[2] }, 3, "session:client:admin", NULL), EINVAL);
        {
                int none = open("/dev/null", O_RDWR | O_CLOEXEC);

                assert_int_equal(from_systemd((const int[]) { none, fds[1], fds[2] }, 3, "session:client:admin", NULL), EINVAL);
                pl_close(none);
        }
        for (unsigned int i = 0; i < 4; i++)
                pl_close(fds[i]);
        pl_close(stream);
        pl_close(deaf);
        for (unsigned int i = 0; i < 6; i++) {
                static const char *const names[] = { "s", "c", "a", "x", "stream", "deaf" };

                assert_int_equal(unlink(path_of(names[i])), 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_FOLDER(test_made),       IN_FOLDER(test_folder),       IN_FOLDER(test_in_the_way),
                IN_FOLDER(test_long_names), IN_FOLDER(test_from_systemd),
        };

        return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
