# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests of pinleasectl: its parts, and the program against a fake service.

CTL_TEST_FILES = tests/unit/fake_admin.c tests/unit/fake_admin.h
CTL_TEST_CPPFLAGS = $(UNIT_CPPFLAGS) -I$(top_srcdir)/client/pinleasectl
CTL_TEST_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS) $(CMOCKA_CFLAGS) $(IBVERBS_CFLAGS)
CTL_TEST_LIBS = tests/unit/libtesting.la libpl-ctl.la libpl-proto.la $(CMOCKA_LIBS) $(JSON_C_LIBS)

if HAVE_CMOCKA
CTL_TESTS = \
	tests/unit/test_pinleasectl_commands \
	tests/unit/test_pinleasectl_devices \
	tests/unit/test_pinleasectl_hostile \
	tests/unit/test_pinleasectl_metrics \
	tests/unit/test_pinleasectl_terminal \
	tests/unit/test_pinleasectl_text
check_PROGRAMS += $(CTL_TESTS)
TESTS += $(CTL_TESTS)
endif
CTL_SHELL = tests/unit/test_pinleasectl_docs.sh
TESTS += $(CTL_SHELL)
EXTRA_DIST += $(CTL_SHELL)

tests_unit_test_pinleasectl_commands_SOURCES = tests/unit/test_pinleasectl_commands.c $(CTL_TEST_FILES)
tests_unit_test_pinleasectl_commands_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_commands_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_commands_LDADD = $(CTL_TEST_LIBS)

# libibverbs is in the test itself.
tests_unit_test_pinleasectl_devices_SOURCES = tests/unit/test_pinleasectl_devices.c tests/unit/fake_ioctl.c tests/unit/fake_ioctl.h
tests_unit_test_pinleasectl_devices_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_devices_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_devices_LDADD = $(CTL_TEST_LIBS)

tests_unit_test_pinleasectl_hostile_SOURCES = tests/unit/test_pinleasectl_hostile.c $(CTL_TEST_FILES)
tests_unit_test_pinleasectl_hostile_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_hostile_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_hostile_LDADD = $(CTL_TEST_LIBS)

tests_unit_test_pinleasectl_metrics_SOURCES = \
	tests/unit/test_pinleasectl_metrics.c \
	tests/unit/openmetrics_check.c tests/unit/openmetrics_check.h $(CTL_TEST_FILES)
tests_unit_test_pinleasectl_metrics_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_metrics_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_metrics_LDADD = $(CTL_TEST_LIBS)

tests_unit_test_pinleasectl_text_SOURCES = tests/unit/test_pinleasectl_text.c $(CTL_TEST_FILES)
tests_unit_test_pinleasectl_text_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_text_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_text_LDADD = $(CTL_TEST_LIBS) $(IBVERBS_LIBS)

tests_unit_test_pinleasectl_terminal_SOURCES = tests/unit/test_pinleasectl_terminal.c $(CTL_TEST_FILES)
tests_unit_test_pinleasectl_terminal_CPPFLAGS = $(CTL_TEST_CPPFLAGS)
tests_unit_test_pinleasectl_terminal_CFLAGS = $(CTL_TEST_CFLAGS)
tests_unit_test_pinleasectl_terminal_LDADD = $(CTL_TEST_LIBS)
