/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "matrix.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"

/* How often the guards look at what nothing tells them of, twice, and something for a slow machine. */
#define LOOK_MS 12000

enum way { BY_LEASE, BY_MODIFY, N_WAYS };

static const struct {
        const char *name, *folder;
        enum memory_kind kind;
} places[] = {
        { "ext4, DAX", "/mnt/ext4-dax", MEMORY_EXT4_DAX },
        { "xfs, DAX", "/mnt/xfs-dax", MEMORY_XFS_DAX },
        { "ext4", "/mnt/ext4", MEMORY_EXT4 },
        { "xfs", "/mnt/xfs", MEMORY_XFS },
        { "tmpfs", "/mnt/tmpfs", MEMORY_TMPFS },
        { "memfd", NULL, MEMORY_MEMFD },
        { "hugetlbfs", "/mnt/huge", MEMORY_HUGETLB },
};
#define N_PLACES ELEMENTSOF(places)

/* What all processes see. */
struct cell {
        struct target target;
        int error; /* what the other program got */
        char text[80];
};
static struct cell (*cells)[N_WAYS][N_OPERATIONS];

/* One registration, in one process for all operations of one place by one way. */
struct row {
        const struct operation *operation;
        struct cell *cell;
        struct subject subject;
        struct pl_register_reply reply;
        unsigned int notices;
        bool registered, tried, waited, moved, asked, gone, released;
};

static struct {
        struct fixture fixture;
        struct app other;
        size_t place;
        enum way way;
        struct row rows[N_OPERATIONS];
        struct row *current; /* whose change is under way; NULL: none */
} m;

/* --- the other program --- */

enum { OTHER_OPENS = 1 << 8 };

/* As long as it takes: whoever is waited for is so himself. */
static void other(int channel, const void *argument) {
        struct cell *row = (struct cell *)(uintptr_t)argument;
        uint64_t what;

        while (recv(channel, &what, sizeof what, 0) == sizeof what) {
                const struct operation *operation = operations + (what & 0xff);
                struct cell *cell = row + (what & 0xff);

                if (what & OTHER_OPENS)
                        cell->target.fd = CHECK_CALL(open(cell->target.path, O_RDWR | O_CLOEXEC));
                else {
                        cell->error = operation->change(&cell->target);
                        cell->target.fd = pl_close(cell->target.fd);
                }
                tell(channel);
        }
}

