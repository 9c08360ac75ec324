/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is said of a text, line by line. */

#include <string.h>

#include "policy_fixture.h"

#define P "policy.json:"

static const struct {
        const char *text, *lines;
} table[] = {
        /* --- no JSON --- */
        { "", P "1:1: error: There is nothing in it. The smallest policy is { \"version\": 1 }.\n" },
        { " \n\t\n ", P "3:2: error: There is nothing in it. The smallest policy is { \"version\": 1 }.\n" },
        { "{ \"version\": 1", P "1:1: error: The text ends before this { is closed.\n" },
        { "{ \"version\": 1, \"rules\": [", P "1:26: error: The text ends before this [ is closed.\n" },
        { "{ \"version\": ", P "1:14: error: The text ends where a value is expected.\n" },
        { "{ \"version\" 1 }", P "1:13: error: A colon is expected after a key.\n" },
        { "{ \"version\": 1 \"rules\": [] }", P "1:16: error: A comma or } is expected here.\n" },
        { "{ \"version\": 1, }",
          P "1:17: error: There is nothing after the last comma: JSON does not allow one there.\n" },
        { "{ \"rules\": [ 1, ] }",
          P "1:17: error: There is nothing after the last comma: JSON does not allow one there.\n" },
        { "{ version: 1 }", P "1:3: error: A key in quotation marks is expected here.\n" },
        { "{ 'version': 1 }", P "1:3: error: A key in quotation marks is expected here.\n" },
        { "{ \"version\": 1 } }", P "1:18: error: There is something after the end.\n" },
        { "{ \"version\": 1 } // the end", P "1:18: error: There is something after the end.\n" },
        { "# a comment\n{ \"version\": 1 }", P "1:1: error: A value is expected here.\n" },
        { "{\n  \"version\": 01 }", P "2:14: error: This is no number of JSON.\n" },
        { "{\n  \"version\": 1. }",
          P "2:14: error: This is no value of JSON: texts are in quotation marks, numbers decimal, words true, false "
            "and null.\n" },
        { "{\n  \"version\": NaN }",
          P "2:14: error: This is no value of JSON: texts are in quotation marks, numbers decimal, words true, false "
            "and null.\n" },
        { "{\n  \"version\": -Infinity }",
          P "2:14: error: This is no value of JSON: texts are in quotation marks, numbers decimal, words true, false "
            "and null.\n" },
        { "{\n  \"version\": True }",
          P "2:14: error: This is no value of JSON: texts are in quotation marks, numbers decimal, words true, false "
            "and null.\n" },
        { "{\n  \"version\": 0x1 }",
          P "2:14: error: This is no value of JSON: texts are in quotation marks, numbers decimal, words true, false "
            "and null.\n" },
        { "{\n  \"version\": 1e }", P "2:14: error: This is no number of JSON.\n" },
        { "{\n  \"ver", P "2:3: error: This text has no closing quotation mark on its line.\n" },
        { "{\n  \"ver\n\": 1 }", P "2:3: error: This text has no closing quotation mark on its line.\n" },
        { "{\n  \"v\ter\": 1 }", P "2:5: error: A control character is in a text: write it as \\u and four digits.\n" },
        { "{ \"\\x41\": 1 }",
          P "1:3: error: There is an escape in this text that JSON does not have: \\\" \\\\ \\/ \\b \\f \\n \\r \\t "
            "and \\u with four digits are "
            "all.\n" },
        { "\xef\xbb\xbf{ \"version\": 1 }", P "1:1: error: The text begins with a byte order mark: JSON has none.\n" },
        { "{ \"version\": 1, \"rules\": [ { \"name\": \"gr\xf6\xdf"
          "e\" } ] }",
          P "1:41: error: This is not UTF-8.\n" },
        { "{ \"\xc0\xaf\": 1 }", P "1:4: error: This is not UTF-8.\n" },
        { "{ \"\xed\xa0\x80\": 1 }", P "1:4: error: This is not UTF-8.\n" },
        /* Columns are characters. */
        { "{ \"größe\": 1 x", P "1:14: error: A comma or } is expected here.\n" },

        /* --- objects and keys --- */
        { "[]", P "1:1: error: $: This is a list, and should be an object: { ... }.\n" },
        { "null", P "1:1: error: $: This is null, and should be an object: { ... }.\n" },
        { "{}", P "1:1: error: $: The key \"version\" is missing.\n" },
        { "{ \"version\": 2 }", P "1:14: error: $.version: This is out of range: it can only be 1.\n" },
        { "{ \"version\": \"1\" }", P "1:14: error: $.version: This is a text, and should be a number.\n" },
        { "{ \"version\": 1, \"rule\": [] }",
          P "1:17: error: $.rule: There is no key of this name here. Should it be \"rules\"?\n" },
        { "{ \"version\": 1, \"x\": 1, \"a b\": {} }",
          P "1:17: error: $.x: There is no key of this name here. There are: version, defaults, limits, rules.\n" P
            "1:25: error: $[\"a b\"]: There is no key of this name here. There are: version, defaults, limits, "
            "rules.\n" },
        { "{ \"version\": 1, \"version\": 1 }",
          P "1:17: error: $.version: This key is there a second time: only one of them can count.\n" },
        /* The same, written differently. */
        { "{ \"version\": 1, \"\\u0076ersion\": 1 }",
          P "1:17: error: $[\"\\u0076ersion\"]: This key is there a second time: only one of them can count.\n" },
        { "{ \"version\": 1, \"rules\": {} }",
          P "1:26: error: $.rules: This is an object, and should be a list of rules: [ { ... }, ... ].\n" },
        { "{ \"version\": 1, \"rules\": [ [] ] }",
          P "1:28: error: $.rules[0]: This is a list, and should be an object: { ... }.\n" },
        { "{ \"version\": 1, \"rules\": [ {} ] }", P "1:28: error: $.rules[0]: The key \"allow\" is missing.\n" },
        { "{ \"version\": 1,\n  \"defaults\": { \"gace\": 1, \"grace\": true, \"force\": \"stopp\", "
          "\"on_layout_change\": \"deny\" } }",
          P "2:17: error: $.defaults.gace: There is no key of this name here. Should it be \"grace\"?\n" P
            "2:37: error: $.defaults.grace: This is true or false, and should be a number of milliseconds, or a text "
            "such as \"2s\" (ms, s or "
            "min).\n" P "2:52: error: $.defaults.force: \"stopp\" is unknown here. Should it be \"stop\"?\n" P
            "2:81: error: $.defaults.on_layout_change: \"deny\" is unknown here: it should be \"revoke\" or "
            "\"notify\".\n" },

        /* --- numbers, sizes, times --- */
        { "{ \"version\": 1, \"limits\": {\n"
          "  \"session\": { \"registrations\": 0, \"pinned\": \"1P\", \"odp\": \"1.5T\" },\n"
          "  \"user\": { \"sessions\": -1, \"registrations\": 1e3, \"pinned\": 18446744073709551616, \"odp\": "
          "\"99999999999999999999T\" },\n"
          "  \"total\": { \"sessions\": \"none\", \"registrations\": \"lots\", \"pinned\": \"\", \"odp\": \" 1\" } } }",
          P
          "2:33: error: $.limits.session.registrations: This is out of range: it should be a whole number from 1 to "
          "1048576.\n" P "2:46: error: $.limits.session.pinned: This should be a number of bytes, or a text such as "
                         "\"16G\" (K, M, G or T).\n" P "2:59: error: $.limits.session.odp: This should be a number of "
                                                       "bytes, or a text such as \"16G\" (K, M, G or T).\n" P
          "3:25: error: $.limits.user.sessions: This is out of range: it should be a whole number from 1 to "
          "1048576.\n" P "3:46: error: $.limits.user.registrations: This is out of range: it should be a whole number "
                         "from 1 to 1073741824.\n" P
          "3:61: error: $.limits.user.pinned: This is out of range: it should be a whole number from 0 to 1048576T.\n" P
          "3:90: error: $.limits.user.odp: This is out of range: it should be a whole number from 0 to 1048576T.\n" P
          "4:26: error: $.limits.total.sessions: This is a text, and should be a number.\n" P
          "4:51: error: $.limits.total.registrations: This should be a number, or \"none\".\n" P
          "4:69: error: $.limits.total.pinned: This should be a number of bytes, a text such as \"16G\" (K, M, G or "
          "T), or \"none\".\n" P "4:80: error: $.limits.total.odp: This should be a number of bytes, a text such as "
                                 "\"16G\" (K, M, G or T), or \"none\".\n" },
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"grace\": \"11min\" }, { \"allow\": true, \"grace\": \"2 "
          "s\" } ] }",
          P "1:54: error: $.rules[0].grace: This is out of range: it should be a whole number from 0 to 10min.\n" P
            "1:91: error: $.rules[1].grace: This should be a number of milliseconds, or a text such as \"2s\" (ms, s "
            "or min).\n" },

        /* --- what a rule matches --- */
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"match\": {\n"
          "  \"backing\": [ \"fsdax\", \"dax\", 1 ], \"access\": \"exec\",\n"
          "  \"fs_type\": [ \"btrf\", \"nfs\", \"fuse.sshfs\", \"0x65735546\", \"0xg\", \"0x\" ],\n"
          "  \"path\": [ \"mnt\", \"/mnt/\", \"/a//b\", \"/a**\", \"\" ], \"cgroup\": \"a\", \"device\": \"/dev/x\",\n"
          "  \"uid\": [ -1, \"x\", \"3-\", \"3-2\", 4294967295, 1.5 ], \"gid\": [],\n"
          "  \"size\": { \"min\": \"2M\", \"max\": \"1M\", \"mx\": 0 } } } ] }",
          P "2:25: error: $.rules[0].match.backing[1]: \"dax\" is unknown here: it should be \"shmem\", \"hugetlb\", "
            "\"fsdax\", \"pagecache\", \"devdax\", \"dmabuf\", \"anon\" or "
            "\"other\".\n" P "2:32: error: $.rules[0].match.backing[2]: This is a number, and should be \"shmem\", "
                             "\"hugetlb\", \"fsdax\", "
            "\"pagecache\", \"devdax\", \"dmabuf\", \"anon\" or \"other\".\n" P
            "2:47: error: $.rules[0].match.access: \"exec\" is unknown here: it should be \"read\" or \"write\".\n" P
            "3:16: error: $.rules[0].match.fs_type[0]: The file system \"btrf\" has no name here. Should it be "
            "\"btrfs\"?\n" P "3:24: error: $.rules[0].match.fs_type[1]: The file system \"nfs\" has no name here: give "
                            "its number, as \"0x\" and what stat -f -c "
            "%t says of it.\n" P "3:31: error: $.rules[0].match.fs_type[2]: Files of FUSE are never registered, "
                                 "whatever a rule says: their server could hold up "
            "whoever touches them.\n" P "3:45: error: $.rules[0].match.fs_type[3]: Files of FUSE are never registered, "
                                        "whatever a rule says: their server could hold up "
            "whoever touches them.\n" P
            "3:59: error: $.rules[0].match.fs_type[4]: The file system \"0xg\" has no name here: give its number, as "
            "\"0x\" and what stat -f -c %t says of it.\n" P
            "3:66: error: $.rules[0].match.fs_type[5]: The file system \"0x\" has no name here: give its number, as "
            "\"0x\" and what stat -f -c "
            "%t says of it.\n" P
            "4:13: error: $.rules[0].match.path[0]: This pattern never matches: it does not begin with a /.\n" P
            "4:20: error: $.rules[0].match.path[1]: This pattern never matches: it ends with a /, as no path does.\n" P
            "4:29: error: $.rules[0].match.path[2]: This pattern never matches: it has // in it, as no path does.\n" P
            "4:38: error: $.rules[0].match.path[3]: This pattern never matches: ** stands for whole components: write "
            "/**/ or /** at the end.\n" P
            "4:46: error: $.rules[0].match.path[4]: This pattern never matches: it is empty.\n" P
            "4:62: error: $.rules[0].match.cgroup: This pattern never matches: it does not begin with a /.\n" P
            "4:77: error: $.rules[0].match.device: This pattern never matches: it has a / in it, as no such name "
            "does.\n" P "5:12: error: $.rules[0].match.uid[0]: This is out of range: it should be a whole number from "
                        "0 to 4294967294.\n" P "5:16: error: $.rules[0].match.uid[1]: This should be a number, or a "
                                               "range in a text such as \"2000-2999\".\n" P
            "5:21: error: $.rules[0].match.uid[2]: This should be a number, or a range in a text such as "
            "\"2000-2999\".\n" P
            "5:27: error: $.rules[0].match.uid[3]: The range ends before it begins: it should be \"2-3\".\n" P
            "5:34: error: $.rules[0].match.uid[4]: This is out of range: it should be a whole number from 0 to "
            "4294967294.\n" P "5:46: error: $.rules[0].match.uid[5]: This is out of range: it should be a whole number "
                              "from 0 to 4294967294.\n" P
            "5:60: error: $.rules[0].match.gid: The list is empty. Leave the key \"gid\" out, or put something in.\n" P
            "6:11: error: $.rules[0].match.size: No size is at least this \"min\" and at most this \"max\".\n" P
            "6:39: error: $.rules[0].match.size.mx: There is no key of this name here. Should it be \"max\"?\n" },

        /* --- what it does --- */
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"message\": \"x\" },\n"
          "  { \"allow\": false, \"methods\": \"odp\", \"guards\": \"seals\", \"force\": \"kill\" },\n"
          "  { \"allow\": \"yes\", \"methods\": [ \"odp\", \"odp\", \"mapped\" ], \"prefetch\": 1 },\n"
          "  { \"allow\": false, \"message\": \"\", \"name\": \"builtin:x\" },\n"
          "  { \"allow\": false, \"message\": \"a\\u0000b\", \"name\": \"a\\u001bb\" },\n"
          "  { \"allow\": false, \"name\": \"0123456789012345678901234567890123456789012345678\" } ] }",
          P
          "2:31: error: $.rules[0].message: A rule that allows refuses nobody: its message would never be seen.\n" P
          "3:32: error: $.rules[1].methods: A rule that does not allow has no \"methods\": leave it out, or allow.\n" P
          "3:49: error: $.rules[1].guards: A rule that does not allow has no \"guards\": leave it out, or allow.\n" P
          "3:67: error: $.rules[1].force: A rule that does not allow has no \"force\": leave it out, or allow.\n" P
          "4:14: error: $.rules[2].allow: This is a text, and should be true or false.\n" P
          "4:41: error: $.rules[2].methods[1]: This is in the list already.\n" P
          "4:48: error: $.rules[2].methods[2]: \"mapped\" is unknown here: it should be \"odp\", \"pinned\" or \"dmabuf\".\n" P
          "4:72: error: $.rules[2].prefetch: This is a number, and should be true or false.\n" P
          "5:32: error: $.rules[3].message: The text is empty.\n" P
          "5:44: error: $.rules[3].name: Names that begin with \"builtin:\" are those of the built-in rules.\n" P
          "6:32: error: $.rules[4].message: There are characters in this text that cannot be seen, or that turn it "
          "around: write it without.\n" P "6:52: error: $.rules[4].name: There are characters in this text that cannot "
                                          "be seen, or that turn it around: write it without.\n" P
          "7:29: error: $.rules[5].name: The text has 49 bytes, and should have 47 at most.\n" },
        { "{ \"version\": 1, \"rules\": [ { \"name\": \"a\", \"allow\": true, \"match\": { \"uid\": 1 } },\n"
          "  { \"name\": \"b\", \"allow\": true, \"match\": { \"uid\": 2 } }, { \"name\": \"a\", \"allow\": true } ] }",
          P "2:68: error: $.rules[2].name: There is a rule of this name already (policy.json:1): a name should say "
            "which rule it was.\n" },

