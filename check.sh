#!/bin/bash
# Everything that can be checked, on a Debian 12 or 13 machine, as root: installs what is missing, builds with two
# compilers, runs unit tests, distcheck, and the integration tests in the soft-RoCE guest.
#
# Ends with one line: N passed, N failed, N skipped. Status 0 only if none failed.
set -uo pipefail

top=$(cd "$(dirname "$0")" && pwd)
cd "$top" || exit 1
. "$top/tests/packages"

passed=0 failed=0 skipped=0 failures=() failed_tests=()
logs=$top/build/check-logs
started=$SECONDS

count() { # PASSED FAILED SKIPPED
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

# A step that is one test. Its output is shown only when it fails.
step() { # NAME CMD...
	local name=$1 log t=$SECONDS
	log=$logs/${name//[^a-z0-9]/-}.log
	shift
	printf '== %s\n' "$name"
	if "$@" >"$log" 2>&1; then
		count 1 0 0
		printf '   ok, %d s\n' $((SECONDS - t))
		return 0
	fi
	count 0 1 0
	failures+=("$name")
	tail -n 80 "$log" | sed 's/^/   | /'
	printf '   FAILED: %s (%s)\n' "$name" "$log"
	return 1
}

# A step that counts its own tests: `make check` (automake's summary) or a suite (its closing line).
counting_step() { # NAME CMD...
	local name=$1 log t=$SECONDS status n hidden unit_logs=${unit_logs:-}
	log=$logs/${name//[^a-z0-9]/-}.log
	shift
	printf '== %s\n' "$name"
	"$@" >"$log" 2>&1
	status=$?
	n=$(awk '
		/^# (PASS|XFAIL):/ { p += $3 } /^# SKIP:/ { s += $3 } /^# (FAIL|XPASS|ERROR):/ { f += $3 }
		/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5 }
		END { print p + 0, f + 0, s + 0 }' "$log")
	# Tests that a program skipped by itself: for automake the program has passed.
	if [ -n "$unit_logs" ]; then
		hidden=$(grep -HE '^\[  SKIPPED \] test_' "$unit_logs"/*.log | sort -u | wc -l) # each is named twice
		grep -hE '^skipped: ' "$unit_logs"/*.log | sed 's/^/   /'
		n="${n% *} $((${n##* } + hidden))"
	fi
	# shellcheck disable=SC2086 # three numbers
	set -- $n
	if [ "$1" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; }; then
		set -- "$1" $(($2 + 1)) "$3" # it ended without having tested, or failed outside of its tests
	fi
	count "$1" "$2" "$3"
	grep -hE '^(SKIP|skip)' "$log" | sed 's/^/   /'
	if [ "$2" -gt 0 ]; then
		failures+=("$name")
		grep -hE '^(not ok|FAIL|ERROR)|\[  FAILED  \]|Assertion|runtime error|ERROR: ' "$log" | head -n 60 | sed 's/^/   | /'
		mapfile -t -O "${#failed_tests[@]}" failed_tests < <(grep -hE '^(not ok -|FAIL: )' "$log" | head -n 20)
		tail -n 60 "$log" | sed 's/^/   | /'
		printf '   FAILED: %s (%s)\n' "$name" "$log"
	fi
	printf '   %d passed, %d failed, %d skipped, %d s\n' "$1" "$2" "$3" $((SECONDS - t))
	[ "$2" -eq 0 ]
}

configure_in() ( # DIR ARGS...
	mkdir -p "$1" && cd "$1" && shift && "$top/configure" --prefix=/usr --sysconfdir=/etc --libdir="$libdir" --enable-werror "$@"
)

mkdir -p "$logs"
install_packages "${build_packages[@]}" "${test_packages[@]}" || exit 1
libdir=/usr/lib/$(gcc -print-multiarch)
jobs=$(nproc)

step 'autoreconf' autoreconf -fi || exit 1
step 'configure, gcc' configure_in build || exit 1
step 'build, gcc' make -C build -j"$jobs" || exit 1
# The unit tests of this build are those of the distribution.
counting_step 'distcheck, with the unit tests, gcc' env VERBOSE=1 make -C build -j"$jobs" distcheck
step 'configure, clang with sanitizers' configure_in build-clang CC=clang \
	CFLAGS='-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' &&
	step 'build, clang with sanitizers' make -C build-clang -j"$jobs" &&
	unit_logs=build-clang/tests/unit counting_step 'unit tests, clang with sanitizers' make -C build-clang -j"$jobs" check
step 'configure names missing packages' tests/configure-names-packages
step 'shellcheck' shellcheck -x "${shell_scripts[@]}"
# What the module needs has been installed above.
counting_step 'integration tests in the guest' env PINLEASE_REQUIRE_KMOD=1 make -C build check-vm
step 'try.sh' env PINLEASE_REQUIRE_KMOD=1 ./try.sh
kmod=$(PINLEASE_BUILDDIR="$top/build" tests/kmod/build) || kmod=
step 'try.sh --host, in the guest' env PINLEASE_BUILDDIR="$top/build" PINLEASE_VM_KMOD="$kmod" PINLEASE_REQUIRE_KMOD=1 PINLEASE_VM_NETNS=shared \
	PINLEASE_TRY_FILE=/mnt/ext4/try PINLEASE_TRY_DAX_FILE=/mnt/xfs-dax/try tests/vm/run ip netns exec hosta tests/try-host build

printf '\n%d s in all.' $((SECONDS - started))
[ "${#failures[@]}" -eq 0 ] || printf ' Failed: %s.' "$(IFS=,; printf '%s' "${failures[*]}")"
[ "${#failed_tests[@]}" -eq 0 ] || printf '\n%s' "${failed_tests[@]}"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
