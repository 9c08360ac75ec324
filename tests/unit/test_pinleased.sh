#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# pinleased as it is started: options, their ranges, where they go, and the exit statuses of its manual page.

srcdir=${srcdir:-.}
status=0 n=0
fail() {
        echo "FAIL: $*"
        status=1
}

dir=$(mktemp -d) || exit 1
daemon=
trap '[ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null; rm -rf "$dir"' EXIT

# It says something on standard error if it fails, and nothing if it does not.
ends_with() { # STATUS OPTION...
        local expected=$1 result
        shift
        timeout 20 ./pinleased "$@" >"$dir/out" 2>"$dir/err" </dev/null
        result=$?
        [ "$result" = "$expected" ] || fail "pinleased $*: status $result instead of $expected: $(cat "$dir/err")"
        case $expected-$(test -s "$dir/out" && echo out)-$(test -s "$dir/err" && echo err) in
        0-out- | [12]--err) ;;
        *) fail "pinleased $*: says '$(cat "$dir/out")', and '$(cat "$dir/err")'" ;;
        esac
        n=$((n + 1))
}

# --- usage ---

ends_with 0 --help
while IFS= read -r line; do
        [ "${#line}" -le 120 ] || fail "a line of --help is long: $line"
done <"$dir/out"
ends_with 0 --version
ends_with 2 --no-such-option
ends_with 2 argument
ends_with 2 --pin-limit
for option in $(./pinleased --help | grep -E '(BYTES|N|MS)\b' | grep -oE -- '--[a-z-]+ (BYTES|N|MS)\b' | cut -d ' ' -f 1); do
        for value in '' -1 +1 x ' 1' 0x10 1k 1KB 1KK 1.5 1P 18446744073709551616 18014398509481984K 9999999999999999999T; do
                ends_with 2 "$option" "$value"
                grep -qF -- "$option" "$dir/err" || fail "pinleased $option '$value': does not say which option: $(cat "$dir/err")"
        done
        ends_with 0 "$option" 1K --version
done

# --- the policy, without any right ---

ends_with 0 --print-default-policy
cmp "$dir/out" "$srcdir/daemon/policy-default.json" || fail "prints another built-in policy than is shipped"
echo '{ "version": 1, "rules": [ { "allow": true, "grace": "1s" } ] }' >"$dir/right.json"
echo '{ "version": 1, "rules": [ { "allow": 1 } ], "limit": {} }' >"$dir/wrong.json"
printf '{ "version": 1, "rules": [ { "allow": true }, { "allow": true } ] }' >"$dir/doubtful.json"
ends_with 0 --check-policy "$dir/right.json"
ends_with 0 --check-policy "$dir/right.json" --json
ends_with 1 --check-policy "$dir/nothing"
ends_with 1 --check-policy "$dir/right.json" "$dir/wrong.json"
printf '%s\n' "$dir/wrong.json:1:39: error: \$.rules[0].allow: This is a number, and should be true or false." \
        "$dir/wrong.json:1:46: error: \$.limit: There is no key of this name here. Should it be \"limits\"?" \
        "The policy is not taken: 2 errors, 0 warnings." | diff - "$dir/err" || fail "says something else of a wrong policy"
./pinleased --check-policy "$dir/doubtful.json" >"$dir/out" 2>"$dir/err" || fail "a warning is taken for an error"
grep -q 'doubtful.json:1:47: warning: \$.rules\[1\]: No request gets to this rule' "$dir/err" || fail "does not warn: $(cat "$dir/err")"
./pinleased --check-policy --json "$dir/wrong.json" >"$dir/out" 2>"$dir/err" && fail "an error is none with --json"
[ ! -s "$dir/err" ] || fail "says something besides JSON: $(cat "$dir/err")"
if type jq >/dev/null 2>&1; then
        [ "$(jq -r '"\(.errors) \(.warnings) \(.problems[1] | "\(.severity) \(.line) \(.column) \(.path)")"' "$dir/out")" = '2 0 error 1 46 $.limit' ] ||
                fail "says something else in JSON: $(cat "$dir/out")"
