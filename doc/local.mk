# SPDX-License-Identifier: LGPL-2.1-or-later
# Documents. How a man page is made of its source is said in client/pinleasectl/local.mk.

if HAVE_SCDOC
nodist_man5_MANS = doc/man/pinlease-policy.5
nodist_man8_MANS = doc/man/pinleased.8
endif

CLEANFILES += doc/man/pinlease-policy.5 doc/man/pinleased.8
EXTRA_DIST += SECURITY.md doc/ACCELERATORS.md doc/examples/exporters.c doc/OPERATIONS.md doc/man/pinlease-policy.5.scd doc/man/pinleased.8.scd
