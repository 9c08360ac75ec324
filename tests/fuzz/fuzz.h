/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FUZZ_H
#define PL_FUZZ_H

/* What a fuzz target offers, to libFuzzer or to replay.c. Longer inputs are of no use. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define FUZZ_MAX_INPUT 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* assert() that no build leaves out. */
#define MUST(condition)          \
        do {                     \
                if (!(condition)) \
                        abort(); \
        } while (0)

#endif
