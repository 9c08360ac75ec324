/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ruled.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "harness.h"

void ruled_write(const struct ruled *ruled, const char *text) {
        FILE *f = fopen(ruled->path, "we");

        CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

struct ruled ruled_start(const char *text) {
        struct ruled ruled = { .folder = "/tmp/policy-XXXXXX" };

        CHECK(mkdtemp(ruled.folder) != NULL);
        (void)snprintf(ruled.path, sizeof ruled.path, "%s/policy.json", ruled.folder);
        ruled_write(&ruled, text);
        ruled.instance = instance_start((const char *const[]) { "--policy", ruled.folder, "--grace", "60000", NULL });
        return ruled;
}

void ruled_reload(const struct ruled *ruled, const char *text) {
        ruled_write(ruled, text);
        CHECK_CALL(pidfd_send_signal(ruled->instance.pidfd, SIGHUP, NULL, 0));
}

void ruled_stop(struct ruled *ruled) {
        instance_stop(&ruled->instance);
        (void)unlink(ruled->path);
        (void)rmdir(ruled->folder);
}
