/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>

#include "chardev.h"
#include "fdclass.h"

/* FUSE, DAX and a second mount namespace need root: those are tested in the guest. */

/* Classifies and closes. */
static struct pl_fdclass classify(int fd) {
        struct pl_fdclass class;

        assert_true(fd >= 0);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        pl_close(fd);
        assert_non_null(pl_fdclass_name(&class));
        return class;
}

/* A file that has no name any more. */
static int temporary(const char *folder, int flags) {
        char path[256];
        int fd;

        (void)snprintf(path, sizeof path, "%s/pinlease-test-XXXXXX", folder);
        fd = mkostemp(path, O_CLOEXEC | flags);
        if (fd >= 0)
                assert_int_equal(unlink(path), 0);
        return fd;
}

TEST(test_memfd) {
        int fd = testing_memfd(12345);
        struct pl_fdclass class;
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        class = classify(fd);
        assert_int_equal(class.kind, PL_FD_SHMEM);
        assert_int_equal(class.mode, S_IFREG);
        assert_int_equal(class.flags & O_ACCMODE, O_RDWR);
        assert_int_equal(class.seals, F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(class.fs_magic, TMPFS_MAGIC);
        assert_int_equal(class.page_size, sysconf(_SC_PAGESIZE));
        assert_int_equal(class.size, st.st_size);
        assert_int_equal(class.dev, st.st_dev);
        assert_int_equal(class.inode, st.st_ino);
        assert_false(class.dax);
}

TEST(test_memfd_without_sealing) {
        int fd = memfd_create("pinlease-test", MFD_CLOEXEC);
        struct pl_fdclass class = classify(fd);

        assert_int_equal(class.kind, PL_FD_SHMEM);
        assert_int_equal(class.seals & F_SEAL_SEAL, F_SEAL_SEAL);
        assert_int_equal(class.size, 0);
}

TEST(test_hugetlb) {
        int fd = memfd_create("pinlease-test", MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING);
        struct pl_fdclass class;

        /* Works without a single huge page: none is taken before it is mapped. */
        if (fd < 0 && (errno == ENOSYS || errno == ENODEV))
                testing_skip("this kernel has no huge pages\n");
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 512 << 20), 0);
        class = classify(fd);
        assert_int_equal(class.kind, PL_FD_HUGETLB);
        assert_int_equal(class.fs_magic, HUGETLBFS_MAGIC);
        assert_true(class.page_size > (uint64_t)sysconf(_SC_PAGESIZE));
        assert_int_equal(class.size, 512 << 20);
}

TEST(test_tmpfs) {
        struct pl_fdclass class;
        int fd;

        if (access("/dev/shm", W_OK) < 0)
                testing_skip("/dev/shm: %s\n", strerror(errno));
        fd = temporary("/dev/shm", O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 100), 0);
        class = classify(fd);
        assert_int_equal(class.kind, PL_FD_SHMEM);
        assert_int_equal(class.size, 100);
        assert_int_equal(class.seals & F_SEAL_SHRINK, 0);
}

/* POSIX shared memory is tmpfs; and SysV's is the same, for who may open it as a file. */
TEST(test_shared_memory) {
        char name[64], path[64];
        struct pl_fdclass class;
        uint8_t *start;
        int fd, id;

        (void)snprintf(name, sizeof name, "/pinlease-test-%d", (int)getpid());
        fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        assert_int_equal(shm_unlink(name), 0);
        assert_int_equal(ftruncate(fd, 4096), 0);
        class = classify(fd);
        assert_int_equal(class.kind, PL_FD_SHMEM);
        assert_int_equal(class.size, 4096);

        id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
        assert_true(id >= 0);
        start = shmat(id, NULL, 0);
        assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
        assert_true(start != (void *)-1);
        (void)snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)start, (unsigned long)start + 8192);
        fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(fd < 0 ? errno : 0, fd < 0 ? EPERM : 0);
        if (fd >= 0) {
                class = classify(fd);
                assert_int_equal(class.kind, PL_FD_SHMEM);
                assert_int_equal(class.size, 8192);
        }
        assert_int_equal(shmdt(start), 0);
}

