/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-explain: all that is looked at outside of this process. */

#include "explain.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/sysmacros.h>

/* Seals can be asked for by a descriptor that is open only, and to open it would be to do something to it. The
 * process's own will do: what is memory never waits when it is closed. */
static void find_seals(struct explanation *e) {
        _cleanup_(pl_closep) int process = -1, fd = -1;
        int seals = -1;

        /* What is not a memfd has been made without sealing. */
        e->seals_known = !e->found.in_memory;
        if (!e->found.in_memory || !e->options->by_fd)
                return;
        process = pidfd_open(e->options->pid, 0);
        fd = process >= 0 ? pidfd_getfd(process, (int)e->options->fd, 0) : -1;
        if (fd >= 0)
                seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return;
        e->class.seals = seals;
        e->seals_known = true;
}

/* A lease that is held is in /proc/locks: "5: LEASE  ACTIVE    WRITE 4711 08:01:1234 0 EOF". */
static pid_t find_lease(const struct pl_fdclass *class) {
        FILE *f = fopen("/proc/locks", "re");
        unsigned long long inode;
        unsigned int maj, min;
        pid_t pid, holder = 0;
        char line[256];

        while (f && !holder && fgets(line, sizeof line, f))
                if (sscanf(line, "%*u: LEASE %*s %*s %d %x:%x:%llu", &pid, &maj, &min, &inode) == 4 &&
                    makedev(maj, min) == class->dev && inode == class->inode)
                        holder = pid;
        if (f)
                (void)fclose(f);
        return holder;
}

int explain_find(struct explanation *e) {
        const struct explain_options *o = e->options;
        int r;

        e->found.fd = -1;
        r = o->by_fd ? lookup_fd(o->pid, o->fd, &e->found) : lookup_path(o->path, &e->found);
        if (r < 0)
                return r;
        if (e->found.fd < 0) {
                e->class = (struct pl_fdclass) { .kind = PL_FD_HANGING, .page_size = (uint64_t)sysconf(_SC_PAGESIZE) };
                return 0;
        }
        r = pl_fdclass_get_path(e->found.fd, &e->class);
        if (r < 0)
                return r;
        if (e->class.kind == PL_FD_HANGING)
                return 0;

        e->class.flags = o->by_fd ? e->found.flags : o->writable ? O_RDWR : O_RDONLY;
        if (e->class.flags & O_PATH)
                e->class.kind = PL_FD_PATH;
        if (e->class.kind == PL_FD_SHMEM || e->class.kind == PL_FD_HUGETLB)
                find_seals(e);
        else
                e->seals_known = true;
        place_find(e->found.fd, &e->class, &e->place);
        /* An O_PATH descriptor of a dma-buf does not tell. */
        e->exporter_known = e->class.kind == PL_FD_DMABUF && pl_dmabuf_exporter_at(e->found.fdinfo, e->exporter) == 0;
        e->lease_holder = find_lease(&e->class);
        e->request = (struct pl_register) {
                .offset = o->offset,
                .length = o->has_length               ? o->length
                          : e->class.size > o->offset ? e->class.size - o->offset
                                                      : 0,
                .access = o->writable ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : IBV_ACCESS_REMOTE_READ,
        };
        /* Others' rights cannot be tried. */
        if (!o->by_fd && e->class.kind != PL_FD_PATH && e->subject->uid == geteuid() &&
            faccessat(e->found.fd, "", o->writable ? R_OK | W_OK : R_OK, AT_EMPTY_PATH | AT_EACCESS) < 0)
                e->open_error = errno;
        /* Any address at which that offset can lie. */
        e->request.address = (UINT64_C(1) << 40) + o->offset % pl_fdclass_map_unit(&e->class);
        return 0;
}

void explain_done(struct explanation *e) {
        /* O_PATH: closing it waits for nobody. */
        e->found.fd = pl_close(e->found.fd);
}