#define TOO_LONG(ms)                                                                                                        \
        "A grace of " ms " ms is too long: programs that change a file wait 45000 ms (fs.lease-break-time) for its "        \
        "registrations, and grace has to fit in half of it, 22500 ms. Give less, set fs.lease-break-time higher, or let a " \
        "rule \"notify\" and have \"odp\" alone.\n"
        /* --- grace --- */
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"grace\": 22501 } ] }",
          P "1:54: error: $.rules[0].grace: " TOO_LONG("22501") },
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"grace\": \"22500ms\" } ] }", "" },
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"grace\": \"1min\", \"on_layout_change\": \"notify\",\n"
          "  \"methods\": \"odp\" } ] }",
          "" },
        { "{ \"version\": 1, \"defaults\": { \"grace\": \"1min\" }, \"rules\": [ { \"allow\": true } ] }",
          P "1:40: error: $.defaults.grace: " TOO_LONG("60000") },
        /* What is pinned is revoked all the same, and the built-in rules let some be pinned. */
        { "{ \"version\": 1, \"defaults\": { \"grace\": \"1min\", \"on_layout_change\": \"notify\" } }",
          P "1:40: error: $.defaults.grace: " TOO_LONG("60000") },
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"grace\": \"1min\", \"on_layout_change\": \"notify\" } ] }",
          P "1:54: error: $.rules[0].grace: " TOO_LONG("60000") },

