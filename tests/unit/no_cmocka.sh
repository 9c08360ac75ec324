#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Stands for all the unit tests where they cannot be built, so that nobody takes their absence for success.
echo "skipped: cmocka is missing, the unit tests are not built. On Debian: apt install libcmocka-dev"
exit 77