/* An ordinary file: by statmount where the kernel has it, else by the mount table. Where the build happens on something
 * that is not local (overlay in a container, NFS), it counts as hanging, and that is tested instead. */
/* What the fallback for older kernels goes by: is the file's device among our mounts? */
static bool in_mount_table(int fd) {
        FILE *table = fopen("/proc/self/mountinfo", "re");
        unsigned int maj, min;
        char line[4096];
        bool found = false;
        struct stat st;

        assert_non_null(table);
        assert_int_equal(fstat(fd, &st), 0);
        while (!found && fgets(line, sizeof line, table))
                found = sscanf(line, "%*u %*u %u:%u", &maj, &min) == 2 && makedev(maj, min) == st.st_dev;
        (void)fclose(table);
        return found;
}

TEST(test_file) {
        static const uint64_t local[] = { EXT4_SUPER_MAGIC, 0x58465342, BTRFS_SUPER_MAGIC, TMPFS_MAGIC };
        int fd = temporary(".", O_RDWR);
        struct pl_fdclass class;
        struct statfs sfs;
        bool known = false;

        assert_true(fd >= 0);
        assert_int_equal(fstatfs(fd, &sfs), 0);
        for (size_t i = 0; i < ELEMENTSOF(local); i++)
                known |= (uint64_t)sfs.f_type == local[i];
        assert_int_equal(ftruncate(fd, 4097), 0);
        class = classify(fd);
        print_message("the build folder is on file system 0x%lx: %s\n", (unsigned long)sfs.f_type, pl_fdclass_name(&class));
        if (!known) {
                assert_int_equal(class.kind, PL_FD_HANGING);
                return;
        }
        if (class.kind == PL_FD_HANGING && !in_mount_table(fd))
                testing_skip("the build folder's mount is not in the mount table (chroot, or a btrfs subvolume)\n");
        assert_int_equal(class.kind, (uint64_t)sfs.f_type == TMPFS_MAGIC ? PL_FD_SHMEM : PL_FD_FILE);
        assert_int_equal(class.fs_magic, sfs.f_type);
        assert_int_equal(class.size, 4097);
        assert_int_equal(class.mode, S_IFREG);
        assert_int_equal(class.seals, 0);
}

TEST(test_open_modes) {
        char path[64];
        int fd = testing_memfd(4096);

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        assert_int_equal(classify(open(path, O_RDONLY | O_CLOEXEC)).flags & O_ACCMODE, O_RDONLY);
        assert_int_equal(classify(open(path, O_WRONLY | O_CLOEXEC)).flags & O_ACCMODE, O_WRONLY);
        assert_int_equal(classify(open(path, O_RDWR | O_CLOEXEC)).flags & O_ACCMODE, O_RDWR);
        pl_close(fd);
}

TEST(test_path) {
        static const char *const paths[] = { "/dev/null", "/proc", "/proc/self/mountinfo", "/" };

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                struct pl_fdclass class = classify(open(paths[i], O_PATH | O_CLOEXEC));

                assert_int_equal(class.kind, PL_FD_PATH);
                assert_string_equal(pl_fdclass_name(&class), "a descriptor opened with O_PATH");
        }
}

