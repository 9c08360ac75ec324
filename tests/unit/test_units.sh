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
