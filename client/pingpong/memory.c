/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define DEFAULT_SIZE (UINT64_C(64) << 20)

static int refuse_size(const char *name, uint64_t size) {
        warnx("%s: %" PRIu64 " bytes do not fit in a file", name, size);
        return -1;
}

/* A memfd that cannot shrink is the best there is to register: nobody can take its pages away from under the device. */
static int open_memfd(const char *name, uint64_t size) {
        int fd;

        if (size > INT64_MAX)
                return refuse_size("memfd", size);
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0) {
                warn("memfd_create");
                return -1;
        }
        if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
                warn("memfd of %" PRIu64 " bytes", size);
                close(fd);
                return -1;
        }
        return fd;
}

/* The memfd as a dma-buf, as the driver of a GPU would export its memory. It is of whole pages, and may not shrink. */
static int open_udmabuf(int memfd, uint64_t size) {
        struct udmabuf_create create = { .memfd = (uint32_t)memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = size };
        int device, fd;

        device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
        if (device < 0) {
                warn("/dev/udmabuf");
                return -1;
        }
        fd = ioctl(device, UDMABUF_CREATE, &create);
        if (fd < 0)
                warn("a dma-buf of %" PRIu64
                     " bytes (what /dev/udmabuf allows: /sys/module/udmabuf/parameters/size_limit_mb)",
                     size);
        close(device);
        return fd;
}

/* The size is rounded up to whole pages, which are 2 MiB or more. */
static int open_hugetlb(uint64_t *size) {
        struct statfs sfs;
        uint64_t page;
        int fd;

        fd = memfd_create("pinlease-pingpong", MFD_CLOEXEC | MFD_HUGETLB);
        if (fd < 0 || fstatfs(fd, &sfs) < 0) {
                warn("memfd_create with MFD_HUGETLB");
                goto fail;
        }
        page = (uint64_t)sfs.f_bsize;
        if (*size > INT64_MAX - page) {
                (void)refuse_size("memfd", *size);
                goto fail;
        }
        *size = (*size + page - 1) / page * page;
        if (ftruncate(fd, (off_t)*size) < 0) {
                warn("huge pages, %" PRIu64 " bytes", *size);
                goto fail;
        }
        return fd;

fail:
        if (fd >= 0)
                close(fd);
        return -1;
}

/* An existing file is used as it is and never made smaller. With a size it is made, or made larger, and all its blocks
 * are allocated: writing into a hole from afar is something else than writing into a file. */
static int open_file(const struct options *o, uint64_t *size) {
        struct stat st;
        int fd, r;

        fd = open(o->file, o->read_only ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CLOEXEC | (*size ? O_CREAT : 0), 0600);
        if (fd < 0 || fstat(fd, &st) < 0) {
                warn("%s", o->file);
                goto fail;
        }

        if (*size == 0) {
                if ((uint64_t)st.st_size <= o->offset) {
                        warnx("%s has %" PRIu64 " bytes: nothing is left after offset %" PRIu64, o->file,
                              (uint64_t)st.st_size, o->offset);
                        goto fail;
                }
                *size = (uint64_t)st.st_size - o->offset;
        } else if (!o->read_only && S_ISREG(st.st_mode)) {
                if (*size > INT64_MAX - o->offset) {
                        (void)refuse_size(o->file, *size);
                        goto fail;
                }
                r = posix_fallocate(fd, (off_t)o->offset, (off_t)*size);
                if (r != 0) {
                        errno = r;
                        warn("%s: room for %" PRIu64 " bytes", o->file, *size);
                        goto fail;
                }
        }
        return fd;

fail:
        if (fd >= 0)
                close(fd);
        return -1;
}

/* Mappings begin at a page; a registration may begin anywhere, as long as address and offset agree within the page. */
static int map(struct memory *m, bool read_only, uint64_t page_size) {
        uint64_t in_page = m->offset % page_size;

        m->map_length = (size_t)(in_page + m->length);
        m->map = mmap(NULL, m->map_length, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, m->fd,
                      (off_t)(m->offset - in_page));
        if (m->map == MAP_FAILED) {
                warn("cannot map %" PRIu64 " bytes of %s", m->length, m->name);
                m->map = NULL;
                memory_close(m);
                return -1;
        }
        m->start = (uint8_t *)m->map + in_page;
        return 0;
}