/* What is said of the file that an O_PATH descriptor leads to is what is said of a descriptor that is open; the latter is closed. */
static void assert_same_by_path(int fd) {
        struct pl_fdclass open_one, by_path;
        char path[64];
        int o_path;

        assert_true(fd >= 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        o_path = open(path, O_PATH | O_CLOEXEC);
        assert_true(o_path >= 0);
        assert_int_equal(pl_fdclass_get(fd, &open_one), 0);
        assert_int_equal(pl_fdclass_get_path(o_path, &by_path), 0);
        assert_true(by_path.flags & O_PATH);
        assert_int_equal(by_path.seals, 0);
        assert_int_equal(by_path.kind, open_one.kind);
        assert_string_equal(pl_fdclass_name(&by_path), pl_fdclass_name(&open_one));
        assert_int_equal(by_path.mode, open_one.mode);
        assert_int_equal(by_path.fs_magic, open_one.fs_magic);
        assert_int_equal(by_path.page_size, open_one.page_size);
        assert_int_equal(by_path.size, open_one.size);
        assert_int_equal(by_path.dev, open_one.dev);
        assert_int_equal(by_path.rdev, open_one.rdev);
        assert_int_equal(by_path.inode, open_one.inode);
        assert_int_equal(by_path.owner, open_one.owner);
        assert_int_equal(by_path.dax, open_one.dax);
        pl_close(o_path);
        pl_close(fd);
}

TEST(test_by_path) {
        int pair[2], fd = testing_memfd(12345);

        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        assert_same_by_path(fd);
        assert_same_by_path(memfd_create("pinlease-test", MFD_CLOEXEC));
        fd = memfd_create("pinlease-test", MFD_CLOEXEC | MFD_HUGETLB);
        if (fd >= 0)
                assert_same_by_path(fd);
        fd = temporary("/dev/shm", O_RDWR);
        assert_int_equal(ftruncate(fd, 100), 0);
        assert_same_by_path(fd);
        fd = temporary(".", O_RDWR);
        assert_int_equal(ftruncate(fd, 4097), 0);
        assert_same_by_path(fd);
        assert_same_by_path(open("/dev/null", O_RDWR | O_CLOEXEC));
        assert_same_by_path(open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        assert_same_by_path(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        assert_same_by_path(pair[0]);
        pl_close(pair[1]);
        assert_same_by_path(eventfd(0, EFD_CLOEXEC));
}

TEST(test_by_path_closed) {
        struct pl_fdclass class;

        assert_int_equal(pl_fdclass_get_path(-1, &class), -EBADF);
}

TEST(test_chardev) {
        struct pl_fdclass class = classify(open("/dev/null", O_RDWR | O_CLOEXEC));

        assert_int_equal(class.kind, PL_FD_CHARDEV);
        assert_int_equal(class.rdev, makedev(1, 3));
        assert_string_equal(pl_fdclass_name(&class), "a character device");
}

/* By number, not by name; and not by that of a block device, which is another list (1: "mem" and "ramdisk"). Device-dax itself is
 * in the guest only. */
TEST(test_chardev_driver) {
        uint64_t size = 1, align = 2;

        assert_int_equal(pl_chardev_is(makedev(1, 3), "mem"), 1);
        assert_int_equal(pl_chardev_is(makedev(5, 0), "/dev/tty"), 1);
        assert_int_equal(pl_chardev_is(makedev(1, 3), "me"), 0);
        assert_int_equal(pl_chardev_is(makedev(1, 3), "ramdisk"), 0);
        assert_int_equal(pl_chardev_is(makedev(1, 3), "dax"), 0);
        assert_int_equal(pl_chardev_is(makedev(4000, 0), "mem"), 0);
        assert_int_equal(pl_chardev_dax(makedev(1, 3), &size, &align), -ENODEV);
        assert_int_equal(pl_chardev_dax(makedev(4000, 0), &size, &align), -ENODEV);
        assert_true(size == 1 && align == 2);
}

/* A node of anybody's that is called like one. */
TEST(test_chardev_name) {
        char folder[] = "/tmp/pinlease-test-XXXXXX", path[64];
        struct pl_fdclass class;
        uint64_t size;
        int fd = -1;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/dax0.0", folder);
        if (mknod(path, S_IFCHR | 0600, makedev(1, 3)) < 0 || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0) {
                (void)unlink(path);
                assert_int_equal(rmdir(folder), 0);
                testing_skip("no device nodes here: %s\n", strerror(errno));
        }
        assert_int_equal(pl_fdclass_size(fd, &size), -ENODEV);
        class = classify(fd);
        assert_int_equal(class.kind, PL_FD_CHARDEV);
        assert_int_equal(class.align, 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(folder), 0);
}

static void assert_other(int fd, const char *name) {
        struct pl_fdclass class = classify(fd);

        assert_int_equal(class.kind, PL_FD_OTHER);
        assert_string_equal(pl_fdclass_name(&class), name);
}

TEST(test_not_files) {
        const char *object = "a kernel object that is not memory (event, timer, epoll descriptor …)";
        int pair[2];

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        assert_other(pair[0], "a pipe");
        assert_other(pair[1], "a pipe");
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_other(pair[0], "a socket");
        assert_other(pair[1], "a socket");
        assert_other(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "a socket");
        assert_other(eventfd(0, EFD_CLOEXEC), object);
        assert_other(epoll_create1(EPOLL_CLOEXEC), object);
        assert_other(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), object);
        assert_other(pidfd_open(getpid(), 0), object);
}

TEST(test_directory) {
        assert_other(open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "a directory");
        assert_other(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "a directory");
}

/* A file that is generated: local, but no rule allows it. */
TEST(test_proc) {
        struct pl_fdclass class = classify(open("/proc/self/status", O_RDONLY | O_CLOEXEC));

        assert_int_equal(class.kind, PL_FD_FILE);
        assert_int_equal(class.fs_magic, PROC_SUPER_MAGIC);
}

TEST(test_closed) {
        struct pl_fdclass class;
        int fd = eventfd(0, EFD_CLOEXEC);

        pl_close(fd);
        assert_int_equal(pl_fdclass_get(fd, &class), -EBADF);
        assert_int_equal(pl_fdclass_get(-1, &class), -EBADF);
        assert_int_equal(pl_fdclass_get(INT32_MAX, &class), -EBADF);
}

TEST(test_size) {
        int fd = testing_memfd(8192);
        uint64_t size;

        assert_int_equal(ftruncate(fd, 1), 0);
        assert_int_equal(pl_fdclass_size(fd, &size), 0);
        assert_int_equal(size, 1);
        pl_close(fd);
        assert_true(pl_fdclass_size(-1, &size) < 0);
}

TEST(test_again) {
        int fd = testing_memfd(8192);
        struct pl_fdclass class, now;

        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        assert_int_equal(pl_fdclass_again(fd, &class, &now), 0);
        assert_memory_equal(&now, &class, sizeof now);
        assert_int_equal(ftruncate(fd, 1), 0);
        assert_int_equal(pl_fdclass_again(fd, &class, &now), 0);
        assert_int_equal(now.size, 1);
        assert_int_equal(now.inode, class.inode);
        /* Finely counted times: Linux 6.13. */
        if (testing_kernel_is(6, 13))
                assert_true(now.changed_s != class.changed_s || now.changed_ns != class.changed_ns);
        pl_close(fd);
        assert_int_equal(pl_fdclass_again(fd, &class, &now), -EBADF);
}

/* Asked thousands of times, as an app may do: nothing is left open. */
TEST(test_many) {
        int fd = temporary(".", O_RDWR);

        for (unsigned int i = 0; i < 2000; i++) {
                struct pl_fdclass class;

                assert_int_equal(pl_fdclass_get(fd, &class), 0);
        }
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_memfd),
                CHECKED(test_memfd_without_sealing),
                CHECKED(test_hugetlb),
                CHECKED(test_tmpfs),
                CHECKED(test_shared_memory),
                CHECKED(test_file),
                CHECKED(test_open_modes),
                CHECKED(test_path),
                CHECKED(test_by_path),
                CHECKED(test_by_path_closed),
                CHECKED(test_chardev),
                CHECKED(test_chardev_driver),
                CHECKED(test_chardev_name),
                CHECKED(test_not_files),
                CHECKED(test_directory),
                CHECKED(test_proc),
                CHECKED(test_closed),
                CHECKED(test_size),
                CHECKED(test_again),
                CHECKED(test_many),
        };

        return cmocka_run_group_tests_name("fdclass", tests, NULL, NULL);
}
