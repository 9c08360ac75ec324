/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <string.h>

/* splitmix64: any two inputs give unrelated outputs, so that a byte at a wrong place is seen as such. */
uint64_t pattern_mix(uint64_t seed, uint64_t n) {
        uint64_t z = seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

/* The bytes from `position` to the end of its 8-byte word; returns how many. */
static size_t word_at(uint64_t seed, uint64_t position, uint8_t ret_bytes[8]) {
        uint64_t word = htole64(pattern_mix(seed, position / 8));
        size_t skip = position % 8;

        memcpy(ret_bytes, (const uint8_t *)&word + skip, 8 - skip);
        return 8 - skip;
}

void pattern_fill(uint8_t *buffer, size_t length, uint64_t seed, uint64_t position) {
        for (size_t n, i = 0; i < length; i += n) {
                uint8_t bytes[8];

                n = word_at(seed, position + i, bytes);
                if (n > length - i)
                        n = length - i;
                memcpy(buffer + i, bytes, n);
        }
}

size_t pattern_compare(const uint8_t *buffer, size_t length, uint64_t seed, uint64_t position) {
        for (size_t n, i = 0; i < length; i += n) {
                uint8_t bytes[8];

                n = word_at(seed, position + i, bytes);
                if (n > length - i)
                        n = length - i;
                if (memcmp(buffer + i, bytes, n) != 0)
                        for (size_t j = 0;; j++)
                                if (buffer[i + j] != bytes[j])
                                        return i + j;
        }
        return length;
}

/* FNV-1a */
uint64_t pattern_digest(uint64_t digest, const uint8_t *buffer, size_t length) {
        for (size_t i = 0; i < length; i++)
                digest = (digest ^ buffer[i]) * UINT64_C(0x100000001b3);
        return digest;
}
