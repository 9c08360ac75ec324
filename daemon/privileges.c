/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

static int set_capabilities(uint32_t mask) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
                { .effective = mask, .permitted = mask },
        };

        return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int limit(int resource, uint64_t value) {
        const struct rlimit rl = { .rlim_cur = value, .rlim_max = value };

        return setrlimit((__rlimit_resource_t)resource, &rl) < 0 ? -errno : 0;
}

static int harden(void) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        /* No ptrace, no /proc/PID/mem, for whoever else runs as the same user. Every change of credentials resets it, so it
         * comes last. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

int privileges_drop_registrar(const struct registrar_identity *identity, uint64_t pin_ceiling) {
        int r;

        /* RLIMIT_NOFILE stays what it is: the kernel also counts by it what all registrars, being one user, have in flight
         * to their keepers. */
        r = limit(RLIMIT_MEMLOCK, pin_ceiling);
        if (r == 0)
                r = limit(RLIMIT_CORE, 0);
        if (r < 0)
                return r;

        /* Capabilities outlive the change of user, as far as setfsuid() needs them. */
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
            setresgid(identity->gid, identity->gid, identity->gid) < 0 ||
            setresuid(identity->uid, identity->uid, identity->uid) < 0)
                return -errno;
        r = set_capabilities(1U << CAP_SETUID | 1U << CAP_SETGID);
        if (r < 0)
                return r;

        /* setfsuid() does not report errors, only what was before. */
        (void)setfsgid(identity->fsgid);
        (void)setfsuid(identity->fsuid);
        if ((uid_t)setfsuid((uid_t)-1) != identity->fsuid || (gid_t)setfsgid((gid_t)-1) != identity->fsgid)
                return -EPERM;

        r = set_capabilities(0);
        if (r < 0)
                return r;
        return harden();
}

int privileges_drop_keeper(void) {
        int r;

        r = limit(RLIMIT_CORE, 0);
        if (r == 0)
                r = set_capabilities(1U << CAP_KILL | 1U << CAP_SYS_RESOURCE | 1U << CAP_LEASE);
        if (r < 0)
                return r;
        return harden();
}

int privileges_drop_capabilities(void) {
        return set_capabilities(0);
}
