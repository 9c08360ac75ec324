#!/bin/bash
# Shows pinlease at work: a brokered registration that carries real RDMA bytes, a refusal that explains itself, a file that is
# truncated under the traffic, a dma-buf, and memory that fails.
#
#   ./try.sh          in a soft-RoCE guest, on any Debian 12 or 13 machine, as root; no RDMA hardware is needed
#   ./try.sh --host   on this host, with its own RDMA device
set -euo pipefail

top=$(cd "$(dirname "$0")" && pwd)
cd "$top"
. tests/packages
started=$SECONDS

tell() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || tell() { printf '\n%s\n' "$*"; }
trap 'printf "\ntry: FAILED, see above\n"' ERR

case ${1:-} in
'' | --host) ;;
*)
	printf 'usage: ./try.sh [--host]\n' >&2
	trap - ERR
	exit 2
	;;
esac

tell "1. Installing what is missing"
if [ "${1:-}" = --host ]; then
	install_packages "${build_packages[@]}" iproute2
else
	install_packages "${build_packages[@]}" "${guest_packages[@]}"
fi

tell "2. Building pinlease in build/"
mkdir -p build
quietly() { "$@" >build/try.log 2>&1 || { tail -n 40 build/try.log; return 1; }; }
[ -x configure ] || quietly autoreconf -fi
[ -e build/Makefile ] ||
	(cd build && ../configure --prefix=/usr --sysconfdir=/etc \
		--libdir="/usr/lib/$(gcc -print-multiarch)" >try.log 2>&1) || { tail -n 40 build/try.log; false; }
quietly make -C build -j"$(nproc)"
printf 'Built in %d s.\n' $((SECONDS - started))

if [ "${1:-}" = --host ]; then
	tell "3. Running on this host"
	tests/try-host build
else
	tell "3. Installing into a folder, and booting a machine with two soft-RoCE hosts over it (emulated: be patient)"
	quietly make -C build stage
	export PINLEASE_BUILDDIR=$top/build
	# Soft-RoCE registers no dma-bufs by itself. Without the module that has it do so one scene is missing.
	if ! kmod=$(tests/kmod/build 2>build/try-kmod.log); then
		PINLEASE_KMOD_MISSING=$(tail -n 1 build/try-kmod.log)
		export PINLEASE_KMOD_MISSING
		cat build/try-kmod.log
	fi
	PINLEASE_VM_KMOD=$kmod PINLEASE_VM_STAGE=$top/build/stage PINLEASE_VM_NETNS=shared tests/vm/run tests/try-guest
fi

printf '\nAll of it took %d s.\ntry: OK\n' $((SECONDS - started))
