#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every message id has its explanation in the journal's catalog, and the catalog no other; journalctl takes it, and shows
# each.

top=${srcdir:-.}
catalog=$top/systemd/pinlease.catalog
status=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

fail() {
        echo "FAIL: $*"
        status=1
}

sed -nE 's/^ *MESSAGE\([A-Z_]+, "(.*)", ".*"\).*/\1/p' "$top/daemon/log-messages.h" | sort >"$tmp/header"
sed -n 's/^-- //p' "$catalog" | sort >"$tmp/catalog"
diff "$tmp/header" "$tmp/catalog" || fail "ids of daemon/log-messages.h (<) and of $catalog (>) differ"
[ "$(wc -l <"$tmp/header")" -ge 16 ] || fail "daemon/log-messages.h is not read as it should be"
grep -Evx '[0-9a-f]{32}' "$tmp/header" && fail "these are no ids"
uniq -d "$tmp/header" | grep . && fail "these ids are there twice"

# Each entry: four header lines, an empty line, text.
awk '
        function check() { if (id && (heads != 4 || text < 2)) { print id ": " heads " header lines, " text " lines of text"; bad = 1 } }
        /^-- / { check(); id = $2; heads = text = body = 0; next }
        !id { next }
        /^$/ { body = 1; next }
        body { text++; next }
        /^(Subject|Defined-By|Support|Documentation): ./ { heads++; next }
        { print id ": not a header: " $0; bad = 1 }
        END { check(); exit bad }
' "$catalog" || fail "$catalog: entries are not well-formed"

# What is put in place must be a field that is written.
grep -o '@[^@ ]*@' "$catalog" | sort -u | tr -d @ | while read -r field; do
        grep -q "\"$field=" "$top/daemon/log.c" || echo "$field"
done >"$tmp/unknown"
[ ! -s "$tmp/unknown" ] || fail "fields that daemon/log.c does not write: $(tr '\n' ' ' <"$tmp/unknown")"

if command -v journalctl >/dev/null; then
        mkdir -p "$tmp/root/usr/lib/systemd/catalog"
        cp "$catalog" "$tmp/root/usr/lib/systemd/catalog/"
        if journalctl --update-catalog --root="$tmp/root" >"$tmp/update" 2>&1; then
                grep . "$tmp/update" && fail "journalctl --update-catalog has something to say about the catalog"
                # Newer versions list the catalog of another root; older ones look at the host's.
                journalctl --list-catalog --root="$tmp/root" 2>/dev/null | cut -d ' ' -f 1 | sort >"$tmp/listed"
                if grep -qxFf "$tmp/header" "$tmp/listed"; then
                        diff "$tmp/header" "$tmp/listed" || fail "journalctl does not list what is in the catalog"
                fi
        else
                cat "$tmp/update"
                fail "journalctl does not take the catalog"
        fi
else
        echo "skipped: journalctl is missing (apt install systemd), the catalog is not compiled"
fi

[ $status = 0 ] && echo "catalog: $(wc -l <"$tmp/header") messages"
exit $status
