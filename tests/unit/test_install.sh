#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What `make install` installs, below DESTDIR and nowhere else: these files, with these modes; what refers to another file by
# its path finds it there. `make uninstall` takes all of it away.

top=${srcdir:-.}
status=0
fail() {
        echo "FAIL: $*"
        status=1
}

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
stage=$dir/stage
mkdir "$stage"

# Of its own, whatever make this runs in; what is built is built.
run_make() {
        MAKEFLAGS='' MAKELEVEL='' "${MAKE:-make}" -s "$@"
}

# The value of a variable of the Makefile.
# shellcheck disable=SC2016 # make's
printf 'include Makefile\nprint-%%:\n\t@echo $($*)\n' >"$dir/print.mk"
value() {
        # shellcheck disable=SC2317 # it is
        run_make -f "$dir/print.mk" "print-$1" | tail -n 1
}

for name in prefix sbindir bindir libdir pkglibexecdir datadir mandir includedir systemdsystemunitdir serviceuser SCDOC; do
        eval "$name=\$(value $name)"
done
# shellcheck disable=SC2154 # by eval
for known in "$sbindir" "$systemdsystemunitdir" "$serviceuser"; do
        [ -n "$known" ] || fail "the Makefile is not read as it should be"
done

(umask 022 && run_make install DESTDIR="$stage") >"$dir/log" 2>&1 || {
        tail -n 20 "$dir/log"
        fail "make install fails"
}

# --- which files ---

# shellcheck disable=SC2154
{
        echo "755 $bindir/pinlease-pingpong"
        echo "755 $bindir/pinleasectl"
        echo "755 $sbindir/pinleased"
        echo "755 $pkglibexecdir/pinlease-session"
        echo "755 $pkglibexecdir/pinlease-explain"
        echo "755 $pkglibexecdir/pinlease-stop"
        for unit in pinlease.service pinlease.socket pinlease-session.socket pinlease-admin.socket; do
                echo "644 $systemdsystemunitdir/$unit"
        done
        echo "644 $prefix/lib/sysusers.d/pinlease.conf"
        echo "644 $prefix/lib/tmpfiles.d/pinlease.conf"
        echo "644 $prefix/lib/sysctl.d/50-pinlease.conf"
        echo "644 $prefix/lib/systemd/catalog/pinlease.catalog"
        echo "644 $datadir/pinlease/policy-default.json"
        echo "644 $datadir/pinlease/policy.schema.json"
        echo "644 $datadir/bash-completion/completions/pinleasectl"
        if [ -n "$SCDOC" ]; then
                echo "644 $mandir/man1/pinleasectl.1"
                echo "644 $mandir/man5/pinlease-policy.5"
                echo "644 $mandir/man8/pinleased.8"
        fi
        echo "644 $includedir/pinlease/pinlease.h"
        echo "644 $includedir/pinlease/types.h"
        echo "644 $libdir/pkgconfig/pinlease.pc"
        echo "755 $libdir/libpinlease.so.0.0.0"
} | sort -k 2 >"$dir/expected"
# Links, the archive and libtool's own file are there or not, as configured.
(cd "$stage" && find . -type f -printf '%m /%P\n') | grep -vE '/libpinlease\.(a|la)$' | sort -k 2 >"$dir/installed"
diff "$dir/expected" "$dir/installed" || fail "what should be installed (<) and what is (>) differ"

# --- what refers to what ---

# shellcheck disable=SC2154
units=$stage$systemdsystemunitdir
{
        sed -nE 's,^Exec[A-Za-z]+=[-+!@:]*(/[^ ]*).*,\1,p' "$units/pinlease.service"
        sed -nE 's,^exec (/[^ ]*).*,\1,p' "$stage$pkglibexecdir/pinlease-stop"
} >"$dir/programs"
[ "$(wc -l <"$dir/programs")" = 4 ] || fail "the units are not read as they should be: $(tr '\n' ' ' <"$dir/programs")"
while read -r program; do
        # The system's own, and pinlease's.
        [ "$program" = /bin/kill ] || [ -x "$stage$program" ] || fail "the units name a program that is not installed: $program"
done <"$dir/programs"
grep -r '@[a-z]*@' "$units" "$stage$pkglibexecdir/pinlease-stop" "$stage$prefix/lib/sysusers.d" "$stage$prefix/lib/tmpfiles.d" "$stage$libdir/pkgconfig" &&
        fail "names that nothing was put in place of"
sed -nE 's/^(Also|Requires|Wants|Service|PartOf)=//p' "$units"/pinlease* | tr ' ' '\n' >"$dir/units"
while read -r unit; do
        [ -e "$units/$unit" ] || fail "the units name a unit that is not installed: $unit"
done <"$dir/units"
for socket in "$units"/*.socket; do
        grep -q '^SocketGroup=' "$socket" || continue
        grep -qx "SocketGroup=$serviceuser" "$socket" || fail "$socket: the group is not $serviceuser"
done
grep -q "^u $serviceuser - " "$stage$prefix/lib/sysusers.d/pinlease.conf" || fail "sysusers.d makes no user $serviceuser"

# Paths that manual pages name are right for the prefix /usr, as they say.
if [ "$prefix" = /usr ]; then
        for file in $(sed -n '/^# FILES/,/^# ENV/p' "$top/doc/man/pinleased.8.scd" "$top/doc/man/pinlease-policy.5.scd" | grep -oE '_/usr/[^_]*_' | tr -d _); do
                [ -e "$stage$file" ] || fail "a manual page names a file that is not installed: $file"
        done
fi

# --- what systemd's tools make of it ---

if command -v systemd-sysusers >/dev/null && systemd-sysusers --dry-run /dev/null >/dev/null 2>&1; then
        mkdir "$dir/root"
        systemd-sysusers --root="$dir/root" --dry-run "$stage$prefix/lib/sysusers.d/pinlease.conf" >"$dir/log" 2>&1 || fail "systemd-sysusers fails"
        for what in group user; do
                grep -qi "creat.* $what '$serviceuser'" "$dir/log" || {
                        cat "$dir/log"
                        fail "systemd-sysusers would make no $what $serviceuser"
                }
        done
fi

# --- and back ---

run_make uninstall DESTDIR="$stage" >"$dir/log" 2>&1 || {
        tail -n 20 "$dir/log"
        fail "make uninstall fails"
}
find "$stage" ! -type d | grep . && fail "make uninstall leaves these"

[ $status = 0 ] && echo "install: $(wc -l <"$dir/expected") files"
exit $status
