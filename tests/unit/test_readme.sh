#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The C code of README.md is compiled against the headers, the policy is loaded: an example that does not work is worse than none.

top=${srcdir:-.}
folder=readme-code.$$
mkdir "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT

awk -v folder="$folder" '
        /^```c$/ { n++; inside = 1; next }
        /^```/ { inside = 0; next }
        inside { print > sprintf("%s/%02d.c", folder, n) }
' "$top/README.md"

n=0
for f in "$folder"/*.c; do
        [ -e "$f" ] || break
        n=$((n + 1))
        # shellcheck disable=SC2086
        ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -I"$top/client" -I"$top/proto" $IBVERBS_CFLAGS -c -o "$f.o" "$f" || {
                echo "FAIL: block $n of README.md does not compile:"
                cat -n "$f"
                exit 1
        }
done
if [ "$n" = 0 ]; then
        echo "FAIL: README.md has no C code block"
        exit 1
fi

# The policy: as it is, and root's.
awk '/^```json$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$top/README.md" >"$folder/policy.json"
if ! [ -s "$folder/policy.json" ]; then
        echo "FAIL: README.md has no policy"
        exit 1
fi
if ! ./pinleased --check-policy "$folder/policy.json" >"$folder/said" 2>&1 || ! grep -q ' 0 warnings' "$folder/said"; then
        echo "FAIL: the policy of README.md:"
        cat "$folder/said"
        exit 1
fi
echo "readme: $n C code blocks compile, the policy is right"
