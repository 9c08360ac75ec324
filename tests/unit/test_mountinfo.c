/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mountinfo.h"

TEST(test_lines) {
        const struct {
                const char *line;
                struct pl_mount mount; /* point NULL: it is no such line */
        } table[] = {
                { "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n",
                  { 36, 35, makedev(98, 0), "/mnt2", "ext3" } },
                { "36 35 98:0 / / rw - xfs /dev/root rw", { 36, 35, makedev(98, 0), "/", "xfs" } },
                { "0 0 0:1 / / rw shared:1 master:2 propagate_from:3 unbindable - rootfs rootfs rw\n",
                  { 0, 0, makedev(0, 1), "/", "rootfs" } },
                { "1 2 3:4 / /a\\040b\\011c\\012d\\134e rw - fuse.sshfs x rw\n",
                  { 1, 2, makedev(3, 4), "/a b\tc\nd\\e", "fuse.sshfs" } },
                /* What looks like the end of the optional fields is the name of a folder. */
                { "1 2 3:4 / /a\\040-\\040ext4 rw - fuse x rw\n", { 1, 2, makedev(3, 4), "/a - ext4", "fuse" } },
                { "1 2 3:4 /-\\040ext4 /b rw - fuse x rw\n", { 1, 2, makedev(3, 4), "/b", "fuse" } },
                { "1 2 3:4 / /\\400\\09\\000\\ rw - ext4 x rw\n",
                  { 1, 2, makedev(3, 4), "/\\400\\09\\000\\", "ext4" } },
                { "1 2 3:4 / /a rw - ext4", { 1, 2, makedev(3, 4), "/a", "ext4" } },
                { .line = "1 2 3:4 / /a rw - " },
                { .line = "1 2 3:4 / /a rw -" },
                { .line = "1 2 3:4 / /a rw ext4 x rw\n" },
                { .line = "1 2 3:4 / " },
                { .line = "1 2 3:4" },
                { .line = "1 2 3 / /a rw - ext4 x rw\n" },
                { .line = "x 2 3:4 / /a rw - ext4 x rw\n" },
                { .line = "\n" },
                { .line = "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct pl_mount mount;
                char line[256];
                int r;

                (void)snprintf(line, sizeof line, "%s", table[i].line);
                r = pl_mountinfo_parse(line, &mount);
                assert_int_equal(r, table[i].mount.point ? 0 : -EBADMSG);
                if (r < 0)
                        continue;
                assert_int_equal(mount.id, table[i].mount.id);
                assert_int_equal(mount.parent, table[i].mount.parent);
                assert_int_equal(mount.dev, table[i].mount.dev);
                assert_string_equal(mount.point, table[i].mount.point);
                assert_string_equal(mount.type, table[i].mount.type);
        }
}

/* The kernel's own: each is understood, and /proc is where it is. */
TEST(test_kernels) {
        FILE *f = fopen("/proc/self/mountinfo", "re");
        unsigned int n_proc = 0;
        char *line = NULL;
        size_t room = 0;
        struct stat st;

        assert_non_null(f);
        assert_int_equal(stat("/proc", &st), 0);
        while (getline(&line, &room, f) > 0) {
                struct pl_mount mount;

                assert_int_equal(pl_mountinfo_parse(line, &mount), 0);
                if (strcmp(mount.point, "/proc") == 0 && strcmp(mount.type, "proc") == 0 && mount.dev == st.st_dev)
                        n_proc++;
        }
        assert_true(n_proc > 0);
        free(line);
        (void)fclose(f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_lines),
                CHECKED(test_kernels),
        };

        return cmocka_run_group_tests_name("mountinfo", tests, NULL, NULL);
}
