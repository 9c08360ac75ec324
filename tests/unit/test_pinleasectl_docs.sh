#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# pinleasectl --help, its man page and its completion know the same commands and options; the completion works in bash.

top=${srcdir:-.}
man=$top/doc/man/pinleasectl.1.scd
status=0 n=0

fail() {
        echo "FAIL: $*"
        status=1
}

export PINLEASE_EXPLAIN_PROGRAM=./pinlease-explain
help=$(./pinleasectl --help) || fail "pinleasectl --help fails"
commands=$(sed -nE 's/^  ([a-z]+) .*/\1/p' <<<"$help")
options=$(grep -oE -- '--[a-z-]+' <<<"$help" | sort -u)
[ "$(wc -w <<<"$commands")" = 11 ] || fail "commands in --help: $commands"
[ "$(wc -w <<<"$options")" -ge 10 ] || fail "options in --help: $options"

# --- the man page describes each, in an entry of its own, and no other ---

for word in $commands $options; do
        grep -qE -- "^\*$word\*" "$man" || fail "the man page has no entry for $word"
        n=$((n + 1))
done
while read -r word; do
        grep -qxF -- "$word" <<<"$options" || fail "the man page describes $word, --help does not"
done < <(sed -n '/^# OPTIONS/,/^# METRICS/s/^\*\(--[a-z-]*\)\*.*/\1/p' "$man")
for exit_status in 0 1 2 3 4 5; do
        grep -qxF "*$exit_status*" "$man" || fail "the man page does not say what exit status $exit_status means"
done
for name in PINLEASE_ADMIN_SOCKET NO_COLOR COLUMNS /run/pinlease/admin.sock; do
        grep -qF "$name" "$man" || fail "the man page does not mention $name"
done

# Every family that the program can write.
for family in $(grep -ohE '"pinlease_[a-z_]+"' "$top/client/pinleasectl/metrics.c" | tr -d '"' | sort -u); do
        grep -qF "*$family*" "$man" || fail "the man page does not describe the metric $family"
        n=$((n + 1))
done

if type scdoc >/dev/null 2>&1; then
        scdoc <"$man" >/dev/null || fail "scdoc does not take the man page"
else
        echo "skipped: scdoc is missing (apt install scdoc), pinleasectl(1) is not compiled"
fi

# --- completion ---

# shellcheck source=/dev/null
. "$top/client/pinleasectl/pinleasectl.bash-completion" || fail "bash does not take the completion"

# What completes WORDS…; the last is what has been typed so far.
completes() {
        COMP_WORDS=(pinleasectl "$@")
        COMP_CWORD=$#
        _pinleasectl
        printf '%s\n' "${COMPREPLY[@]}"
}

# What the completion asks for IDs.
# shellcheck disable=SC2317
command() {
        shift
        [ "$*" = "--socket /nonexistent --json list" ] || return 1
        printf '%s\n' '{"type": "session", "id": "7", "pid": 4711}' '{"type":"registration","id":"7.12","session":"7"}' '{}'
}

offered=$(completes '')
for word in $commands; do
        grep -qxF -- "$word" <<<"$offered" || fail "the completion does not offer $word"
        n=$((n + 1))
done
# shellcheck disable=SC2086
offered=$(for word in '' $commands; do completes $word --; done)
for word in $options; do
        grep -qxF -- "$word" <<<"$offered" || fail "the completion does not offer $word for any command"
        n=$((n + 1))
done

# What it offers for a command, the command takes, and the other way round.
offered=$(completes '' | grep -v '^--')
[ "$(sort <<<"$offered")" = "$(sort <<<"$commands")" ] || fail "the completion offers other commands: $offered"
for word in $commands; do
        offered=$(completes "$word" --)
        for option in $options; do
                case $option in
                --help | --version) continue ;;
                --pid) argument=1 ;; --uid) argument=0 ;; --grace) argument=1s ;; --path | --mount) argument=/ ;; --socket) argument=/nonexistent ;;
                --fd | --gid | --offset) argument=0 ;; --access) argument="read" ;; --methods | --offers) argument=odp ;;
                --length) argument=1 ;; --cgroup | --policy) argument=/ ;; --device) argument=rxe0 ;;
                *) argument= ;;
                esac
                message=$(timeout 5 ./pinleasectl "$word" --socket /nonexistent "$option" ${argument:+"$argument"} 2>&1 >/dev/null)
                case $message in
                *"is not for this command"* | *"unrecognized option"*)
                        grep -qxF -- "$option" <<<"$offered" && fail "the completion offers $option for $word: $message"
                        ;;
                *) grep -qxF -- "$option" <<<"$offered" || fail "the completion does not offer $option for $word" ;;
                esac
                n=$((n + 1))
        done
done
while read -r option; do
        grep -qxF -- "$option" <<<"$options" || fail "the completion offers $option, which --help does not"
done < <(for word in '' $commands; do completes "$word" --; done | grep '^--' | sort -u)
complete -p pinleasectl >/dev/null || fail "bash completes nothing for pinleasectl"

same() { # EXPECTED WORDS…
        local expected=$1 found
        shift
        found=$(completes "$@" | tr '\n' ' ')
        [ "$found" = "$expected " ] || fail "completing '$*': '$found' instead of '$expected'"
        n=$((n + 1))
}
same 'status' st
same 'revoke' --json rev
same '--grace' drain --g
same '--mount' release --m
same 'release reload' rel
same '7 7.12' --socket /nonexistent show ''
same '7.12' --socket /nonexistent revoke 7.
same '--pid --path' list --p
same 'root' list --uid roo
same '--methods' explain --m
same 'write' explain --access w
same '/proc/self' explain --uid root /proc/self
same '/proc/self' list --path /proc/self

[ $status = 0 ] && echo "pinleasectl: $n checks of help, man page and completion"
exit $status
