#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the documents say that can be compared with the code: options, refusal codes, message ids, names of tests, modules.

top=${srcdir:-.}
status=0 n=0
fail() {
        echo "FAIL: $*"
        status=1
}

# Two lists, one item a line, have to be the same.
same() { # WHAT, LIST OF THE CODE, LIST OF THE DOCUMENT, at least so many
        local lines
        lines=$(grep -c . <<<"$2")
        [ "$lines" -ge "$4" ] || fail "$1: the code is not read as it should be: $lines"
        diff <(sort <<<"$2") <(sort <<<"$3") || fail "$1: the code (<) and the document (>) differ"
        n=$((n + lines))
}

# --- pinleased(8) ---

man=$top/doc/man/pinleased.8.scd
help=$(./pinleased --help) || fail "pinleased --help fails"
same "options of pinleased" "$(grep -oE -- '--[a-z-]+' <<<"$help" | sort -u)" \
        "$(sed -n '/^# OPTIONS/,/^# SIGNALS/s/^\*\(--[a-z-]*\)\*.*/\1/p' "$man")" 19

# OPTION DEFAULT. Three options share a line.
defaults=$(
        sed -nE 's/^  (--[a-z-]+) .*\(default ([^;:)]+)[;)].*/\1 \2/p' <<<"$help"
        paste -d ' ' <(grep -oE -- '--user-[a-z-]+' <<<"$help") <(sed -nE 's/^ +the same .*\(default (.*)\)/\1/p' <<<"$help" | sed 's/, /\n/g')
)
same "defaults of pinleased" "$defaults" \
        "$(awk '/^# SIGNALS/ { exit }
                /^\*--/ { option = substr($1, 2); sub(/\*.*/, "", option) }
                match($0, /Default: [^.]*[0-9a-zB]\./) {
                        print option, substr($0, RSTART + 9, RLENGTH - 10) }' "$man" | grep -v ' nobody ')" 14

for name in SIGTERM SIGINT SIGHUP; do
        grep -q "{ $name, on_" "$top/daemon/supervisor.c" || fail "daemon/supervisor.c does not handle $name"
        grep -qxF "*$name*" "$man" || fail "the man page has no entry for $name"
done
for exit_status in 0 1 2; do
        grep -qxF "*$exit_status*" "$man" || fail "the man page does not say what exit status $exit_status means"
done
for unit in "$top"/systemd/*.socket.in; do
        socket=$(sed -n 's/^ListenSequentialPacket=//p' "$unit") unit=$(basename "$unit" .in)
        grep -qF "_${socket}_" "$man" || fail "the man page does not describe $socket"
        grep -qxF "_${unit}_" "$man" || fail "the man page does not describe $unit"
        n=$((n + 1))
done

if type scdoc >/dev/null 2>&1; then
        scdoc <"$man" >/dev/null || fail "scdoc does not take the man page"
fi

# --- doc/OPERATIONS.md ---

operations=$top/doc/OPERATIONS.md
codes=$(sed -nE 's,^ *PINLEASE_CODE_([A-Z_]+) *= *([0-9]+)\, /\* \[([^]]*)\].*,\2 \1 \3,p' "$top/proto/pinlease/types.h" |
        awk '{ name = tolower($2); gsub("_", "-", name); $2 = name; print }')

# NUMBER NAME ERRNO.
# shellcheck disable=SC2016 # backquotes of Markdown
same "refusal codes of doc/OPERATIONS.md" "$codes" \
        "$(sed -nE 's/^\| ([0-9]+) `([a-z-]+)` \| ([^|]*) \| [^|]+ \| [^|]+ \|$/\1 \2 \3/p' "$operations")" 48

same "names of refusal codes" "$(sed -nE 's/^ *\{ PINLEASE_CODE_.*, [A-Z]+, "(.*)" \},/\1/p' "$top/proto/codec.c")" \
        "$(cut -d ' ' -f 2 <<<"$codes")" 48

same "message ids of doc/OPERATIONS.md" \
        "$(sed -nE 's/^ *MESSAGE\([A-Z_]+, "(.*)", ".*"\).*/\1/p' "$top/daemon/log-messages.h")" \
        "$(sed -nE 's/^\| ([0-9a-f]{32}) \| [^|]+ \| [^|]+ \|$/\1/p' "$operations")" 16

# Every option about limits, with its default; and no option that there is not. A time is in seconds there.
# shellcheck disable=SC2016
same "limits of doc/OPERATIONS.md" "$(grep -E -- 'limit|session|per-user|timeout' <<<"$defaults" | sed 's/000$/ s/')" \
        "$(sed -nE 's/^\|[^|]*\| ([^|]*) \| `(--[a-z-]+)` \|.*/\2 \1/p' "$operations")" 10
while read -r option; do
        grep -qxF -- "$option" <<<"$(grep -hoE -- '--[a-z-]+' "$man" "$top/doc/man/pinleasectl.1.scd")" ||
                fail "doc/OPERATIONS.md names an option that there is not: $option"
done < <(grep -E 'pinleased|pinleasectl' "$operations" | grep -oE -- ' --[a-z-]+' | tr -d ' ' | grep -vE -- '--(now|create|update-catalog|catalog|prefix|sysconfdir)' | sort -u)

# --- SECURITY.md: `CASE` of tests/integration, `PROGRAM: TEST` of tests/unit ---

security=$top/SECURITY.md
# shellcheck disable=SC2016
# Sentences go on in the next line, names do not.
named=$(tr -s '\n ' '  ' <"$security" | grep -oE '`[a-z0-9_]+: [^`]+`' | tr -d '`' | sort -u)
[ "$(wc -l <<<"$named")" -ge 70 ] || fail "SECURITY.md names few tests: $(wc -l <<<"$named")"
while IFS= read -r name; do
        case $name in
        test_*) grep -qF "TEST(${name#*: })" "$top/tests/unit/${name%%: *}.c" ;;
        *) grep -qF "\"$name\"" "$top"/tests/integration/cases-*.c "$top"/tests/integration/suite* ;;
        esac || fail "SECURITY.md names a test that there is not: $name"
        n=$((n + 1))
done <<<"$named"
while read -r file; do
        [ -e "$top/$file" ] || fail "SECURITY.md names a file that there is not: $file"
        n=$((n + 1))
done < <(grep -ohE 'tests/[a-z_/]+\.(c|sh)' "$security")

# --- doc/ARCHITECTURE.md: every module is in a table, and every module there is there ---

architecture=$top/doc/ARCHITECTURE.md
modules() { # FOLDER: of the code
        for f in "$top/$1"/*.[ch]; do
                f=${f#"$top"/}
                echo "${f%.*}"
        done | sort -u
}
# In a row `daemon/a`, `b` are two of daemon/. A name with a dot is a file; with a star, a whole folder.
# shellcheck disable=SC2016
same "modules of doc/ARCHITECTURE.md" "$(modules daemon; modules client; modules client/pinleasectl)" \
        "$(sed -n '/^## Modules/,/^Who may include/p' "$architecture" | awk -F'|' '
                /^\| `/ { print $2 } /^\*\*Both/,/^$/ { print }' | grep -oE '`[a-z/-]+`' | tr -d '`' | awk '
                /\// { folder = $0; sub(/[^\/]*$/, "", folder); print; next } { print folder $0 }' | grep -vE '^proto/' | sort -u)" 60

[ $status = 0 ] && echo "docs: $n facts compared"
exit $status
