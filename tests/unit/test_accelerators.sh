#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# doc/ACCELERATORS.md: its code is that of doc/examples, which compiles: the example against pinlease and libibverbs alone (it is
# run in the guest), the vendors' part with what it declares of their libraries. Its policy is loaded.

top=${srcdir:-.}
page=$top/doc/ACCELERATORS.md
folder=accelerators.$$
mkdir "$folder" || exit 1
trap 'rm -rf "$folder"' EXIT
fail() {
        echo "FAIL: $*"
        exit 1
}

compile() { # SOURCE, OPTION...
        source=$1
        shift
        # shellcheck disable=SC2086
        ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -I"$top/client" -I"$top/proto" $IBVERBS_CFLAGS "$@" -c -o "$folder/object.o" \
                "$top/doc/examples/$source" || fail "doc/examples/$source does not compile: $*"
}

compile accelerator.c
vendors=$(sed -n 's/^#ifdef \(WITH_[A-Z_]*\)$/\1/p' "$top/doc/examples/exporters.c")
n=0 all=
for vendor in $vendors; do
        n=$((n + 1)) all="$all -D$vendor"
        compile exporters.c -D"$vendor"
done
[ "$n" -ge 4 ] || fail "doc/examples/exporters.c is not read as it should be: $n vendors"
# shellcheck disable=SC2086
compile exporters.c $all
for export in $(sed -n 's/^int \(export_[a-z_]*\)(.*/\1/p' "$top/doc/examples/exported.h"); do
        nm "$folder/object.o" | grep -q " T $export\$" || fail "exporters.c has no $export()"
done

# Each block of the page stands in one of the files, word by word.
blocks=$(awk -v folder="$folder" '
        /^```c$/ { n++; inside = 1; next }
        /^```/ { inside = 0; next }
        inside { print > sprintf("%s/%02d.c", folder, n) }
        END { print n + 0 }' "$page")
[ "$blocks" -ge 5 ] || fail "$page is not read as it should be: $blocks blocks of C"
for block in "$folder"/*.c; do
        found=
        for file in "$top"/doc/examples/*; do
                awk 'FNR == 1 { file++ } file == 1 { block = block $0 "\n" } file == 2 { text = text $0 "\n" }
                        END { exit !index("\n" text, "\n" block) }' "$block" "$file" && found=$file
        done
        if [ -z "$found" ]; then
                cat "$block"
                fail "this is in $page, but not in doc/examples"
        fi
done

awk '/^```json$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$page" >"$folder/policy.json"
[ -s "$folder/policy.json" ] || fail "$page has no policy"
./pinleased --check-policy "$folder/policy.json" >"$folder/said" 2>&1 || {
        cat "$folder/said"
        fail "the policy of $page"
}
echo "accelerators: the examples compile for $n vendors, $blocks blocks of the page are theirs, the policy is right"
