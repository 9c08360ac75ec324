#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The units are right for systemd, and the service's sandbox is what it says: an exposure of at most 1.8, and nothing found
# by the analysis that the unit does not explain ("#✗ NAME: why"), nor the other way round.

top=${srcdir:-.}
status=0
fail() {
        echo "FAIL: $*"
        status=1
}

if ! command -v systemd-analyze >/dev/null; then
        echo "skipped: systemd-analyze is missing (apt install systemd)"
        exit 77
fi

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# As they are built, but for programs that are not installed yet, and a group that may not be there.
for unit in pinlease.service pinlease.socket pinlease-session.socket pinlease-admin.socket; do
        sed -E 's,^(Exec[A-Za-z]*=[-+!@:]*).*,\1/bin/true,; s,^SocketGroup=.*,SocketGroup=root,' "systemd/$unit" >"$dir/$unit" ||
                exit 1
done

# --- verify: libseccomp 2.5 does not know the newest system calls, and says so ---

SYSTEMD_LOG_LEVEL=notice SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify --man=no "$dir"/* >"$dir/log" 2>&1 ||
        fail "systemd-analyze verify: status $?"
grep -E 'pinlease' "$dir/log" | grep -vE 'Failed to parse system call, ignoring: (cachestat|statmount)$' &&
        fail "systemd-analyze verify has something to say"

# --- what the service relies on ---

# The last value that a unit gives to a setting; "" if it has none.
setting() { # UNIT, NAME
        sed -n "s/^$2=//p" "systemd/$1" | tail -n 1
}
is() { # UNIT, NAME=VALUE...
        unit=$1
        shift
        for pair; do
                [ "$(setting "$unit" "${pair%%=*}")" = "${pair#*=}" ] || fail "$unit: ${pair%%=*}=$(setting "$unit" "${pair%%=*}") instead of $pair"
        done
}
# shellcheck disable=SC2016 # systemd's
is pinlease.service Type=notify 'ExecReload=/bin/kill -HUP $MAINPID' KillMode=process Restart=always StartLimitIntervalSec=0 \
        WatchdogSec=30 OOMPolicy=continue OOMScoreAdjust=-500 TasksMax=20000 LimitNOFILE=65536 \
        LogRateLimitIntervalSec=10s LogRateLimitBurst=2000 \
        'Requires=pinlease.socket pinlease-session.socket pinlease-admin.socket'
# systemd says nothing of capabilities that the analysis does not look for.
is pinlease.service 'CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_SYS_RESOURCE CAP_LEASE' AmbientCapabilities=
group=$(setting pinlease.socket SocketGroup)
is pinlease.socket SocketMode=0660 SocketUser=root TriggerLimitIntervalSec=0
is pinlease-admin.socket SocketMode=0660 SocketUser=root "SocketGroup=$group" TriggerLimitIntervalSec=0
is pinlease-session.socket SocketMode=0600 SocketUser= SocketGroup= TriggerLimitIntervalSec=0
for unit in pinlease.socket pinlease-session.socket pinlease-admin.socket; do
        is "$unit" Service=pinlease.service
        n=${unit#pinlease-} n=${n%.socket}
        [ "$n" != pinlease ] || n=client
        is "$unit" "FileDescriptorName=$n" "ListenSequentialPacket=/run/pinlease/$n.sock"
done

# Enough for as many sessions as there may be: two tasks each and one that closes now and then, three descriptors.
default() { # OPTION of pinleased
        ./pinleased --help | sed -nE "s/^ +--$1 .*\(default ([0-9]+)\)/\1/p"
}
sessions=$(default max-sessions) grace=$(default grace)
[ "$(setting pinlease.service TasksMax)" -gt $((2 * sessions)) ] || fail "TasksMax= is not enough for $sessions sessions"
[ "$(setting pinlease.service LimitNOFILE)" -gt $((3 * sessions + 128)) ] || fail "LimitNOFILE= is not enough for $sessions sessions"
# The grace time, and what pinleased waits beyond it.
margin=$(sed -n 's/^#define DRAIN_MARGIN_MS *//p' "$top/daemon/supervisor.c")
[ "$(($(setting pinlease.service TimeoutStopSec) * 1000))" -gt $((grace + margin)) ] || fail "TimeoutStopSec= is not enough to end sessions"
# The limits that doc/OPERATIONS.md names.
for pair in TasksMax LimitNOFILE; do
        grep -q "| $(setting pinlease.service $pair) | \`$pair=\` |" "$top/doc/OPERATIONS.md" || fail "doc/OPERATIONS.md has another $pair="
done
grep -qF "| $(setting pinlease.service LogRateLimitBurst) in 10 s | \`LogRateLimitBurst=\` |" "$top/doc/OPERATIONS.md" ||
        fail "doc/OPERATIONS.md has another LogRateLimitBurst="

# --- security ---

LC_ALL=C.UTF-8 systemd-analyze security --no-pager --offline=true --threshold=18 "$dir/pinlease.service" >"$dir/security" 2>"$dir/log" || {
        grep '→' "$dir/security"
        cat "$dir/log"
        fail "the exposure is more than 1.8"
}
grep -q '^✓ SystemCallFilter=~@mount ' "$dir/security" || fail "systemd-analyze security does not look as expected"

sed -n 's/^✗ \([^ ]*\) .*/\1/p' "$dir/security" | sort >"$dir/found"
sed -n 's/^#✗ \([^ ]*\): ..*/\1/p' "$top/systemd/pinlease.service.in" | sort >"$dir/explained"
for name in $(comm -23 "$dir/found" "$dir/explained"); do
        fail "pinlease.service does not explain: $name"
done
for name in $(comm -13 "$dir/found" "$dir/explained"); do
        # Versions of systemd differ in what they ask for, but not in what they would call a strength.
        ! grep -qF "✓ $name " "$dir/security" || fail "pinlease.service explains what is not so: $name"
done

[ $status = 0 ] && echo "units: $(sed -n 's/.*→ //p' "$dir/security")"
exit $status