static bool has_come(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* It has done it, or will not before it is let go. */
static bool is_decided(const void *argument _unused_) {
        return has_come(m.other.channel) || process_waits_for_lease(m.other.pid);
}

/* --- the app --- */

static struct row *row_of(uint64_t id) {
        for (size_t i = 0; i < N_OPERATIONS; i++)
                if (m.rows[i].reply.id == id && m.rows[i].registered)
                        return m.rows + i;
        FAIL("an event for the registration %llu, which there is not", (unsigned long long)id);
}

/* It is to be let go: was that in time? */
static void on_revoking(struct row *row) {
        if (!row->tried)
                FAIL("%s, %s: asked for before anything has happened", places[m.place].name, row->operation->name);
        if (row == m.current && !(row->operation->flags & OPERATION_OWN)) {
                if (!eventually(is_decided, NULL))
                        FAIL("%s, %s: the other program hangs", places[m.place].name, row->operation->name);
                row->waited = !has_come(m.other.channel);
                row->moved = row->waited && subject_has_moved(&row->subject);
        }
        row->asked = true;
}

static void on_event(const struct pl_packet *packet) {
        struct row *row;

        switch (packet->header.opcode) {
        case PL_OP_REVOKING:
                on_revoking(row_of(packet->body.revoking.id));
                break;
        case PL_OP_REVOKED:
                row = row_of(packet->body.revoked.id);
                if (!row->asked)
                        on_revoking(row);
                row->gone = true;
                break;
        case PL_OP_NOTICE:
                row_of(packet->body.notice.id)->notices |= 1U << packet->body.notice.kind;
                break;
        case PL_OP_SETTLED:
                (void)row_of(packet->body.settled.id);
                break;
        default:
                FAIL("%s came", pl_opcode_name(packet->header.opcode));
        }
}

static struct pl_packet receive(void) {
        struct pl_packet packet;

        CHECK_EQUAL(raw_recv_any(&m.fixture.raw, &packet), 0);
        return packet;
}

/* Events may come before the answer. */
static struct pl_packet call(struct pl_packet *request, int fd) {
        struct pl_packet packet;

        request->header.seq = ++m.fixture.raw.seq;
        CHECK_EQUAL(raw_send(&m.fixture.raw, request, request->header.length, &fd, fd >= 0), 0);
        for (packet = receive(); packet.header.seq == 0; packet = receive())
                on_event(&packet);
        CHECK_EQUAL(packet.header.seq, m.fixture.raw.seq);
        return packet;
}

static void let_go(void) {
        for (size_t i = 0; i < N_OPERATIONS; i++) {
                struct row *row = m.rows + i;
                struct pl_packet request;

                if (!row->asked || row->released)
                        continue;
                row->released = true;
                pl_packet_init(&request, PL_OP_RELEASE, 0);
                request.body.release.id = row->reply.id;
                /* Refused if it has been forced meanwhile. */
                if (!row->gone)
                        (void)call(&request, -1);
        }
}

static void handle_events(void) {
        while (has_come(m.fixture.raw.sock)) {
                struct pl_packet packet = receive();

                on_event(&packet);
        }
        let_go();
}

static void ping(void) {
        struct pl_packet request;

        pl_packet_init(&request, PL_OP_PING, 0);
        (void)call(&request, -1);
        handle_events();
}

static void register_it(struct row *row) {
        struct pl_packet request, reply;
        uint32_t method = is_on_blocks(places[m.place].kind) ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED;

        pl_packet_init(&request, PL_OP_REGISTER, 0);
        request.body.reg = fixture_request(&m.fixture, &row->subject.memory, method);
        if (row->operation->flags & OPERATION_READ_ONLY)
                request.body.reg.access = ACCESS_READ;
        reply = call(&request, row->subject.memory.fd);
        if (reply.header.opcode == PL_OP_REFUSED)
                FAIL("%s, %s: %s", places[m.place].name, row->operation->name, reply.body.refused.sentence);
        row->reply = reply.body.register_reply;
        row->registered = true;
}

/* --- one change --- */

static const char *impossible(const struct operation *operation) {
        if (operation->flags & OPERATION_NAME && places[m.place].kind == MEMORY_MEMFD)
                return operation->flags & OPERATION_MOUNT ? "no mount" : "no name";
        if (operation->flags & OPERATION_BLOCKS && !is_on_blocks(places[m.place].kind))
                return "no blocks";
        return NULL;
}

/* Does the guard hold by which it is to be found out? */
static bool is_guarded(struct row *row) {
        uint32_t held = pl_guards_held(row->reply.guards);

        if (!(held & PINLEASE_GUARD_MODIFY))
                FAIL("%s, %s: no guard modify", places[m.place].name, row->operation->name);
        if (m.way == BY_MODIFY)
                CHECK(!(held & PINLEASE_GUARD_LEASE));
        else if (!(held & PINLEASE_GUARD_LEASE)) {
                unsigned int reason = pl_guard_reason(row->reply.guards, 1);

                (void)snprintf(row->cell->text,
                               sizeof row->cell->text,
                               reason == PINLEASE_GUARD_NOT_FOR_THIS ? "– (no lease)" : "– (no lease: %s)",
                               pl_guard_reason_name(reason));
                return false;
        }
        return true;
}

static void change(struct row *row, uint64_t number) {
        struct pollfd p[] = { { .fd = m.other.channel, .events = POLLIN },
                              { .fd = m.fixture.raw.sock, .events = POLLIN } };

        row->tried = true;
        if (row->operation->flags & OPERATION_OWN) {
                row->cell->target.fd = row->subject.memory.fd;
                row->cell->error = row->operation->change(&row->cell->target);
        } else {
                m.current = row;
                tell_value(m.other.channel, number);
                do {
                        handle_events();
                        if (poll(p, ELEMENTSOF(p), PATIENCE_MS) == 0)
                                FAIL("%s, %s: the other program hangs", places[m.place].name, row->operation->name);
                } while (!has_come(m.other.channel));
                await(m.other.channel);
                m.current = NULL;
        }
        /* Who waited has not changed anything so far. */
        if (row->moved)
                FAIL("%s, %s: changed although it waits", places[m.place].name, row->operation->name);
        row->moved = subject_has_moved(&row->subject);
        ping();
}

static void try_it(struct row *row, uint64_t number) {
        const char *why = impossible(row->operation);

        if (why) {
                (void)snprintf(row->cell->text, sizeof row->cell->text, "– (%s)", why);
                return;
        }
        row->subject =
                matrix_subject_new(&row->cell->target, places[m.place].kind, places[m.place].folder, row->operation->flags);
        if (m.way == BY_MODIFY && !(row->operation->flags & OPERATION_OWN)) {
                tell_value(m.other.channel, number | OTHER_OPENS);
                await(m.other.channel);
        } else if (m.way == BY_MODIFY && row->cell->target.kind != MEMORY_MEMFD &&
                   row->cell->target.kind != MEMORY_HUGETLB)
                /* The app's own second one will do: the lease is not to be had. Closed with the process. */
                (void)CHECK_CALL(open(row->subject.file, O_RDWR | O_CLOEXEC));
        register_it(row);
        if (is_guarded(row))
                change(row, number);
}

/* --- what came of it --- */

static const char *notices_of(const struct row *row) {
        static const char *const names[] = {
                [PL_NOTICE_UNLINKED] = "no name",    [PL_NOTICE_UNMOUNTED] = "unmounted",
                [PL_NOTICE_READ_ONLY] = "read-only", [PL_NOTICE_GUARD_LOST] = "guard lost",
                [PL_NOTICE_CHANGED] = "changed",
        };
        static char text[80];

        text[0] = 0;
        for (unsigned int i = 1; i < ELEMENTSOF(names); i++)
                if (names[i] && row->notices & 1U << i) {
                        size_t n = strlen(text);

                        (void)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : ": ", names[i]);
                }
        return text;
}

