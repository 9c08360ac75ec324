/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_BLOCK_H
#define PL_POLICY_BLOCK_H

/*
 * A policy, compiled: one block of memory without pointers, made once by pinleased (policy-load.h) and mapped read-only by every
 * registrar. It never changes; a reload makes a new one. Keeper, registrar and pinleased of one CONTROL_VERSION know one layout.
 *
 * Offsets are bytes from the beginning of the block. Texts end with a NUL, and are UTF-8. 0 is "none": the header is there.
 */

#include <stddef.h>
#include <stdint.h>

#include "amount.h"
#include "pinlease/types.h"

#define POLICY_MAGIC   UINT64_C(0x6963696c6f706c70)
#define POLICY_VERSION 4

/* Bounds of what is loaded; see pinlease-policy(5). */
#define POLICY_MAX_RULES   100000
#define POLICY_MAX_SIZE    (64U << 20) /* bytes, of a block */
#define POLICY_MAX_METHODS 3

enum policy_access {
        POLICY_ACCESS_READ = 1 << 0,
        POLICY_ACCESS_WRITE = 1 << 1,
        POLICY_ACCESS_ANY = POLICY_ACCESS_READ | POLICY_ACCESS_WRITE,
};

enum policy_layout_change {
        POLICY_LAYOUT_REVOKE = 1,
        POLICY_LAYOUT_NOTIFY = 2,
};

/* The last rung of force, see force.h. */
enum policy_force {
        POLICY_FORCE_STOP = 1,
        POLICY_FORCE_KILL = 2,
};

struct policy_list {
        uint32_t offset; /* of the first of n elements; aligned to their size */
        uint32_t n;      /* 0: whatever it is, it matches */
};

/* Both ends are in it. */
struct policy_range {
        uint32_t first, last;
};

/* What is missing in an action is filled in by the loader from the defaults, so that nobody else needs to know them. */
struct policy_rule {
        /* Where it stands; texts. file: "builtin" for those that always are there. */
        uint32_t name, file;
        uint32_t line, column; /* of its opening brace, from 1 on */
        uint32_t message;      /* the administrator's own words; 0: none */

        /* What it matches: all of it. */
        uint32_t backings; /* 1 << enum pinlease_backing; 0: any */
        uint32_t access;   /* enum policy_access; one bit at least */
        struct policy_list fs_types; /* uint64_t: statfs(2) f_type */
        struct policy_list uids, gids; /* struct policy_range */
        struct policy_list paths, cgroups, devices, exporters; /* uint32_t: texts, patterns of pattern.h */
        uint64_t size_min, size_max; /* bytes of the request; both ends are in it */

        /* What is done. */
        uint8_t allow;
        uint8_t n_methods;
        uint8_t methods[POLICY_MAX_METHODS]; /* enum pinlease_method, in the order in which they are tried */
        uint8_t on_layout_change; /* enum policy_layout_change */
        uint8_t force;            /* enum policy_force */
        uint8_t prefetch;         /* of ODP: ADVISE_MR right after the registration */
        uint8_t builtin;
        uint8_t pins_private; /* it names both private memory and pins; else it has none pinned, whatever else it matches and allows:
                               * what children of a process inherit is not given by who may not have meant it */
        uint8_t reserved[2];
        uint32_t guards;   /* enum pinlease_guard: those that have to hold */
        uint32_t grace_ms; /* for a change of the file's layout */
};

/* UINT64_MAX or UINT32_MAX: no limit of its own. */
struct policy_limits {
        struct credit_amount session, user, total;
        uint32_t user_sessions, total_sessions;
};

struct policy_block {
        uint64_t magic;
        uint32_t version;
        uint32_t size;       /* bytes of the block, this included */
        uint64_t generation; /* of pinleased: counts what has been loaded, from 1 on */
        struct policy_limits limits;
        uint32_t rules;   /* offset of n_rules struct policy_rule, in the order in which they are asked */
        uint32_t n_rules;
        uint32_t paths;   /* 1: some rule asks for a path; else nobody needs to find it out */
        uint32_t cgroups; /* 1: some rule asks for a control group */
        uint32_t pins_private; /* 1: some rule has private memory pinned; else nobody raises a limit for it */
        uint32_t reserved;
};

static inline const void *policy_at(const struct policy_block *block, uint32_t offset) {
        return (const char *)block + offset;
}

static inline const struct policy_rule *policy_rules(const struct policy_block *block) {
        return policy_at(block, block->rules);
}

/*
 * Is this a block, whole and right: offsets and lists within it and aligned, texts that end, numbers that mean something? Asked once
 * by who maps one: afterwards nothing that reads it needs to look. Returns 0 or -EBADMSG.
 */
int policy_block_check(const void *data, size_t size);

/* "" for 0. */
static inline const char *policy_text(const struct policy_block *block, uint32_t offset) {
        return offset ? policy_at(block, offset) : "";
}

#endif
