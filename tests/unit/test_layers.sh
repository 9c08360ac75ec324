#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Who may include whom, and which file may use which mechanism: the rules of doc/ARCHITECTURE.md as a table. Also: no
# source file of more than 500 lines; a warning for functions of more than 80.

top=${srcdir:-.}
status=0

fail() {
        echo "FAIL: $*"
        status=1
}

# Files of a folder (without the folders below it).
files() {
        for f in "$top/$1"/*.c "$top/$1"/*.h "$top/$1"/pinlease/*.h; do
                [ -e "$f" ] && echo "$f"
        done
}

# The folder that an #include "..." means, by the search path of the build.
folder_of() {
        for d in "$1" proto client daemon; do
                if [ -e "$top/$d/$2" ]; then
                        echo "$d"
                        return
                fi
        done
        echo unknown
}

# --- folders: FOLDER may include own headers of these folders ---

may_include() {
        folder=$1
        shift
        for f in $(files "$folder"); do
                for header in $(sed -n 's/^# *include *"\(.*\)".*/\1/p' "$f"); do
                        where=$(folder_of "$folder" "$header")
                        case " $* " in
                        *" $where "*) ;;
                        *) fail "$f includes \"$header\" of $where; $folder may include of: $*" ;;
                        esac
                done
        done
}

may_include proto proto
may_include client client proto
may_include client/pingpong client/pingpong client proto
may_include client/pinleasectl client/pinleasectl proto
may_include daemon daemon proto

# --- mechanisms: a system header (a pattern) may be included by these files only ---

only() {
        pattern=$1
        shift
        for f in $(files proto) $(files client) $(files client/pinleasectl) $(files daemon); do
                name=${f#"$top"/}
                grep -Eq "^# *include *<($pattern)>" "$f" || continue
                case " $* " in
                *" $name "*) ;;
                *) fail "$name includes <$(sed -nE "s,^# *include *<($pattern)>.*,\1,p" "$f" | head -n 1)>; only these may: $*" ;;
                esac
        done
}

# RDMA ioctls are issued in one place.
only 'rdma/.*' proto/uverbs.c daemon/sandbox.c
only 'sys/ioctl\.h' proto/uverbs.c daemon/layout.c daemon/obituary.c client/pinleasectl/terminal.c
# Sockets: a session's is touched by wire alone, the control sockets by control; the others make, shut down or hand on.
only 'sys/socket\.h' proto/wire.c daemon/disposal.c \
        daemon/control.c daemon/uplink.c daemon/keeper.c daemon/log.c daemon/peer.c daemon/subject.c daemon/listener.c daemon/handover.c daemon/admin-server.c \
        daemon/disposal.c daemon/registrar.c daemon/sandbox.c daemon/session.c daemon/supervisor.c \
        client/libpinlease.c client/session.c client/pinleasectl/adminclient.c
# Memory is mapped by few, and asked after by two: the app's in mapping, the ledger in ledger, a page that sessions count in, and the library populates.
only 'sys/mman\.h' daemon/mapping.c daemon/layout.c daemon/residency.c daemon/guard-poison.c daemon/ledger.c daemon/log-limit.c daemon/policy-share.c daemon/roster.c daemon/sandbox.c client/populate.c proto/fdclass.c
# libsystemd belongs to the supervisor; a session does not pay for it.
only 'systemd/.*' daemon/listener.c daemon/sessions.h daemon/waiting.h daemon/disposal.h daemon/timer.h daemon/pause.h daemon/notify.h daemon/obituary.h daemon/notify.c
# JSON is what pinleased says to administrators; a session has none.
only 'json-c/.*' daemon/builder.h daemon/admin-call.h daemon/policy-json.c \
        client/pinleasectl/adminclient.h client/pinleasectl/devices.h client/pinleasectl/field.h client/pinleasectl/request.h \
        client/pinleasectl/table.h
# Nor does it read policies: it has one that is compiled. Its modules are those of libpl-session.
for f in $(sed -n '/^libpl_session_la_SOURCES/,/^$/p' "$top/Makefile.am" | grep -oE 'daemon/[a-z-]+\.[ch]'); do
        grep -nE '^# *include *"(policy-(build|files|json|judge|lint|load|problems|reader|rules|values)|builder)\.h"' "$top/$f" /dev/null &&
                fail "$f includes what is pinleased's alone"
done
# Verbs: their numbers in few files of the daemon; the daemon never links libibverbs.
only 'infiniband/.*' daemon/backing.c daemon/explain-find.c daemon/grant.c daemon/report.c daemon/request.c proto/uverbs.c \
        client/pinlease/pinlease.h client/registration.c client/registration.h client/session.c client/session.h client/pinleasectl/devices.c client/pinleasectl/explain.c
# Threads are the library's alone.
only 'pthread\.h' client/events.c client/session.c client/session.h client/libpinlease.c client/registration.c client/lastrefusal.c
# Who is told that a file has changed.
only 'sys/inotify\.h' daemon/guard-modify.c
# Identity and privileges.
only 'sys/fsuid\.h' daemon/privileges.c daemon/residency.c daemon/guard-lease.c
only 'linux/capability\.h' daemon/privileges.c
only 'sys/prctl\.h' daemon/privileges.c daemon/session.c daemon/guard-poison.c daemon/sandbox.c
only 'sys/signalfd\.h' daemon/bell.c daemon/guard-poison.c
only 'grp\.h' daemon/privileges.c daemon/admin-server.c daemon/explain-options.c
only 'seccomp\.h' daemon/sandbox.c

# The policy is a pure function: no system header at all. The codec has strings and error numbers.
grep -n '^# *include *<' "$top/daemon/policy.c" && fail "daemon/policy.c includes a system header"
grep '^# *include *<' "$top/proto/codec.c" | grep -Ev '<(errno|string)\.h>' && fail "proto/codec.c is to be pure"

# --- sizes ---

for f in $(files proto) $(files client) $(files client/pingpong) $(files client/pinleasectl) $(files daemon); do
        n=$(wc -l <"$f")
        [ "$n" -le 500 ] || fail "$f has $n lines"
        awk -v f="$f" '
                /^[a-zA-Z_].*[({]$|^[a-zA-Z_].*\) \{$/ { start = NR; name = $0 }
                /^}/ { if (start && NR - start > 80) printf "warning: %s:%d: %d lines: %s\n", f, start, NR - start, name; start = 0 }
        ' "$f"
done

[ $status = 0 ] && echo "layers: all rules hold"
exit $status