static void judge(struct row *row) {
        unsigned int notices = row->notices & ~(1U << PL_NOTICE_GUARD_BACK);
        const char *error, *missing, *what;
        char *text;
        size_t size;

        if (!row->tried)
                return;
        error = row->cell->error ? strerrorname_np(-row->cell->error) : "done";
        missing = row->operation->missing;
        text = row->cell->text;
        size = sizeof row->cell->text;

        if (row->asked && row->waited && row->cell->error)
                (void)snprintf(text, size, "before; waits, %s", error);
        else if (row->asked)
                (void)snprintf(text, size, row->waited ? "before; waits" : "after; %s", error);
        else if (row->cell->error)
                (void)snprintf(text, size, "– (%s%s%s)", missing ? missing : "", missing ? ", " : "", error);
        else {
                what = row->moved ? "**unseen**" : notices ? "told" : "unaffected";
                (void)snprintf(text, size, "%s%s; %s", what, notices_of(row), error);
        }
}

static void run(int channel _unused_, const void *argument) {
        uint64_t number = (uint64_t)(uintptr_t)argument, end;

        m.place = number / N_WAYS;
        m.way = (enum way)(number % N_WAYS);
        m.other = app_start(other, cells[m.place][m.way]);
        m.fixture = fixture_open(NULL);
        for (size_t i = 0; i < N_OPERATIONS; i++) {
                struct row *row = m.rows + i;

                row->operation = operations + i;
                row->cell = cells[m.place][m.way] + i;
                try_it(row, i);
                if (row->registered && !row->tried) {
                        /* The one guard that there is no point in going on without. */
                        for (size_t n = 0; n < N_OPERATIONS; n++)
                                memcpy(cells[m.place][m.way][n].text, row->cell->text, sizeof row->cell->text);
                        break;
                }
                /* Huge pages are few. */
                if (row->released || !row->registered)
                        matrix_subject_free(&row->subject);
        }
        for (end = pl_now_ms() + LOOK_MS; pl_now_ms() < end;) {
                struct pollfd p = { .fd = m.fixture.raw.sock, .events = POLLIN };

                (void)poll(&p, 1, (int)(end - pl_now_ms() + 1));
                handle_events();
        }
        ping();
        for (size_t i = 0; i < N_OPERATIONS; i++)
                judge(m.rows + i);
        app_hang_up(&m.other);
        app_finish(&m.other);
        fixture_close(&m.fixture);
        for (size_t i = 0; i < N_OPERATIONS; i++)
                matrix_subject_free(&m.rows[i].subject);
}

/* --- all of it --- */

static void print_table(enum way way) {
        printf("| |");
        for (size_t place = 0; place < N_PLACES; place++)
                printf(" %s |", places[place].name);
        printf("\n|---|");
        for (size_t place = 0; place < N_PLACES; place++)
                printf("---|");
        printf("\n");
        for (size_t i = 0; i < N_OPERATIONS; i++) {
                printf("| %s |", operations[i].name);
                for (size_t place = 0; place < N_PLACES; place++)
                        printf(" %s |", cells[place][way][i].text);
                printf("\n");
        }
}

int matrix_print(void) {
        struct app apps[N_PLACES * N_WAYS];

        cells = mmap(NULL, N_PLACES * sizeof *cells, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(cells != MAP_FAILED);
        for (uintptr_t i = 0; i < ELEMENTSOF(apps); i++)
                apps[i] = app_start(run, (const void *)i);
        for (size_t i = 0; i < ELEMENTSOF(apps); i++) {
                siginfo_t info;

                /* All at once on a slow machine: as long as it takes, whoever has started this knows how long that may
                 * be. */
                CHECK_CALL(waitid(P_PIDFD, (id_t)apps[i].pidfd, &info, WEXITED | WNOWAIT));
                app_finish(apps + i);
        }
        printf("### With a lease\n\n");
        print_table(BY_LEASE);
        printf("\n### Without one\n\n");
        print_table(BY_MODIFY);
        return 0;
}