/* Huge pages are mapped whole; their file system gives the page as its block. */
static uint64_t page_size_of(int fd) {
        struct statfs sfs;

        if (fstatfs(fd, &sfs) == 0 && sfs.f_type == HUGETLBFS_MAGIC)
                return (uint64_t)sfs.f_bsize;
        return (uint64_t)sysconf(_SC_PAGESIZE);
}

int memory_open(const struct options *o, struct memory *ret_memory) {
        struct memory m = { .offset = o->offset, .length = o->size, .dmabuf = -1 };
        uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE), whole = 0;

        if (o->file) {
                (void)snprintf(m.name, sizeof m.name, "%s", o->file);
                m.fd = open_file(o, &m.length);
        } else {
                /* The object is larger by the offset, so that `size` bytes can be registered. */
                if (__builtin_add_overflow(o->size ? o->size : DEFAULT_SIZE, o->offset, &whole))
                        return refuse_size("memfd", o->size);
                m.length = whole - o->offset;
                if (o->udmabuf && whole <= INT64_MAX)
                        whole = (whole + page_size - 1) / page_size * page_size; /* of which m.length are registered */
                (void)snprintf(m.name, sizeof m.name, "%s", o->hugetlb ? "huge pages" : o->udmabuf ? "a udmabuf" : "a memfd");
                m.fd = o->hugetlb ? open_hugetlb(&whole) : open_memfd("pinlease-pingpong", whole);
                if (o->hugetlb)
                        m.length = whole - o->offset;
        }
        if (m.fd < 0)
                return -1;
        if (o->udmabuf) {
                m.dmabuf = open_udmabuf(m.fd, whole);
                if (m.dmabuf < 0) {
                        memory_close(&m);
                        return -1;
                }
        }

        if (map(&m, o->read_only && o->file, page_size_of(m.fd)) < 0)
                return -1;
        /* A client which only reads should get to see more than zeros. */
        if (o->read_only && !o->file)
                pattern_fill(m.start, (size_t)m.length, 1, 0);

        *ret_memory = m;
        return 0;
}

int memory_map_again(const struct options *o, struct memory *m, uint64_t file_size) {
        if (m->map)
                (void)munmap(m->map, m->map_length);
        m->map = NULL;
        if (file_size <= m->offset)
                return 1;
        m->length = file_size - m->offset;
        if (o->size > 0 && o->size < m->length)
                m->length = o->size;
        return map(m, o->read_only && o->file, page_size_of(m->fd));
}

bool memory_is_there(const uint8_t *start, uint64_t length) {
        uintptr_t in_page = (uintptr_t)start % (uintptr_t)sysconf(_SC_PAGESIZE);

        return madvise((void *)((uintptr_t)start - in_page), (size_t)length + in_page, MADV_POPULATE_READ) == 0 || errno == EINVAL;
}

int memory_open_messages(struct memory *ret_memory) {
        uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
        struct memory m = { .length = MESSAGE_PAGES * page_size, .dmabuf = -1, .name = "the pages for messages" };

        m.fd = open_memfd("pinlease-pingpong-messages", m.length);
        if (m.fd < 0 || map(&m, false, page_size) < 0)
                return -1;
        *ret_memory = m;
        return 0;
}

void memory_close(struct memory *m) {
        if (m->map)
                (void)munmap(m->map, m->map_length);
        if (m->dmabuf >= 0)
                close(m->dmabuf);
        if (m->fd >= 0)
                close(m->fd);
        *m = (struct memory) MEMORY_NONE;
}

/* --- what has to do with pinlease --- */

static void on_going_away(struct pinlease *session, uint32_t grace_ms, const char *sentence, void *userdata) {
        struct server *s = userdata;

        (void)session;
        printf("going away within %" PRIu32 " ms: %s\n", grace_ms, sentence);
        s->stop = true; /* which deregisters, see server_run() */
}

static const char *name_of(const struct server *s, const struct pinlease_mr *reg) {
        return reg == s->memory_reg ? "the memory" : "the pages for messages";
}