fi
ends_with 2 --json
ends_with 2 "$dir/right.json"

# --- what is needed besides ---

if [ "$(id -u)" != 0 ]; then
        ends_with 1 --runtime-directory "$dir/run"
        grep -q root "$dir/err" || fail "does not say that it needs root: $(cat "$dir/err")"
        [ $status = 0 ] && echo "pinleased: $n calls; the rest only as root"
        exit $status
fi
ends_with 1 --runtime-directory "$dir/run" --user root
ends_with 1 --runtime-directory "$dir/run" --user no-such-user
: >"$dir/file"
ends_with 1 --runtime-directory "$dir/file" --user nobody
# Neither a folder nor sockets of systemd's.
ends_with 1 --user nobody

# --- a running one ---

ask() {
        ./pinleasectl --socket "$dir/run/admin.sock" --json status 2>/dev/null | head -n 1 | tr -d ' '
}
start() { # OPTION...
        ./pinleased --runtime-directory "$dir/run" --user nobody "$@" >"$dir/out" 2>"$dir/err" </dev/null &
        daemon=$!
        for _ in {1..200}; do
                answer=$(ask)
                [ -z "$answer" ] || return 0
                kill -0 "$daemon" 2>/dev/null || break
                sleep 0.1
        done
        fail "pinleased $*: does not answer: $(cat "$dir/err")"
        return 1
}
stop() { # SIGNAL: ends with status 0
        local result
        kill "-$1" "$daemon"
        wait "$daemon"
        result=$?
        daemon=
        [ "$result" = 0 ] || fail "pinleased ends with $result on SIG$1"
        n=$((n + 1))
}
limits() { # SESSIONS PER_USER SILENT, then PINNED ODP REGISTRATIONS of a session, of a user
        local expected
        expected='"limits":{"sessions":'$1',"sessions_per_user":'$2',"silent_per_user":'$3',"session":{"pinned_bytes":'$4',"odp_bytes":'$5
        expected+=',"registrations":'$6'},"user":{"pinned_bytes":'$7',"odp_bytes":'$8',"registrations":'$9'},'
        expected+='"total":{"pinned_bytes":null,"odp_bytes":null,"registrations":null}}'
        [[ $answer == *"$expected"* ]] || fail "the limits are not as they should be: $answer"
        n=$((n + 9))
}

K=1024 M=$((1024 * 1024)) G=$((1024 * 1024 * 1024)) T=$((1024 * 1024 * 1024 * 1024))
# The sessions are fewer where it may not open as many files.
ulimit -n 20000 2>/dev/null
if start && [ "$(ulimit -n)" -ge 20000 ]; then
        limits 4096 1024 64 $G $T 32768 $((64 * G)) $((16 * T)) 1048576
        # SIGHUP ends nothing.
        kill -HUP "$daemon"
        [ -n "$(ask)" ] || fail "does not answer after SIGHUP"
        stop TERM
fi
if start --max-sessions 30 --sessions-per-user 20 --silent-per-user 10 --pin-limit 3M --odp-limit 2G --registration-limit 5K \
        --user-pin-limit 7T --user-odp-limit 9M --user-registration-limit 11K; then
        limits 30 20 10 $((3 * M)) $((2 * G)) $((5 * K)) $((7 * T)) $((9 * M)) $((11 * K))
        stop INT
fi

# The sockets go with it. What a killed one has left does not keep the next from its place.
[ ! -e "$dir/run/client.sock" ] || fail "leaves its sockets"
if start; then
        kill -KILL "$daemon"
        wait "$daemon" 2>/dev/null
        start && stop TERM
fi

[ $status = 0 ] && echo "pinleased: $n calls and limits"
exit $status
