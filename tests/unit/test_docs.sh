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

# OPTION DEFAULT, as far as --help has it in one line.
same "defaults of pinleased" "$(sed -nE 's/^  (--[a-z-]+) .*\(default ([^;:)]+)[;)].*/\1 \2/p' <<<"$help")" \
        "$(awk '/^# SIGNALS/ { exit }
                /^\*--/ { option = substr($1, 2); sub(/\*.*/, "", option) }
                option !~ /^--user-/ && match($0, /Default: [^.]*[0-9a-zB]\./) {
                        print option, substr($0, RSTART + 9, RLENGTH - 10) }' "$man" | grep -v ' nobody ')" 11

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

[ $status = 0 ] && echo "docs: $n facts compared"
exit $status
