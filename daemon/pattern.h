/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PATTERN_H
#define PL_PATTERN_H

/*
 * Patterns of the policy, for paths, control groups and names of devices ("mlx5_*"):
 *
 *   ?   one character (of UTF-8; a byte where there is none), not a slash
 *   *   any number of characters of one component, none included
 *   **  as a whole component: any number of components, none included; but as the last one, one at least: what is below
 * a folder is not the folder itself
 *
 * All else is itself. Upper and lower case differ; names that begin with a dot are names as others.
 */

#include <stdbool.h>

enum pattern_kind {
        PATTERN_PATH, /* absolute */
        PATTERN_NAME, /* without a / */
};

#define PATTERN_MAX 1024 /* bytes */

/* Returns NULL, or what is wrong with it as a sentence: one that can never match, because paths are not written so, is
 * wrong as well. */
const char *pattern_wrong(const char *pattern, enum pattern_kind kind);

/* Steps are at most the product of both lengths: patterns are an administrator's, texts are anybody's. */
bool pattern_match(const char *pattern, const char *text);

/* Is everything matched by `wide` that `narrow` matches? May say no where a yes would have been right. */
bool pattern_covers(const char *wide, const char *narrow);

#endif