/* --- warnings --- */
#define NOT_ALL                                                                                                        \
        ": all that it matches is refused. Sealed memory (memfd) has seals and poison, huge pages besides modify if "  \
        "they are "                                                                                                    \
        "not sealed, files have lease, modify and poison.\n"
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"uid\": 1, \"backing\": \"hugetlb\" }, \"guards\": \"lease\" },\n"
          "  { \"allow\": true, \"match\": { \"uid\": 2, \"backing\": \"fsdax\" }, \"guards\": [ \"seals\" ] },\n"
          "  { \"allow\": true, \"match\": { \"uid\": 3 }, \"guards\": [ \"seals\", \"lease\" ] },\n"
          "  { \"allow\": true, \"match\": { \"uid\": 4, \"backing\": [ \"hugetlb\", \"shmem\" ] }, \"guards\": [ "
          "\"lease\", \"modify\" ] },\n"
          "  { \"allow\": true, \"match\": { \"uid\": 5 }, \"guards\": [ \"seals\", \"poison\" ] } ] }",
          P "2:75: warning: $.rules[0].guards: No memory that this rule matches can have this guard" NOT_ALL P
            "3:73: warning: $.rules[1].guards: No memory that this rule matches can have this guard" NOT_ALL P
            "4:53: warning: $.rules[2].guards: No memory that this rule matches can have all these guards at "
            "once" NOT_ALL },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"fsdax\" }, \"methods\": \"pinned\" },\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"pagecache\", \"access\": \"write\" }, \"methods\": [ "
          "\"pinned\" ], \"prefetch\": true },\n"
          "  { \"allow\": true, \"match\": { \"backing\": [ \"fsdax\", \"pagecache\" ], \"uid\": 1 }, \"methods\": "
          "\"pinned\" },\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"shmem\" }, \"methods\": \"pinned\" } ] }",
          P "2:64: warning: $.rules[0].methods: The kernel pins no file-system DAX for long, whatever a rule says: all "
            "that this rule matches is "
            "refused. Add \"odp\".\n" P
            "3:87: warning: $.rules[1].methods: The kernel pins no page cache for writing for long, whatever a rule "
            "says: all that this rule matches is refused. Add \"odp\".\n" P
            "3:113: warning: $.rules[1].prefetch: Only what is registered by ODP is prefetched, and the methods of "
            "this rule have no "
            "\"odp\".\n" },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"backing\": [ \"anon\", \"shmem\" ], \"uid\": 1 }, \"methods\": [ \"odp\", \"pinned\" ] },\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"anon\", \"uid\": 2 }, \"methods\": \"odp\" },\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"anon\" } } ] }",
          "" },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"backing\": [ \"other\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"backing\": [ \"other\", \"shmem\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"backing\": [ \"other\" ], \"fs_type\": \"udf\" } } ] }",
          P "2:29: warning: $.rules[0].match: Other memory than is known by name is registered only by a rule that names "
            "its file system (\"fs_type\"): nothing that this rule matches is allowed.\n" },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"fs_type\": [ \"0x6969\", \"0xef53\" ] } } ] }",
          P "2:44: warning: $.rules[0].match.fs_type[0]: Whether files of the file system \"0x6969\" could hold up "
            "whoever touches them is not known: they are never registered, whatever a rule says.\n" },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"exporter\": [ \"nv*\", \"/dev/x\", \"\", 7 ] } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": [] } } ] }",
          P "2:52: error: $.rules[0].match.exporter[1]: This pattern never matches: it has a / in it, as no such name does.\n" P
            "2:62: error: $.rules[0].match.exporter[2]: This pattern never matches: it is empty.\n" P
            "2:66: error: $.rules[0].match.exporter[3]: This is a number, and should be a pattern, which is a text.\n" P
            "3:43: error: $.rules[1].match.exporter: The list is empty. Leave the key \"exporter\" out, or put something "
            "in.\n" },