/* Letting go in time costs us nothing but the registration. Of a file that changes we get another; else there is nothing left to
 * serve here. */
static void on_revoking(struct pinlease *session,
                        struct pinlease_mr *reg,
                        const struct pinlease_revocation *revocation,
                        void *userdata) {
        struct server *s = userdata;

        (void)session;
        printf("%s: asked back within %" PRIu32 " ms (%s): %s\n",
               name_of(s, reg), revocation->grace_ms, pinlease_strrevocation(revocation->reason), revocation->sentence);
        if (revocation->reason == PINLEASE_REVOKED_LAYOUT_CHANGE && reg == s->memory_reg)
                keeping_asked(s);
        else
                s->stop = true;
}

static void on_revoked(struct pinlease *session,
                       struct pinlease_mr *reg,
                       const struct pinlease_revocation *revocation,
                       void *userdata) {
        struct server *s = userdata;

        (void)session;
        warnx("%s: taken away (%s, %" PRIu64 " bytes at %" PRIu64 "): %s",
              name_of(s, reg), pinlease_strrevocation(revocation->reason), revocation->length, revocation->offset,
              revocation->sentence);
        s->status = STATUS_FAILED;
        s->stop = true;
}

static void on_settled(struct pinlease *session, void *cookie, uint64_t size, const char *sentence, void *userdata) {
        struct server *s = userdata;

        (void)session;
        (void)sentence;
        if (cookie == &s->memory) {
                printf("the file has settled, %" PRIu64 " bytes\n", size);
                keeping_settled(s, size);
        }
}

static void on_notice(struct pinlease *session,
                      struct pinlease_mr *reg,
                      enum pinlease_notice notice,
                      uint64_t size,
                      const char *sentence,
                      void *userdata) {
        const struct server *s = userdata;

        (void)session;
        (void)size;
        printf("%s: %s: %s\n", name_of(s, reg), pinlease_strnotice(notice), sentence);
}

static void on_disconnected(struct pinlease *session, void *userdata) {
        struct server *s = userdata;

        (void)session;
        warnx("the session with the service has ended: the memory is not registered any more");
        s->status = STATUS_FAILED;
        s->stop = true;
}

static const struct pinlease_listener session_listener = {
        .going_away = on_going_away,
        .disconnected = on_disconnected,
        .revoking = on_revoking,
        .revoked = on_revoked,
        .settled = on_settled,
        .notice = on_notice,
};

/* Says why, and returns the exit status. session: NULL if there is none because connecting was refused. */
static int refused(const struct server *s, const struct pinlease *session, const char *what) {
        const struct pinlease_refusal *refusal = pinlease_refusal(session);
        const char *code = pinlease_strcode(refusal->code), *expected = s->options->expect_refusal;

        if (expected && strcmp(code, expected) == 0) {
                printf("refused as expected: %s: %s\n", code, refusal->sentence);
                return STATUS_EQUAL;
        }

        warnx("%s: refused: %s (%s)", what, code, strerror(refusal->error));
        warnx("%s", refusal->sentence);
        if (refusal->rule[0])
                warnx("rule: %s", refusal->rule);
        if (expected)
                warnx("another refusal was expected: %s", expected);
        return expected ? STATUS_FAILED : STATUS_REFUSED;
}

int registered_connect(struct server *s) {
        if (pinlease_connect(s->options->socket, &session_listener, s, &s->session) < 0)
                return refused(s, NULL, "connecting");
        return STATUS_EQUAL;
}

int registered_memory(struct server *s) {
        const struct options *o = s->options;
        /* The cookie is how we know, when the file has settled, of what it was. */
        const struct pinlease_reg_options options = { .methods = o->methods, .guards = o->guards, .cookie = &s->memory };
        unsigned int access = IBV_ACCESS_REMOTE_READ;
        int r;

        if (!o->read_only)
                access |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
        /* Peers name its bytes by the addresses at which the CPU finds them in the memfd. A GPU's would be those of the GPU. */
        if (o->udmabuf) {
                r = pinlease_reg_dmabuf(s->session, s->pd, s->memory.dmabuf, s->memory.offset, s->memory.length,
                                        (uintptr_t)s->memory.start, access, &options, &s->memory_reg);
                /* The registration keeps the dma-buf alive. */
                close(s->memory.dmabuf);
                s->memory.dmabuf = -1;
                return r;
        }
        return pinlease_reg_fd_ex(s->session, s->pd, s->memory.fd, s->memory.offset, s->memory.length, s->memory.start,
                                  access, &options, &s->memory_reg);
}

