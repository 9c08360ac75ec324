/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* In place of libFuzzer: gives the target every file of its corpus, or of the folders on the command line, in order. */

#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *read_file(const char *path, size_t *ret_size) {
        FILE *f = fopen(path, "re");
        uint8_t *data;

        if (!f)
                return NULL;
        data = malloc(FUZZ_MAX_INPUT);
        if (data)
                *ret_size = fread(data, 1, FUZZ_MAX_INPUT, f);
        (void)fclose(f);
        return data;
}

/* Returns how many inputs were given, or -1. */
static int replay(const char *folder) {
        struct dirent **entries;
        int n = scandir(folder, &entries, NULL, alphasort), given = 0;

        for (int i = 0; i < n; i++) {
                char path[4096];
                size_t size = 0;
                uint8_t *data;

                (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
                if (entries[i]->d_name[0] != '.') {
                        printf("%s\n", path);
                        (void)fflush(stdout);
                        data = read_file(path, &size);
                        if (!data)
                                abort();
                        (void)LLVMFuzzerTestOneInput(data, size);
                        free(data);
                        given++;
                }
                free(entries[i]);
        }
        if (n >= 0)
                free(entries);
        return n < 0 ? -1 : given;
}

int main(int argc, char *argv[]) {
        const char *srcdir = getenv("srcdir");
        int n = 0;

        for (int i = 1; i < argc && n >= 0; i++)
                n = replay(argv[i]);
        if (argc == 1) {
                char folder[4096];

                (void)snprintf(folder, sizeof folder, "%s/%s", srcdir ? srcdir : ".", CORPUS);
                n = replay(folder);
        }

        if (n <= 0) {
                (void)fprintf(stderr, "no corpus: srcdir names the source folder, or name the folders as arguments\n");
                return EXIT_FAILURE;
        }
        printf("%d inputs replayed\n", n);
        return EXIT_SUCCESS;
}
