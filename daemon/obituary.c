/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "obituary.h"

#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "timer.h"
#include "util.h"

/* Its parent is the service manager as a rule, which is not waited for without end. */
#define AGAIN_MS 50
#define MAX_TRIES 100

/* Of <linux/pidfd.h>, which is older in many places. */
struct info {
        uint64_t mask, cgroup;
        uint32_t ids[11];
        int32_t exit_code;
};
#define GET_INFO _IOWR(0xFF, 11, struct info)
#define INFO_EXIT (UINT64_C(1) << 3)
_Static_assert(sizeof(struct info) == 64, "PIDFD_INFO_SIZE_VER0");

struct obituary {
        sd_event *event;
        sd_event_source *timer;
        int pidfd;
        unsigned int tries;
        struct log_subject subject;
};

int obituary_status(int pidfd, int *ret_status) {
        struct info info = { .mask = INFO_EXIT };

        if (ioctl(pidfd, GET_INFO, &info) < 0)
                return errno == ESRCH ? -EAGAIN : -EOPNOTSUPP;
        if (!(info.mask & INFO_EXIT))
                return -EAGAIN;
        *ret_status = info.exit_code;
        return 0;
}

static void obituary_free(void *userdata) {
        struct obituary *o = userdata;

        pl_close(o->pidfd);
        free(o);
}

/* Returns whether there is nothing more to do. */
static bool try_it(struct obituary *o) {
        int status, r = obituary_status(o->pidfd, &status);

        if (r == -EAGAIN)
                return ++o->tries == MAX_TRIES;
        if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
                log_subject_event(&o->subject,
                                  LOG_WARNING,
                                  EVENT_KEEPER_FAILED,
                                  "its keeper ended with %s %d",
                                  WIFEXITED(status) ? "status" : "signal",
                                  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        return true;
}

static int on_time(sd_event_source *source, uint64_t usec _unused_, void *userdata) {
        struct obituary *o = userdata;

        if (!try_it(o))
                return timer_start(o->event, &o->timer, AGAIN_MS, on_time, o);
        /* The loop's reference was the last. */
        (void)sd_event_source_set_floating(source, false);
        return 0;
}

void obituary_write(sd_event *event, int pidfd, const struct log_subject *subject) {
        struct obituary *o = malloc(sizeof *o);

        if (!o) {
                pl_close(pidfd);
                return;
        }
        *o = (struct obituary) { .event = event, .pidfd = pidfd, .subject = *subject };
        if (try_it(o) || timer_start(event, &o->timer, AGAIN_MS, on_time, o) < 0) {
                sd_event_source_disable_unref(o->timer);
                obituary_free(o);
                return;
        }
        /* Nobody waits for it: it goes when it is done, or with the loop. */
        (void)sd_event_source_set_destroy_callback(o->timer, obituary_free);
        (void)sd_event_source_set_floating(o->timer, true);
        sd_event_source_unref(o->timer);
}