#define NO_EXPORTER(line, rule) P line ":29: warning: $.rules[" rule "].match: Only a dma-buf has an exporter, and "
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"a\", \"backing\": \"dmabuf\" } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"b\", \"backing\": [ \"shmem\", \"dmabuf\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"c\" } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"d\", \"backing\": [ \"shmem\", \"anon\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"e\", \"path\": \"/a\" } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"f\", \"fs_type\": \"xfs\" } } ] }",
          NO_EXPORTER("5", "3") "the backings of this rule have no \"dmabuf\": nothing matches it.\n" NO_EXPORTER(
                  "6", "4") "it has neither a path nor a file system: nothing matches this rule.\n" NO_EXPORTER("7", "5")
                "it has neither a path nor a file system: nothing matches this rule.\n" },
        /* Whatever else its backings may be, the memory is a dma-buf. */
        { "{ \"version\": 1, \"rules\": [ { \"allow\": true, \"match\": { \"exporter\": \"a\" }, \"guards\": \"poison\" } ] }",
          P "1:85: warning: $.rules[0].guards: No memory that this rule matches can have this guard" NOT_ALL },
#define UNREACHED(name, line)                                                                                          \
        "No request gets to this rule: the rule \"" name "\" (policy.json:" line                                       \
        "), which is asked before, matches all that this one matches.\n"
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"path\": \"/mnt/**\", \"uid\": \"1000-1999\", \"size\": { \"max\": "
          "\"1G\" } } },\n"
          "  { \"allow\": true, \"match\": { \"path\": \"/mnt/a\", \"uid\": [ 1000, \"1500-1600\" ], \"size\": { "
          "\"max\": \"1M\" } } },\n"
          "  { \"allow\": true, \"match\": { \"path\": \"/mnt/a\", \"uid\": [ 1000, 3 ], \"size\": { \"max\": \"1M\" } "
          "} },\n"
          "  { \"allow\": true, \"match\": { \"path\": \"/mnt/a/*\", \"uid\": 1000 } },\n"
          "  { \"name\": \"all\", \"allow\": true, \"match\": { \"backing\": [ \"shmem\", \"hugetlb\" ] } },\n"
          "  { \"allow\": false, \"match\": { \"backing\": \"hugetlb\", \"device\": \"rxe*\", \"cgroup\": \"/**\", "
          "\"gid\": 1, \"fs_type\": \"tmpfs\" } },\n"
          "  { \"allow\": false },\n"
          "  { \"allow\": true } ] }",
          P "3:3: warning: $.rules[1]: " UNREACHED("policy.json:2", "2") P "7:3: warning: $.rules[5]: " UNREACHED(
                  "all", "6") P "9:3: warning: $.rules[7]: " UNREACHED("policy.json:8", "8") },
        { "{ \"version\": 1, \"rules\": [\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"nv*\" } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": [ \"nvidia\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": [ \"nvidia\", \"xe\" ] } },\n"
          "  { \"allow\": true, \"match\": { \"backing\": \"dmabuf\" } },\n"
          "  { \"allow\": true, \"match\": { \"exporter\": \"udmabuf\" } } ] }",
          P "3:3: warning: $.rules[1]: " UNREACHED("policy.json:2", "2") P
            "6:3: warning: $.rules[4]: " UNREACHED("policy.json:5", "5") },
};

TEST(test_table) {
        struct policy_fixture fixture;

        policy_fixture_begin(&fixture);
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                policy_fixture_expect(&fixture, table[i].text, table[i].lines);
        policy_fixture_end(&fixture);
}

/* A NUL is no character of a C string. */
TEST(test_nul) {
        static const char text[] = "{ \"version\": 1,\n  \"a\0b\": 1 }";
        struct policy_fixture fixture;
        char *lines;

        policy_fixture_begin(&fixture);
        policy_fixture_write(&fixture, "policy.json", text, sizeof text - 1);
        policy_fixture_load(&fixture);
        lines = policy_fixture_lines(&fixture);
        assert_string_equal(lines, "policy.json:2:5: error: There is a NUL byte here.\n");
        free(lines);
        policy_fixture_end(&fixture);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_table),
                CHECKED(test_nul),
        };

        return cmocka_run_group_tests_name("policy-errors", tests, NULL, NULL);
}
