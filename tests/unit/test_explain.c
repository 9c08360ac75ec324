/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* pinleasectl explain: kinds of files and options, exactly as people see the answer. */

#define WHO " --uid $U --gid 7"
#define BOTH " --offers odp,pinned"
#define OWN " --policy $D"
#define USER "  user       $U; groups 7\n"
#define SHM "  memory     shmem: shared memory (memfd or tmpfs), 100000 bytes\n  place      $S\n"
#define WHOLE "  request    write, bytes 0 to 100000, accepting odp, pinned\n" USER
#define DEVICE "  device     odp, pinned\n"
#define CHANGE "  on change  revoke, grace 3s; last force: stop\n"
#define SHM_GUARDS                                                                                                     \
        "  guards     seals   no       only a memfd has seals\n"                                                       \
        "             lease   perhaps  if nobody else has the file open\n"                                             \
        "             modify  yes      tells after a change\n"                                                         \
        "             poison  yes      tells of memory failures\n"
#define OTHER_MEMORY "  instead    use a memfd, or a file on tmpfs: odp\n"

struct row {
        const char *words;
        int status;
        const char *out;
};

static void run_rows(const struct row *rows, size_t n) {
        struct explaining x;

        explaining_setup(&x);
        for (size_t i = 0; i < n; i++)
                explaining_expect(&x, rows[i].words, rows[i].status, rows[i].out);
        explaining_teardown(&x);
}