/* "seals, modify; no lease: open-elsewhere" */
static void print_guards(const struct pinlease_mr *reg) {
        const char *comma = "guards: ";

        for (unsigned int guard = 1; guard & PINLEASE_GUARD_ALL; guard <<= 1)
                if (reg->guards & guard) {
                        printf("%s%s", comma, pinlease_strguard((enum pinlease_guard)guard));
                        comma = ", ";
                }
        if (!(reg->guards & PINLEASE_GUARD_ALL))
                printf("guards: none");
        for (unsigned int guard = 1; guard & PINLEASE_GUARD_ALL; guard <<= 1) {
                enum pinlease_guard_reason reason = pinlease_guard_reason(reg, (enum pinlease_guard)guard);

                if (reason != PINLEASE_GUARD_HOLDS && reason != PINLEASE_GUARD_NOT_FOR_THIS)
                        printf("; no %s: %s", pinlease_strguard((enum pinlease_guard)guard), pinlease_strguardreason(reason));
        }
        printf("\n");
}

int registered_on(struct server *s, struct ibv_context *verbs) {
        const struct options *o = s->options;
        char text[64];

        s->verbs = verbs;
        s->pd = ibv_alloc_pd(verbs);
        if (!s->pd) {
                warn("ibv_alloc_pd");
                return STATUS_FAILED;
        }

        if (pinlease_attach(s->session, verbs) < 0)
                return refused(s, s->session, "attaching the device");
        if (registered_memory(s) < 0)
                return refused(s, s->session, "registering the memory");
        if (o->expect_refusal) {
                warnx("registered by method %s, but a refusal was expected: %s",
                      pinlease_strmethod(s->memory_reg->method), o->expect_refusal);
                return STATUS_FAILED;
        }

        /* For the messages of the clients. Registered by the service as well: this program pins nothing itself, and
         * runs with a memlock limit of zero. */
        if (pinlease_reg_fd(s->session, s->pd, s->messages.fd, 0, s->messages.length, s->messages.start,
                            IBV_ACCESS_LOCAL_WRITE, 0, &s->messages_reg) < 0)
                return refused(s, s->session, "registering the pages for messages");

        printf("registered %s of %s at offset %" PRIu64 ": method %s, backing %s, iova 0x%" PRIx64 ", rkey 0x%" PRIx32
               " on %s\n",
               size_format(s->memory.length, text, sizeof text), s->memory.name, s->memory.offset,
               pinlease_strmethod(s->memory_reg->method), pinlease_strbacking(s->memory_reg->backing),
               s->memory_reg->iova, s->memory_reg->mr.rkey, ibv_get_device_name(verbs->device));
        print_guards(s->memory_reg);
        if (o->udmabuf)
                printf("what arrives is looked at in the memfd behind the udmabuf\n");
        return STATUS_EQUAL;
}

/* In the reverse order; the client is disconnected first, so that it sees an end and not an access error. */
void registered_let_go(struct server *s) {
        connection_close(&s->connection);
        if (s->messages_reg)
                (void)pinlease_dereg(s->session, s->messages_reg);
        if (s->memory_reg) {
                if (pinlease_dereg(s->session, s->memory_reg) == 0)
                        printf("deregistered\n");
                else if (s->status == STATUS_EQUAL) /* else the end of the session has been told */
                        s->status = refused(s, s->session, "deregistering");
        }
        if (s->verbs)
                (void)pinlease_detach(s->session, s->verbs);
        if (s->pd)
                (void)ibv_dealloc_pd(s->pd);
        s->messages_reg = s->memory_reg = NULL;
        s->pd = NULL;
        s->verbs = NULL;
}
