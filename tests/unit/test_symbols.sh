#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The library exports the functions that its header declares, all of them and nothing else.

top=${srcdir:-.}
library=.libs/libpinlease.so

if [ ! -e "$library" ]; then
        echo "FAIL: $library is not built (run from the build folder)"
        exit 1
fi

# Comments are taken out first; a declaration's name stands before its first parenthesis.
declared=$(sed -e 's|/\*.*\*/||' -e '/\/\*/,/\*\//d' "$top/client/pinlease/pinlease.h" |
        grep -oE '^[a-z][^;({]*\bpinlease_[a-z_]+\(' | grep -oE 'pinlease_[a-z_]+\($' | tr -d '(' | sort)
exported=$(${NM:-nm} -D --defined-only "$library" | awk '$2 == "T" || $2 == "W" || $2 == "D" || $2 == "B" || $2 == "R" { print $3 }' |
        sed 's/@.*//' | sort)

if [ -z "$declared" ]; then
        echo "FAIL: no declaration found in pinlease.h"
        exit 1
fi
if [ "$declared" != "$exported" ]; then
        echo "FAIL: declared (<) and exported (>) differ:"
        printf '%s\n' "$declared" >symbols.declared.$$
        printf '%s\n' "$exported" >symbols.exported.$$
        diff symbols.declared.$$ symbols.exported.$$
        rm -f symbols.declared.$$ symbols.exported.$$
        exit 1
fi
echo "symbols: $(printf '%s\n' "$declared" | wc -l) functions declared and exported"