TEST(test_memory) {
        static const struct row rows[] = {
                { "$S" WHO BOTH,
                  0,
                  "$S: would be registered, odp; where the device cannot, pinned\n" SHM WHOLE DEVICE
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
                { "$S --access read --offset 4K --length 8192 --methods pinned --device mlx5_0" WHO BOTH,
                  0,
                  "$S: would be registered, pinned\n" SHM
                  "  request    read, bytes 4096 to 12288, accepting pinned\n" USER "  device     mlx5_0: odp, pinned\n"
                  "  rule       builtin:shmem  built in\n" CHANGE
                  "  guards     seals   no       only a memfd has seals\n"
                  "             lease   perhaps  if nobody has the file open for writing\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n" },
                { "--pid $P --fd $L" WHO BOTH,
                  0,
                  "descriptor $L of process $P: would be registered, odp; where the device cannot, pinned\n"
                  "  memory     shmem: shared memory (memfd or tmpfs), 65536 bytes\n"
                  "  request    write, bytes 0 to 65536, accepting odp, pinned\n" USER DEVICE
                  "  rule       builtin:shmem  built in\n" CHANGE "  guards     seals   yes      it cannot shrink\n"
                  "             lease   no       there are none for this memory\n"
                  "             modify  no       there is nothing to tell: it is sealed\n"
                  "             poison  yes      tells of memory failures\n" },
                { "--pid $P --fd $M --length 4096" WHO BOTH,
                  0,
                  "descriptor $M of process $P: would be registered, odp; where the device cannot, pinned\n"
                  "  memory     shmem: shared memory (memfd or tmpfs), 65536 bytes\n"
                  "  request    write, bytes 0 to 4096, accepting odp, pinned\n" USER DEVICE
                  "  rule       builtin:shmem  built in\n" CHANGE
                  "  guards     seals   no       it is not sealed (F_SEAL_SHRINK)\n"
                  "             lease   no       there are none for this memory\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n" },
                /* By its name in /proc: nobody says whose descriptor it is, so seals are not seen. */
                { "/proc/$P/fd/$L" WHO BOTH,
                  0,
                  "/proc/$P/fd/$L: would be registered, odp; where the device cannot, pinned\n"
                  "  memory     shmem: shared memory (memfd or tmpfs), 65536 bytes\n"
                  "  request    write, bytes 0 to 65536, accepting odp, pinned\n" USER DEVICE
                  "  rule       builtin:shmem  built in\n" CHANGE
                  "  guards     seals   perhaps  if it is sealed (F_SEAL_SHRINK), which cannot be seen from here\n"
                  "             lease   no       there are none for this memory\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n" },
        };

        run_rows(rows, ELEMENTSOF(rows));
}

TEST(test_devices) {
        static const struct row rows[] = {
                { "$S --device rxe0 --offers odp-unsound,pinned" WHO,
                  0,
                  "$S: would be registered, pinned\n" SHM WHOLE "  device     rxe0: odp (unsound), pinned\n"
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
                { "$S --methods odp --offers pinned" WHO,
                  1,
                  "$S: refused, no-odp\n"
                  "  Only ODP was acceptable, and this device offers none for reliable connections.\n"
                  "  Accept a pin, which this memory allows.\n" SHM
                  "  request    write, bytes 0 to 100000, accepting odp\n" USER "  device     pinned\n"
                  "  rule       builtin:shmem  built in\n"
                  "  instead    accept pinned\n"
                  "             use a device that offers odp\n" },
                /* Those of the host, as pinleasectl tells them. */
                { "$S --host=mlx5_0=odp,pinned --host=rxe0=odp-unsound,pinned --device rxe0" WHO,
                  0,
                  "$S: would be registered, pinned\n" SHM WHOLE "  device     rxe0: odp (unsound), pinned\n"
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
                { "$S --host=mlx5_0=pinned --host=rxe0=odp,pinned" WHO,
                  0,
                  "$S: would be registered, pinned\n" SHM WHOLE "  device     mlx5_0: pinned\n"
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
                { "$S --host=mlx5_0=pinned --device mlx5_1" WHO,
                  0,
                  "$S: would be registered, odp; where the device cannot, pinned\n" SHM WHOLE
                  "  device     mlx5_1, which is not here: odp, pinned assumed\n"
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
                { "$S" WHO,
                  0,
                  "$S: would be registered, odp; where the device cannot, pinned\n" SHM WHOLE
                  "  device     none here: odp, pinned assumed\n"
                  "  rule       builtin:shmem  built in\n" CHANGE SHM_GUARDS },
        };

        run_rows(rows, ELEMENTSOF(rows));
}

TEST(test_rules) {
        static const struct row rows[] = {
                { "$S --uid 5001 --gid 9" OWN BOTH,
                  1,
                  "$S: refused, policy\n"
                  "  A rule of the administrator refuses it: Ask storage@ for a place.\n" SHM "  request    write, bytes 0 to 100000, accepting odp, pinned\n"
                  "  user       5001; groups 9\n" DEVICE "  rule       kept  $D/policy.json:4:3\n"
                  "  instead    use huge pages: odp\n"
                  "Rules before it, which do not match:\n"
                  "  huge  $D/policy.json:2:3  size: 1073741824 bytes at least\n"
                  "  tree  $D/policy.json:3:3  path: /srv/**, /home/**\n" },
                { "$S --uid $U --gid 77" OWN BOTH,
                  1,
                  "$S: refused, no-guard\n"
                  "  The rule requires the guard \"seals\", which cannot be had: only a memfd has\n"
                  "  seals.\n" SHM "  request    write, bytes 0 to 100000, accepting odp, pinned\n"
                  "  user       $U; groups 77\n" DEVICE "  rule       sealed  $D/policy.json:6:3\n"
                  "  guards     seals   no       (required) only a memfd has seals\n"
                  "             lease   perhaps  if nobody else has the file open\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n"
                  "  instead    use huge pages: odp\n"
                  "Rules before it, which do not match:\n"
                  "  huge  $D/policy.json:2:3  size: 1073741824 bytes at least\n"
                  "  tree  $D/policy.json:3:3  path: /srv/**, /home/**\n"
                  "  kept  $D/policy.json:4:3  uid: 5000-5999, 7\n" },
                { "--pid $P --fd $L --uid $U --gid 77" OWN BOTH,
                  0,
                  "descriptor $L of process $P: would be registered, pinned; where the device cannot, odp\n"
                  "  memory     shmem: shared memory (memfd or tmpfs), 65536 bytes\n"
                  "  request    write, bytes 0 to 65536, accepting odp, pinned\n"
                  "  user       $U; groups 77\n" DEVICE "  rule       sealed  $D/policy.json:6:3\n"
                  "  on change  revoke, grace 500ms; last force: kill\n"
                  "  guards     seals   yes      (required) it cannot shrink\n"
                  "             lease   no       there are none for this memory\n"
                  "             modify  no       there is nothing to tell: it is sealed\n"
                  "             poison  yes      tells of memory failures\n"
                  "Rules before it, which do not match:\n"
                  "  huge  $D/policy.json:2:3  size: 1073741824 bytes at least\n"
                  "  tree  $D/policy.json:3:3  path: /srv/**, /home/**\n"
                  "  kept  $D/policy.json:4:3  uid: 5000-5999, 7\n" },
                { "$S --uid $U --gid 78 --device mlx5_3" OWN BOTH,
                  0,
                  "$S: would be registered, odp\n" SHM "  request    write, bytes 0 to 100000, accepting odp, pinned\n"
                  "  user       $U; groups 78\n"
                  "  device     mlx5_3: odp, pinned\n"
                  "  rule       leased  $D/policy.json:9:3\n"
                  "  on change  notify, grace 3s; last force: stop\n"
                  "  prefetch   yes\n"
                  "  guards     seals   no       only a memfd has seals\n"
                  "             lease   perhaps  (required) if nobody else has the file open\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n"
                  "Rules before it, which do not match:\n"
                  "  huge    $D/policy.json:2:3  size: 1073741824 bytes at least\n"
                  "  tree    $D/policy.json:3:3  path: /srv/**, /home/**\n"
                  "  kept    $D/policy.json:4:3  uid: 5000-5999, 7\n"
                  "  sealed  $D/policy.json:6:3  gid: 77\n" },
                { "$S --gid 78 --uid $U --methods odp --access read --cgroup /b --device rxe0 --offers odp" OWN,
                  0,
                  "$S: would be registered, odp\n" SHM "  request    read, bytes 0 to 100000, accepting odp\n"
                  "  user       $U; groups 78; control group /b\n"
                  "  device     rxe0: odp\n"
                  "  rule       builtin:shmem  built in\n" CHANGE
                  "  guards     seals   no       only a memfd has seals\n"
                  "             lease   perhaps  if nobody has the file open for writing\n"
                  "             modify  yes      tells after a change\n"
                  "             poison  yes      tells of memory failures\n"
                  "Rules before it, which do not match:\n"
                  "  huge     $D/policy.json:2:3  size: 1073741824 bytes at least\n"
                  "  tree     $D/policy.json:3:3  path: /srv/**, /home/**\n"
                  "  kept     $D/policy.json:4:3  uid: 5000-5999, 7\n"
                  "  sealed   $D/policy.json:6:3  gid: 77\n"
                  "  leased   $D/policy.json:9:3  device: mlx5_*\n"
                  "  looking  $D/policy.json:11:3  fs_type: ext4, 0x1234\n" },
        };

        run_rows(rows, ELEMENTSOF(rows));
}

TEST(test_no_memory) {
        static const struct row rows[] = {
                { "$D/fifo" WHO BOTH,
                  1,
                  "$D/fifo: refused, not-memory\n"
                  "  The descriptor is a pipe, not memory that can be registered. Use a memfd,\n"
                  "  tmpfs, huge pages, or a file on ext4 or xfs.\n"
                  "  memory     a pipe\n"
                  "  place      $D/fifo\n" OTHER_MEMORY },
                { "--pid $P --fd $I" WHO BOTH,
                  1,
                  "descriptor $I of process $P: refused, not-memory\n"
                  "  The descriptor is a pipe, not memory that can be registered. Use a memfd,\n"
                  "  tmpfs, huge pages, or a file on ext4 or xfs.\n"
                  "  memory     a pipe\n" OTHER_MEMORY },
                { "/dev/shm" WHO BOTH,
                  1,
                  "/dev/shm: refused, not-memory\n"
                  "  The descriptor is a directory, not memory that can be registered. Use a memfd,\n"
                  "  tmpfs, huge pages, or a file on ext4 or xfs.\n"
                  "  memory     a directory\n"
                  "  place      /dev/shm\n" OTHER_MEMORY },
                { "/dev/../dev/./null" WHO BOTH,
                  1,
                  "/dev/../dev/./null: refused, not-memory\n"
                  "  The descriptor is a character device, not memory that can be registered. Use a\n"
                  "  memfd, tmpfs, huge pages, or a file on ext4 or xfs.\n"
                  "  memory     a character device\n"
                  "  place      /dev/null\n" OTHER_MEMORY },
                { "/proc/$P/status" WHO BOTH,
                  1,
                  "/proc/$P/status: refused, bad-fs\n"
                  "  The descriptor is a file on another file system (type 0x9fa0), which no rule\n"
                  "  allows to be registered. Use a memfd, tmpfs, huge pages, or a file on ext4 or\n"
                  "  xfs.\n"
                  "  memory     a file on another file system\n"
                  "  place      /proc/$P/status\n" OTHER_MEMORY },
        };

        run_rows(rows, ELEMENTSOF(rows));
}

/* The request does not fit the file: nothing is asked of the policy. */
TEST(test_requests) {
        static const struct row rows[] = {
                { "$S --length 1M" WHO BOTH,
                  1,
                  "$S: refused, beyond-end\n"
                  "  Bytes 0 to 1048576 were asked for, but the file ends at 100000. Extend it\n"
                  "  first (ftruncate, fallocate), or ask for less.\n" SHM
                  "  request    write, bytes 0 to 1048576, accepting odp, pinned\n" USER DEVICE },
                { "$S --length 0" WHO BOTH,
                  1,
                  "$S: refused, zero-length\n"
                  "  The range is empty. Register one byte at least.\n" SHM
                  "  request    write, bytes 0 to 0, accepting odp, pinned\n" USER DEVICE },
        };

        run_rows(rows, ELEMENTSOF(rows));
}

TEST(test_ordinary_files) {
        static const struct row rows[] = {
                { "$D/link --access read --methods pinned" WHO BOTH,
                  1,
                  "$D/link: refused, pagecache-read-pin\n"
                  "  A read-only long-term pin of an ordinary file is not allowed by the built-in\n"
                  "  rules: the file can be truncated under the pin. Accept ODP, which this device\n"
                  "  offers; or use a memfd, tmpfs or huge pages.\n"
                  "  memory     pagecache: a file on ext4, 8192 bytes\n"
                  "  place      $D/file\n"
                  "  request    read, bytes 0 to 8192, accepting pinned\n" USER DEVICE
                  "  rule       builtin:pagecache-read  built in\n"
                  "  instead    accept odp\n"
                  "             use a memfd, or a file on tmpfs: pinned\n"
                  "Rules before it, which do not match:\n"
                  "  builtin:shmem            built in  backing: shmem\n"
                  "  builtin:hugetlb          built in  backing: hugetlb\n"
                  "  builtin:fsdax            built in  backing: fsdax\n"
                  "  builtin:pagecache-write  built in  access: write\n" },
                { "$D/file --methods pinned --offers pinned" WHO,
                  1,
                  "$D/file: refused, pagecache-write-pin\n"
                  "  A writable long-term pin of an ordinary file is refused: a device would write\n"
                  "  behind the file system's dirty tracking (the kernel answers EFAULT since Linux\n"
                  "  6.5). This device offers no ODP, so use a memfd, tmpfs or huge pages.\n"
                  "  memory     pagecache: a file on ext4, 8192 bytes\n"
                  "  place      $D/file\n"
                  "  request    write, bytes 0 to 8192, accepting pinned\n" USER "  device     pinned\n"
                  "  rule       builtin:pagecache-write  built in\n"
                  "  instead    use a device that offers odp, and accept odp\n"
                  "             use a memfd, or a file on tmpfs: pinned\n"
                  "Rules before it, which do not match:\n"
                  "  builtin:shmem    built in  backing: shmem\n"
                  "  builtin:hugetlb  built in  backing: hugetlb\n"
                  "  builtin:fsdax    built in  backing: fsdax\n" },
        };
        struct explaining x;
        bool is_ext4;

        explaining_setup(&x);
        is_ext4 = x.is_ext4;
        explaining_teardown(&x);
        if (!is_ext4)
                testing_skip("/tmp is not on ext4\n");
        run_rows(rows, ELEMENTSOF(rows));
}

/* There is no answer: nothing on standard output, a sentence on the other, status 2. */
TEST(test_no_answer) {
        static const struct {
                const char *words, *error;
        } rows[] = {
                { "$D/missing", "$D/missing: No such file or directory" },
                { "$D/dangling", "$D/dangling: No such file or directory" },
                { "$D/loop", "$D/loop: Too many levels of symbolic links" },
                { "$D/file/below", "$D/file/below: Not a directory" },
                { "--pid $P --fd 987654", "descriptor 987654 of process $P: No such file or directory" },
                { "--pid 2147483647 --fd 0", "process 2147483647: No such file or directory" },
                { "", "a path is needed, or --pid and --fd" },
                { "$S --pid $P --fd 0", "a path is needed, or --pid and --fd" },
                { "--fd 0", "--pid is needed as well" },
                { "$S $S", "nothing to do with" },
                { "$S --access both", "neither read nor write" },
                { "$S --length 1X", "is not a size" },
                { "$S --length 1GG", "is not a size" },
                { "$S --length -1", "is not a size" },
                { "$S --offset 99999999999G", "is not a size" },
                { "$S --methods odp-unsound", "is not one of odp, pinned" },
                { "$S --methods dmabuf", "is not one of odp, pinned" },
                { "$S --methods ,", "is not one of" },
                { "$S --offers none", "is not one of odp, pinned, odp-unsound, dmabuf" },
                { "$S --uid no-such-user-here", "there is no user" },
                { "$S --gid no-such-group-here", "there is no group" },
                { "$S --gid ,", "a group is needed" },
                { "$S --nonsense", "unrecognized option" },
                { "$S --policy $D/policy.json", "policy.json" },
                { "$S --policy $D/missing", "--policy: No such file or directory" },
        };
        struct explaining x;

        explaining_setup(&x);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char *expected = explaining_expand(&x, rows[i].error), *out, *err;
                int status = explaining_run(&x, rows[i].words, &out, &err);

                if (status != 2 || *out || !strstr(err, expected))
                        fail_msg("explain %s: status %d\n%s%s", rows[i].words, status, out, err);
                free(expected);
                free(out);
                free(err);
        }
        explaining_teardown(&x);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_memory),   CHECKED(test_devices),        CHECKED(test_rules),     CHECKED(test_no_memory),
                CHECKED(test_requests), CHECKED(test_ordinary_files), CHECKED(test_no_answer),
        };

        return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
