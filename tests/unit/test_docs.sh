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
        "$(sed -n '/^# OPTIONS/,/^# SIGNALS/s/^\*\(--[a-z-]*\)\*.*/\1/p' "$man")" 20

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
else
        echo "skipped: scdoc is missing (apt install scdoc), pinleased(8) is not compiled"
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

# --- doc/KERNELS.md: what differs does, and nothing is said twice. Whether it is so is found out in the guest ---

kernels=$top/doc/KERNELS.md
rows_of() { # TABLE
        awk -v name="$1" '/^<!-- begin/ { inside = $3 == name } /^<!-- end/ { inside = 0 } inside && /^\| / && !/^\| what /' "$kernels"
}
[ "$(rows_of differs | wc -l)" -ge 20 ] && [ "$(rows_of same | wc -l)" -ge 20 ] || fail "doc/KERNELS.md is not read as it should be"
wrong=$(rows_of differs | awk -F ' *[|] *' 'NF != 5 || $3 == $4 { print }'; rows_of same | awk -F ' *[|] *' 'NF != 4 { print }')
[ -z "$wrong" ] || fail "doc/KERNELS.md: these do not differ, or are not whole: $wrong"
twice=$({ rows_of differs; rows_of same; } | awk -F ' *[|] *' '{ print $2 }' | sort | uniq -d)
[ -z "$twice" ] || fail "doc/KERNELS.md says twice: $twice"
n=$((n + $({ rows_of differs; rows_of same; } | wc -l)))

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

# --- examples: what people are told to type is taken ---

examples=$(mktemp -d) || exit 1
trap 'rm -rf "$examples"' EXIT

# Indented blocks, and those between fences that are not named: a line each, as typed.
awk 'FNR == 1 { fenced = 0 }
        /^```/ { fenced = fenced ? 0 : $0 == "```" ? 1 : 2; next }
        fenced == 1 { print; next }
        fenced == 0 && (more || /^(    |\t)[^ ]/) && (FILENAME !~ /\.scd$/ || examples) {
                sub(/^(    |\t) */, "")
                more = sub(/\\$/, "")
                printf "%s%s", $0, more ? "" : "\n"
                next
        }
        /^# / { examples = $0 == "# EXAMPLES" }' \
        "$top/README.md" "$operations" "$man" "$top/doc/man/pinleasectl.1.scd" >"$examples/lines"
grep -vE '^(\[|ExecStart=|Type=)' "$examples/lines" >"$examples/shell"
bash -n "$examples/shell" || fail "bash does not take an example"

# Each call of pinleasectl, those named in a sentence as well, without a service: all is well but for that (3), or for a file
# that is not there (5); or it needs none.
{
        grep -oE "pinleasectl [^|&;>'#]*" "$examples/lines"
        # shellcheck disable=SC2016
        grep -ohE '`pinleasectl [a-z][^`]*`' "$top/README.md" "$top"/doc/*.md | tr -d '`'
} | sed -E 's/ +$//; s/^pinleasectl //; s/\b(alice|USER)\b/root/; s/\bFILE\b/\//' | sort -u >"$examples/calls"
[ "$(wc -l <"$examples/calls")" -ge 14 ] || fail "the examples are not read as they should be: $(tr '\n' ',' <"$examples/calls")"
export PINLEASE_EXPLAIN_PROGRAM=./pinlease-explain
while read -r call; do
        # shellcheck disable=SC2086 # words they are
        message=$(timeout 10 ./pinleasectl $call --socket /nonexistent/socket 2>&1 >/dev/null)
        result=$?
        case $result-$call in
        3-* | 5-*--path* | 5-*--mount* | [01]-devices* | [012]-explain*) ;;
        *) fail "an example, pinleasectl $call: status $result: $message" ;;
        esac
        n=$((n + 1))
done <"$examples/calls"

# Options of pinleased are read from left to right: --version ends well if all before are right.
grep -oE '(^|/|=)pinleased --[^|&>#]*' "$examples/lines" | sed -E 's/^[^ ]* //' | sort -u >"$examples/daemons"
[ "$(wc -l <"$examples/daemons")" -ge 3 ] || fail "the examples are not read as they should be: $(tr '\n' ',' <"$examples/daemons")"
while read -r call; do
        # shellcheck disable=SC2086
        ./pinleased $call --version >/dev/null || fail "an example: pinleased $call"
        n=$((n + 1))
done <"$examples/daemons"

# Units and message ids that are named anywhere.
pages=("$top"/README.md "$top"/SECURITY.md "$top"/doc/*.md "$top"/doc/man/*.scd "$top"/systemd/*.catalog)
while read -r unit; do
        [ -e "$top/systemd/$unit.in" ] || fail "the documents name a unit that there is not: $unit"
        n=$((n + 1))
done < <(grep -ohE '\bpinlease[a-z-]*\.(service|socket)\b' "${pages[@]}" | sort -u)
while read -r id; do
        grep -q "\"$id" "$top/daemon/log-messages.h" || fail "the documents name a message that there is not: $id"
        n=$((n + 1))
done < <(grep -ohE 'MESSAGE_ID[= ][0-9a-f]{8,32}' "${pages[@]}" | sed 's/.*[= ]//' | sort -u)

# What is to be installed before building is what check.sh installs, the C library aside.
# shellcheck source=tests/packages
. "$top/tests/packages"
# shellcheck disable=SC2154
same "packages of README.md" "$(printf '%s\n' "${build_packages[@]}" | grep -v libc6-dev)" \
        "$(sed -n 's/^apt install //p' "$examples/lines" | tr -s ' ' '\n')" 12

# JSON that is shown is JSON, and what is made of it by jq in the examples is not nothing.
if type jq >/dev/null 2>&1; then
        for page in "$top"/doc/*.md; do
                awk '/^```json$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$page"
        done >"$examples/json"
        jq -e . "$examples/json" >/dev/null || fail "examples of JSON are not right"
        grep -oE "jq .*'" "$examples/lines" >"$examples/filters"
        [ "$(wc -l <"$examples/filters")" -ge 1 ] || fail "the examples of jq are not read as they should be"
        while read -r filter; do
                bash -c "$filter" <"$examples/json" | grep -qvx null || fail "an example gives nothing: $filter"
                n=$((n + 1))
        done <"$examples/filters"
fi

[ $status = 0 ] && echo "docs: $n facts compared"
exit $status
