# SPDX-License-Identifier: LGPL-2.1-or-later
# Unit tests and corpus replay: make check. No root, no device, seconds.

UNIT_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/daemon -I$(top_srcdir)/tests/unit
UNIT_LIBS = tests/unit/libtesting.la libpl-policy.la libpl-session.la $(CMOCKA_LIBS)

if HAVE_CMOCKA
check_LTLIBRARIES = tests/unit/libtesting.la
tests_unit_libtesting_la_SOURCES = \
	tests/unit/fake_uverbs.c tests/unit/fake_uverbs.h \
	tests/unit/testing.c tests/unit/testing.h \
	tests/unit/testing_policy.c tests/unit/testing_policy.h
tests_unit_libtesting_la_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_libtesting_la_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)

UNIT_TESTS = \
	tests/unit/test_listener \
	tests/unit/test_uplink \
	tests/unit/test_uverbs_dmabuf \
	tests/unit/test_account \
	tests/unit/test_roster \
	tests/unit/test_waiting \
	tests/unit/test_sessions \
	tests/unit/test_breaks \
	tests/unit/test_introductions \
	tests/unit/test_restart \
	tests/unit/test_handover \
	tests/unit/test_supervisor \
	tests/unit/test_admin \
	tests/unit/test_admin_journal \
	tests/unit/test_admin_orders \
	tests/unit/test_admin_params \
	tests/unit/test_backing \
	tests/unit/test_changes \
	tests/unit/test_changes_many \
	tests/unit/test_cleanup \
	tests/unit/test_client \
	tests/unit/test_client_events \
	tests/unit/test_client_grant \
	tests/unit/test_client_places \
	tests/unit/test_client_guards \
	tests/unit/test_client_maps \
	tests/unit/test_client_hostile \
	tests/unit/test_client_released \
	tests/unit/test_client_register \
	tests/unit/test_client_dmabuf \
	tests/unit/test_client_revoked \
	tests/unit/test_codec \
	tests/unit/test_credit \
	tests/unit/test_explain \
	tests/unit/test_explain_dmabuf \
	tests/unit/test_explain_harmless \
	tests/unit/test_fdclass \
	tests/unit/test_dmabuf \
	tests/unit/test_mountinfo \
	tests/unit/test_fds \
	tests/unit/test_guard_lease \
	tests/unit/test_guard_modify \
	tests/unit/test_guards \
	tests/unit/test_guard_poison \
	tests/unit/test_force \
	tests/unit/test_freeze \
	tests/unit/test_keeper \
	tests/unit/test_keeper_ends \
	tests/unit/test_keeper_memlock \
	tests/unit/test_keeper_supervisor \
	tests/unit/test_layout \
	tests/unit/test_ledger \
	tests/unit/test_log \
	tests/unit/test_log_limit \
	tests/unit/test_line \
	tests/unit/test_ledger_format \
	tests/unit/test_ledger_reader \
	tests/unit/test_mapping \
	tests/unit/test_memlock \
	tests/unit/test_mapping_names \
	tests/unit/test_residency \
	tests/unit/test_notify \
	tests/unit/test_obituary \
	tests/unit/test_pattern \
	tests/unit/test_place \
	tests/unit/test_question \
	tests/unit/test_policy \
	tests/unit/test_policy_rules \
	tests/unit/test_policy_table \
	tests/unit/test_review \
	tests/unit/test_subject \
	tests/unit/test_policy_docs \
	tests/unit/test_policy_errors \
	tests/unit/test_policy_files \
	tests/unit/test_policy_load \
	tests/unit/test_policy_memory \
	tests/unit/test_registrar \
	tests/unit/test_registrar_ends \
	tests/unit/test_registrar_grant \
	tests/unit/test_report \
	tests/unit/test_request \
	tests/unit/test_request_meanwhile \
	tests/unit/test_request_failures \
	tests/unit/test_request_changed \
	tests/unit/test_request_dmabuf \
	tests/unit/test_request_dmabuf_ends \
	tests/unit/test_prefetch \
	tests/unit/test_grant \
	tests/unit/test_grant_pinned \
	tests/unit/test_sandbox \
	tests/unit/test_sandbox_allows \
	tests/unit/test_registrar_force \
	tests/unit/test_registrar_keeper \
	tests/unit/test_revoke \
	tests/unit/test_revoke_model \
	tests/unit/test_session_args \
	tests/unit/test_stats \
	tests/unit/test_wire

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
else
TESTS += tests/unit/no_cmocka.sh
endif

tests_unit_test_codec_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_codec_LDADD = $(UNIT_LIBS)

tests_unit_test_wire_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_wire_LDADD = $(UNIT_LIBS)

tests_unit_test_backing_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_backing_LDADD = $(UNIT_LIBS)

tests_unit_test_credit_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_credit_LDADD = $(UNIT_LIBS)

tests_unit_test_ledger_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ledger_LDADD = $(UNIT_LIBS)

tests_unit_test_stats_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_stats_LDADD = $(UNIT_LIBS)

tests_unit_test_pattern_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_pattern_LDADD = $(UNIT_LIBS)

tests_unit_test_policy_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_LDADD = $(UNIT_LIBS)

tests_unit_test_policy_table_SOURCES = tests/unit/test_policy_table.c $(POLICY_TABLE_FILES)
tests_unit_test_policy_table_CPPFLAGS = $(UNIT_CPPFLAGS) -I$(top_srcdir)/tests/policy
tests_unit_test_policy_table_LDADD = $(UNIT_LIBS)

tests_unit_test_question_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_question_LDADD = $(UNIT_LIBS)

tests_unit_test_place_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_place_LDADD = $(UNIT_LIBS)

tests_unit_test_policy_rules_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_rules_LDADD = $(UNIT_LIBS)

tests_unit_test_subject_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_subject_LDADD = $(UNIT_LIBS)

tests_unit_test_review_SOURCES = tests/unit/test_review.c $(REVOKE_TEST_FILES)
tests_unit_test_review_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_review_LDFLAGS = $(WRAPS)
tests_unit_test_review_LDADD = $(UNIT_LIBS)

POLICY_TEST_FILES = tests/unit/policy_fixture.c tests/unit/policy_fixture.h

tests_unit_test_policy_docs_SOURCES = tests/unit/test_policy_docs.c tests/unit/json_schema.c tests/unit/json_schema.h $(POLICY_TEST_FILES)
tests_unit_test_policy_docs_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_docs_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_policy_docs_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_policy_errors_SOURCES = tests/unit/test_policy_errors.c $(POLICY_TEST_FILES)
tests_unit_test_policy_errors_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_errors_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_policy_files_SOURCES = tests/unit/test_policy_files.c $(POLICY_TEST_FILES)
tests_unit_test_policy_files_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_files_LDFLAGS = -Wl,--wrap=read
tests_unit_test_policy_files_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_policy_load_SOURCES = tests/unit/test_policy_load.c $(POLICY_TEST_FILES)
tests_unit_test_policy_load_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_load_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_policy_memory_SOURCES = tests/unit/test_policy_memory.c $(POLICY_TEST_FILES)
tests_unit_test_policy_memory_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_memory_LDFLAGS = -Wl,--wrap=malloc,--wrap=realloc,--wrap=calloc,--wrap=strdup
tests_unit_test_policy_memory_LDADD = $(SUPERVISOR_LIBS)

# What the linker puts in place of the C library's functions, see tests/unit/wraps.h.
WRAPS = -Wl,--wrap=malloc,--wrap=realloc,--wrap=tsearch,--wrap=mmap,--wrap=memfd_create,--wrap=nanosleep,--wrap=fopen,--wrap=clock_gettime,--wrap=poll

REQUEST_TEST_FILES = \
	tests/unit/request_fixture.c tests/unit/request_fixture.h \
	tests/unit/wraps.c tests/unit/wraps.h

tests_unit_test_request_SOURCES = tests/unit/test_request.c $(REQUEST_TEST_FILES)
tests_unit_test_request_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_LDFLAGS = $(WRAPS)
tests_unit_test_request_LDADD = $(UNIT_LIBS)

tests_unit_test_request_meanwhile_SOURCES = tests/unit/test_request_meanwhile.c $(REQUEST_TEST_FILES)
tests_unit_test_request_meanwhile_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_meanwhile_LDFLAGS = $(WRAPS)
tests_unit_test_request_meanwhile_LDADD = $(UNIT_LIBS)

tests_unit_test_request_changed_SOURCES = tests/unit/test_request_changed.c $(REQUEST_TEST_FILES)
tests_unit_test_request_changed_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_changed_LDFLAGS = $(WRAPS)
tests_unit_test_request_changed_LDADD = $(UNIT_LIBS)

tests_unit_test_request_dmabuf_SOURCES = tests/unit/test_request_dmabuf.c $(REQUEST_TEST_FILES)
tests_unit_test_request_dmabuf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_dmabuf_LDFLAGS = $(WRAPS)
tests_unit_test_request_dmabuf_LDADD = $(UNIT_LIBS)

tests_unit_test_request_dmabuf_ends_SOURCES = tests/unit/test_request_dmabuf_ends.c $(REQUEST_TEST_FILES)
tests_unit_test_request_dmabuf_ends_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_dmabuf_ends_LDFLAGS = $(WRAPS)
tests_unit_test_request_dmabuf_ends_LDADD = $(UNIT_LIBS)

tests_unit_test_prefetch_SOURCES = tests/unit/test_prefetch.c $(REQUEST_TEST_FILES)
tests_unit_test_prefetch_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_prefetch_LDFLAGS = $(WRAPS)
tests_unit_test_prefetch_LDADD = $(UNIT_LIBS)

GRANT_TEST_FILES = tests/unit/grant_fixture.c tests/unit/grant_fixture.h $(REQUEST_TEST_FILES)
tests_unit_test_grant_pinned_SOURCES = tests/unit/test_grant_pinned.c $(GRANT_TEST_FILES)
tests_unit_test_grant_pinned_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_grant_pinned_LDFLAGS = $(WRAPS)
tests_unit_test_grant_pinned_LDADD = $(UNIT_LIBS)

tests_unit_test_grant_SOURCES = tests/unit/test_grant.c $(GRANT_TEST_FILES)
tests_unit_test_grant_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_grant_LDFLAGS = $(WRAPS)
tests_unit_test_grant_LDADD = $(UNIT_LIBS)

tests_unit_test_request_failures_SOURCES = tests/unit/test_request_failures.c $(REQUEST_TEST_FILES)
tests_unit_test_request_failures_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_request_failures_LDFLAGS = $(WRAPS)
tests_unit_test_request_failures_LDADD = $(UNIT_LIBS)

tests_unit_test_cleanup_SOURCES = tests/unit/test_cleanup.c tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_cleanup_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_cleanup_LDFLAGS = $(WRAPS)
tests_unit_test_cleanup_LDADD = $(UNIT_LIBS)

tests_unit_test_force_SOURCES = tests/unit/test_force.c tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_force_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_force_LDFLAGS = $(WRAPS)
tests_unit_test_force_LDADD = $(UNIT_LIBS)

tests_unit_test_freeze_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_freeze_LDADD = $(UNIT_LIBS)

tests_unit_test_residency_SOURCES = tests/unit/test_residency.c tests/unit/no_cachestat.c tests/unit/no_cachestat.h
tests_unit_test_residency_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_residency_LDFLAGS = -Wl,--wrap=syscall
tests_unit_test_residency_LDADD = $(UNIT_LIBS)

tests_unit_test_guard_poison_SOURCES = tests/unit/test_guard_poison.c tests/unit/no_cachestat.c tests/unit/no_cachestat.h
tests_unit_test_guard_poison_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_guard_poison_LDFLAGS = -Wl,--wrap=madvise,--wrap=signalfd,--wrap=faccessat,--wrap=prctl,--wrap=realloc,--wrap=syscall
tests_unit_test_guard_poison_LDADD = $(UNIT_LIBS)

MAPPING_TEST_FILES = tests/unit/mapping_fixture.c tests/unit/mapping_fixture.h tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_mapping_SOURCES = tests/unit/test_mapping.c $(MAPPING_TEST_FILES)
tests_unit_test_mapping_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mapping_LDFLAGS = $(WRAPS)
tests_unit_test_mapping_LDADD = $(UNIT_LIBS)

tests_unit_test_mapping_names_SOURCES = tests/unit/test_mapping_names.c $(MAPPING_TEST_FILES)
tests_unit_test_mapping_names_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mapping_names_LDFLAGS = $(WRAPS)
tests_unit_test_mapping_names_LDADD = $(UNIT_LIBS)

EXPLAIN_TEST_FILES = tests/unit/explain_fixture.c tests/unit/explain_fixture.h

tests_unit_test_explain_SOURCES = tests/unit/test_explain.c $(EXPLAIN_TEST_FILES)
tests_unit_test_explain_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_explain_LDADD = $(UNIT_LIBS)

tests_unit_test_explain_dmabuf_SOURCES = tests/unit/test_explain_dmabuf.c daemon/explain-answer.c daemon/explain-guards.c
tests_unit_test_explain_dmabuf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_explain_dmabuf_LDADD = $(UNIT_LIBS)

tests_unit_test_explain_harmless_SOURCES = tests/unit/test_explain_harmless.c $(EXPLAIN_TEST_FILES)
tests_unit_test_explain_harmless_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_explain_harmless_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(JSON_C_CFLAGS)
tests_unit_test_explain_harmless_LDADD = $(UNIT_LIBS)

tests_unit_test_dmabuf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_dmabuf_LDADD = $(UNIT_LIBS)

tests_unit_test_mountinfo_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mountinfo_LDADD = $(UNIT_LIBS)

tests_unit_test_fdclass_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_fdclass_LDADD = $(UNIT_LIBS)

tests_unit_test_layout_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_layout_LDADD = $(UNIT_LIBS)

tests_unit_test_guard_modify_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_guard_modify_LDADD = $(UNIT_LIBS)

tests_unit_test_fds_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_fds_LDADD = $(UNIT_LIBS)

SANDBOX_TEST_FILES = \
	tests/unit/sandbox_fixture.c tests/unit/sandbox_fixture.h \
	daemon/sandbox.c daemon/sandbox.h

tests_unit_test_sandbox_SOURCES = tests/unit/test_sandbox.c $(SANDBOX_TEST_FILES)
tests_unit_test_sandbox_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_sandbox_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(SECCOMP_CFLAGS)
tests_unit_test_sandbox_LDADD = $(UNIT_LIBS) $(SECCOMP_LIBS)

tests_unit_test_sandbox_allows_SOURCES = tests/unit/test_sandbox_allows.c $(SANDBOX_TEST_FILES)
tests_unit_test_sandbox_allows_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_sandbox_allows_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(SECCOMP_CFLAGS)
tests_unit_test_sandbox_allows_LDADD = $(UNIT_LIBS) $(SECCOMP_LIBS)

tests_unit_test_session_args_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_session_args_LDADD = $(UNIT_LIBS)

RAWCLIENT_FILES = \
	tests/unit/rawclient.c tests/unit/rawclient.h \
	tests/unit/wraps.c tests/unit/wraps.h

tests_unit_test_registrar_SOURCES = tests/unit/test_registrar.c $(RAWCLIENT_FILES)
tests_unit_test_registrar_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_registrar_LDFLAGS = $(WRAPS)
tests_unit_test_registrar_LDADD = $(UNIT_LIBS)

tests_unit_test_registrar_grant_SOURCES = tests/unit/test_registrar_grant.c $(RAWCLIENT_FILES)
tests_unit_test_registrar_grant_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_registrar_grant_LDFLAGS = $(WRAPS)
tests_unit_test_registrar_grant_LDADD = $(UNIT_LIBS)

tests_unit_test_registrar_ends_SOURCES = tests/unit/test_registrar_ends.c $(RAWCLIENT_FILES)
tests_unit_test_registrar_ends_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_registrar_ends_LDFLAGS = $(WRAPS)
tests_unit_test_registrar_ends_LDADD = $(UNIT_LIBS)

ORDERS_FILES = tests/unit/orders.c tests/unit/orders.h $(RAWCLIENT_FILES)

tests_unit_test_registrar_force_SOURCES = tests/unit/test_registrar_force.c $(ORDERS_FILES)
tests_unit_test_registrar_force_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_registrar_force_LDFLAGS = $(WRAPS)
tests_unit_test_registrar_force_LDADD = $(UNIT_LIBS)

tests_unit_test_registrar_keeper_SOURCES = tests/unit/test_registrar_keeper.c $(ORDERS_FILES) tests/unit/journal.c tests/unit/journal.h
tests_unit_test_registrar_keeper_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_registrar_keeper_LDFLAGS = $(WRAPS)
tests_unit_test_registrar_keeper_LDADD = $(UNIT_LIBS)

LOG_TEST_FILES = tests/unit/journal.c tests/unit/journal.h tests/unit/wraps.c tests/unit/wraps.h

tests_unit_test_log_SOURCES = tests/unit/test_log.c $(LOG_TEST_FILES)
tests_unit_test_log_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_log_LDFLAGS = $(WRAPS)
tests_unit_test_log_LDADD = $(UNIT_LIBS)

tests_unit_test_log_limit_SOURCES = tests/unit/test_log_limit.c $(LOG_TEST_FILES)
tests_unit_test_log_limit_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_log_limit_LDFLAGS = $(WRAPS)
tests_unit_test_log_limit_LDADD = $(UNIT_LIBS)

tests_unit_test_line_SOURCES = tests/unit/test_line.c tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_line_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_line_LDFLAGS = $(WRAPS)
tests_unit_test_line_LDADD = $(UNIT_LIBS)

REVOKE_TEST_FILES = \
	tests/unit/revoke_fixture.c tests/unit/revoke_fixture.h \
	tests/unit/wraps.c tests/unit/wraps.h

tests_unit_test_revoke_SOURCES = tests/unit/test_revoke.c $(REVOKE_TEST_FILES)
tests_unit_test_revoke_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_revoke_LDFLAGS = $(WRAPS)
tests_unit_test_revoke_LDADD = $(UNIT_LIBS)

tests_unit_test_guards_SOURCES = tests/unit/test_guards.c tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_guards_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_guards_LDFLAGS = $(WRAPS)
tests_unit_test_guards_LDADD = $(UNIT_LIBS)

CHANGES_TEST_FILES = tests/unit/changes_fixture.c tests/unit/changes_fixture.h $(REVOKE_TEST_FILES)

tests_unit_test_changes_SOURCES = tests/unit/test_changes.c $(CHANGES_TEST_FILES) tests/unit/journal.c tests/unit/journal.h
tests_unit_test_changes_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_changes_LDFLAGS = $(WRAPS)
tests_unit_test_changes_LDADD = $(UNIT_LIBS)

tests_unit_test_changes_many_SOURCES = tests/unit/test_changes_many.c $(CHANGES_TEST_FILES)
tests_unit_test_changes_many_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_changes_many_LDFLAGS = $(WRAPS)
tests_unit_test_changes_many_LDADD = $(UNIT_LIBS)

tests_unit_test_revoke_model_SOURCES = tests/unit/test_revoke_model.c $(REVOKE_TEST_FILES)
tests_unit_test_revoke_model_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_revoke_model_LDFLAGS = $(WRAPS)
tests_unit_test_revoke_model_LDADD = $(UNIT_LIBS)

TRIO_FILES = tests/unit/trio.c tests/unit/trio.h tests/unit/wraps.c tests/unit/wraps.h

tests_unit_test_keeper_SOURCES = tests/unit/test_keeper.c $(TRIO_FILES) tests/unit/journal.c tests/unit/journal.h
tests_unit_test_keeper_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_keeper_LDFLAGS = $(WRAPS) -Wl,--wrap=prlimit
tests_unit_test_keeper_LDADD = $(UNIT_LIBS)

tests_unit_test_keeper_ends_SOURCES = tests/unit/test_keeper_ends.c $(TRIO_FILES) tests/unit/journal.c tests/unit/journal.h
tests_unit_test_keeper_ends_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_keeper_ends_LDFLAGS = $(WRAPS) -Wl,--wrap=prlimit
tests_unit_test_keeper_ends_LDADD = $(UNIT_LIBS)

tests_unit_test_keeper_memlock_SOURCES = tests/unit/test_keeper_memlock.c $(TRIO_FILES)
tests_unit_test_keeper_memlock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_keeper_memlock_LDFLAGS = $(WRAPS) -Wl,--wrap=prlimit
tests_unit_test_keeper_memlock_LDADD = $(UNIT_LIBS)

tests_unit_test_keeper_supervisor_SOURCES = tests/unit/test_keeper_supervisor.c $(TRIO_FILES)
tests_unit_test_keeper_supervisor_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_keeper_supervisor_LDFLAGS = $(WRAPS) -Wl,--wrap=prlimit
tests_unit_test_keeper_supervisor_LDADD = $(UNIT_LIBS)

tests_unit_test_memlock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_memlock_LDFLAGS = -Wl,--wrap=prlimit
tests_unit_test_memlock_LDADD = $(UNIT_LIBS)

tests_unit_test_uplink_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_uplink_LDADD = $(UNIT_LIBS)

# pinleased: with sessions that are fake_keeper's, a program of its own.
SUPERVISOR_LIBS = tests/unit/libtesting.la libpl-supervisor.la $(SYSTEMD_LIBS) $(JSON_C_LIBS) $(CMOCKA_LIBS)
SUPERVISOR_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(SYSTEMD_CFLAGS) $(JSON_C_CFLAGS)

tests_unit_test_ledger_format_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ledger_format_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_ledger_reader_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ledger_reader_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_report_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_report_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
tests_unit_test_report_LDFLAGS = -Wl,--wrap=json_object_new_object,--wrap=json_object_new_array,--wrap=json_object_new_uint64,--wrap=json_object_new_string,--wrap=json_object_object_add,--wrap=json_object_array_add
tests_unit_test_report_LDADD = $(SUPERVISOR_LIBS)

SERVICE_FILES = tests/unit/service.c tests/unit/service.h tests/unit/fake_keeper.h
SERVICE_CPPFLAGS = $(UNIT_CPPFLAGS) -DFAKE_KEEPER='"$(abs_top_builddir)/tests/unit/fake_keeper"'

check_PROGRAMS += tests/unit/fake_keeper
tests_unit_fake_keeper_SOURCES = tests/unit/fake_keeper.c tests/unit/fake_keeper.h
tests_unit_fake_keeper_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_fake_keeper_LDADD = libpl-session.la

tests_unit_test_sessions_SOURCES = tests/unit/test_sessions.c $(SERVICE_FILES) $(LOG_TEST_FILES)
tests_unit_test_sessions_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_sessions_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_sessions_LDFLAGS = $(WRAPS) -Wl,--wrap=fork
tests_unit_test_sessions_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_sessions_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_guard_lease_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_guard_lease_LDADD = $(UNIT_LIBS)

tests_unit_test_obituary_SOURCES = tests/unit/test_obituary.c $(LOG_TEST_FILES)
tests_unit_test_obituary_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_obituary_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_obituary_LDFLAGS = $(WRAPS)
tests_unit_test_obituary_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_notify_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_notify_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_notify_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_breaks_SOURCES = tests/unit/test_breaks.c $(SERVICE_FILES)
tests_unit_test_breaks_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_breaks_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_breaks_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_breaks_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_introductions_SOURCES = tests/unit/test_introductions.c $(SERVICE_FILES) $(LOG_TEST_FILES)
tests_unit_test_introductions_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_introductions_LDFLAGS = $(WRAPS)
tests_unit_test_introductions_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_introductions_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_introductions_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_restart_SOURCES = tests/unit/test_restart.c $(SERVICE_FILES)
tests_unit_test_restart_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_restart_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_restart_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_restart_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_handover_SOURCES = tests/unit/test_handover.c $(SERVICE_FILES)
tests_unit_test_handover_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_handover_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_handover_LDFLAGS = -Wl,--wrap=accept4
tests_unit_test_handover_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_handover_DEPENDENCIES = tests/unit/fake_keeper

RUNNING_FILES = tests/unit/running.c tests/unit/running.h $(SERVICE_FILES)

tests_unit_test_supervisor_SOURCES = tests/unit/test_supervisor.c $(RUNNING_FILES)
tests_unit_test_supervisor_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_supervisor_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_supervisor_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_supervisor_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_admin_SOURCES = tests/unit/test_admin.c $(RUNNING_FILES)
tests_unit_test_admin_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_admin_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_admin_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_admin_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_admin_journal_SOURCES = tests/unit/test_admin_journal.c $(RUNNING_FILES) $(LOG_TEST_FILES)
tests_unit_test_admin_journal_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_admin_journal_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_admin_journal_LDFLAGS = $(WRAPS) -Wl,--wrap=timer_start
tests_unit_test_admin_journal_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_admin_journal_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_admin_orders_SOURCES = tests/unit/test_admin_orders.c $(RUNNING_FILES)
tests_unit_test_admin_orders_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_admin_orders_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_admin_orders_LDADD = $(SUPERVISOR_LIBS)
EXTRA_tests_unit_test_admin_orders_DEPENDENCIES = tests/unit/fake_keeper

tests_unit_test_admin_params_SOURCES = tests/unit/test_admin_params.c $(RUNNING_FILES)
tests_unit_test_admin_params_CPPFLAGS = $(SERVICE_CPPFLAGS)
tests_unit_test_admin_params_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_admin_params_LDFLAGS = -Wl,--wrap=json_object_new_object
tests_unit_test_admin_params_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_account_SOURCES = tests/unit/test_account.c tests/unit/wraps.c tests/unit/wraps.h
tests_unit_test_account_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_account_LDFLAGS = $(WRAPS)
tests_unit_test_account_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_listener_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_listener_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_roster_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_roster_LDADD = $(SUPERVISOR_LIBS)

tests_unit_test_waiting_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_waiting_CFLAGS = $(SUPERVISOR_CFLAGS)
tests_unit_test_waiting_LDFLAGS = -Wl,--wrap=fork
tests_unit_test_waiting_LDADD = $(SUPERVISOR_LIBS)

# The library as apps see it: by what it exports.
CLIENT_TEST_FILES = tests/unit/fake_session.c tests/unit/fake_session.h
CLIENT_TEST_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS)
CLIENT_TEST_LIBS = tests/unit/libtesting.la libpinlease.la libpl-proto.la $(CMOCKA_LIBS)

tests_unit_test_client_SOURCES = tests/unit/test_client.c $(CLIENT_TEST_FILES)
tests_unit_test_client_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_events_SOURCES = tests/unit/test_client_events.c $(CLIENT_TEST_FILES)
tests_unit_test_client_events_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_events_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_events_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_hostile_SOURCES = tests/unit/test_client_hostile.c $(CLIENT_TEST_FILES)
tests_unit_test_client_hostile_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_hostile_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_hostile_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_revoked_SOURCES = tests/unit/test_client_revoked.c $(CLIENT_TEST_FILES)
tests_unit_test_client_revoked_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_revoked_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_revoked_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_released_SOURCES = tests/unit/test_client_released.c $(CLIENT_TEST_FILES)
tests_unit_test_client_released_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_released_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_released_LDADD = $(CLIENT_TEST_LIBS)

CLIENT_GRANT_FILES = tests/unit/fake_ioctl.c tests/unit/fake_ioctl.h $(CLIENT_TEST_FILES)
tests_unit_test_client_places_SOURCES = tests/unit/test_client_places.c $(CLIENT_GRANT_FILES)
tests_unit_test_client_places_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_places_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_places_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_grant_SOURCES = tests/unit/test_client_grant.c $(CLIENT_GRANT_FILES)
tests_unit_test_client_grant_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_grant_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_grant_LDADD = $(CLIENT_TEST_LIBS)

MAPS_FILES = client/maps.c client/maps.h client/lastrefusal.c client/lastrefusal.h
tests_unit_test_client_maps_SOURCES = tests/unit/test_client_maps.c $(MAPS_FILES)
tests_unit_test_client_maps_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_maps_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_maps_LDADD = tests/unit/libtesting.la libpl-proto.la $(CMOCKA_LIBS)

tests_unit_test_client_guards_SOURCES = tests/unit/test_client_guards.c $(CLIENT_TEST_FILES)
tests_unit_test_client_guards_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_guards_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_guards_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_register_SOURCES = tests/unit/test_client_register.c $(CLIENT_TEST_FILES)
tests_unit_test_client_register_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_register_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_register_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_client_dmabuf_SOURCES = tests/unit/test_client_dmabuf.c $(CLIENT_TEST_FILES)
tests_unit_test_client_dmabuf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_client_dmabuf_CFLAGS = $(CLIENT_TEST_CFLAGS)
tests_unit_test_client_dmabuf_LDADD = $(CLIENT_TEST_LIBS)

tests_unit_test_uverbs_dmabuf_SOURCES = tests/unit/test_uverbs_dmabuf.c tests/unit/fake_ioctl.c tests/unit/fake_ioctl.h
tests_unit_test_uverbs_dmabuf_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_uverbs_dmabuf_LDADD = $(UNIT_LIBS)

# --- scripts ------------------------------------------------------------------------------------------------------------

AM_TESTS_ENVIRONMENT = CC='$(CC)'; NM='$(NM)'; IBVERBS_CFLAGS='$(IBVERBS_CFLAGS)'; export CC NM IBVERBS_CFLAGS;
UNIT_SHELL = tests/unit/test_accelerators.sh tests/unit/test_catalog.sh tests/unit/test_docs.sh tests/unit/test_install.sh tests/unit/test_layers.sh tests/unit/test_pinleased.sh \
	tests/unit/test_readme.sh tests/unit/test_symbols.sh tests/unit/test_units.sh
TESTS += $(UNIT_SHELL)

# --- fuzz targets: as programs that replay the corpus, and for libFuzzer (--enable-fuzzers, needs clang) ------------------

FUZZ_CPPFLAGS = $(UNIT_CPPFLAGS) -I$(top_srcdir)/tests/fuzz
FUZZ_SESSION_FILES = \
	tests/fuzz/fuzz.h tests/fuzz/fuzz_session.c \
	tests/unit/testing_policy.c tests/unit/testing_policy.h \
	tests/unit/fake_uverbs.c tests/unit/fake_uverbs.h \
	tests/unit/wraps.c tests/unit/wraps.h
FUZZ_SESSION_WRAPS = $(WRAPS) -Wl,--wrap=control_send,--wrap=log_line,--wrap=log_event,--wrap=log_subject_event

FUZZ_TESTS = tests/fuzz/fuzz_codec tests/fuzz/fuzz_ledger tests/fuzz/fuzz_policy tests/fuzz/fuzz_proc tests/fuzz/fuzz_session
check_PROGRAMS += $(FUZZ_TESTS)
TESTS += $(FUZZ_TESTS)

tests_fuzz_fuzz_codec_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_codec.c tests/fuzz/replay.c
tests_fuzz_fuzz_codec_CPPFLAGS = $(FUZZ_CPPFLAGS) -DCORPUS='"tests/corpus/fuzz_codec"'
tests_fuzz_fuzz_codec_LDADD = libpl-proto.la

tests_fuzz_fuzz_ledger_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_ledger.c tests/fuzz/replay.c
tests_fuzz_fuzz_ledger_CPPFLAGS = $(FUZZ_CPPFLAGS) -DCORPUS='"tests/corpus/fuzz_ledger"'
tests_fuzz_fuzz_ledger_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
tests_fuzz_fuzz_ledger_LDADD = libpl-supervisor.la

tests_fuzz_fuzz_policy_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_policy.c tests/fuzz/replay.c
tests_fuzz_fuzz_policy_CPPFLAGS = $(FUZZ_CPPFLAGS) -DCORPUS='"tests/corpus/fuzz_policy"'
tests_fuzz_fuzz_policy_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
tests_fuzz_fuzz_policy_LDADD = libpl-supervisor.la

FUZZ_PROC_FILES = tests/fuzz/fuzz.h tests/fuzz/fuzz_proc.c $(MAPS_FILES)
tests_fuzz_fuzz_proc_SOURCES = $(FUZZ_PROC_FILES) tests/fuzz/replay.c
tests_fuzz_fuzz_proc_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS)
tests_fuzz_fuzz_proc_CPPFLAGS = $(FUZZ_CPPFLAGS) -DCORPUS='"tests/corpus/fuzz_proc"'
tests_fuzz_fuzz_proc_LDADD = libpl-proto.la

tests_fuzz_fuzz_session_SOURCES = $(FUZZ_SESSION_FILES) tests/fuzz/replay.c
tests_fuzz_fuzz_session_CPPFLAGS = $(FUZZ_CPPFLAGS) -DCORPUS='"tests/corpus/fuzz_session"'
tests_fuzz_fuzz_session_LDFLAGS = $(FUZZ_SESSION_WRAPS)
tests_fuzz_fuzz_session_LDADD = libpl-policy.la libpl-session.la

if ENABLE_FUZZERS
check_PROGRAMS += tests/fuzz/libfuzzer_codec tests/fuzz/libfuzzer_ledger tests/fuzz/libfuzzer_policy tests/fuzz/libfuzzer_proc tests/fuzz/libfuzzer_session
endif

tests_fuzz_libfuzzer_codec_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_codec.c
tests_fuzz_libfuzzer_codec_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_libfuzzer_codec_LDFLAGS = -fsanitize=fuzzer
tests_fuzz_libfuzzer_codec_LDADD = libpl-proto.la

tests_fuzz_libfuzzer_ledger_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_ledger.c
tests_fuzz_libfuzzer_ledger_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_libfuzzer_ledger_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
tests_fuzz_libfuzzer_ledger_LDFLAGS = -fsanitize=fuzzer
tests_fuzz_libfuzzer_ledger_LDADD = libpl-supervisor.la

tests_fuzz_libfuzzer_policy_SOURCES = tests/fuzz/fuzz.h tests/fuzz/fuzz_policy.c
tests_fuzz_libfuzzer_policy_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_libfuzzer_policy_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
tests_fuzz_libfuzzer_policy_LDFLAGS = -fsanitize=fuzzer
tests_fuzz_libfuzzer_policy_LDADD = libpl-supervisor.la

tests_fuzz_libfuzzer_proc_SOURCES = $(FUZZ_PROC_FILES)
tests_fuzz_libfuzzer_proc_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS)
tests_fuzz_libfuzzer_proc_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_libfuzzer_proc_LDFLAGS = -fsanitize=fuzzer
tests_fuzz_libfuzzer_proc_LDADD = libpl-proto.la

tests_fuzz_libfuzzer_session_SOURCES = $(FUZZ_SESSION_FILES)
tests_fuzz_libfuzzer_session_CPPFLAGS = $(FUZZ_CPPFLAGS)
tests_fuzz_libfuzzer_session_LDFLAGS = $(FUZZ_SESSION_WRAPS) -fsanitize=fuzzer
tests_fuzz_libfuzzer_session_LDADD = libpl-policy.la libpl-session.la

EXTRA_DIST += $(UNIT_SHELL) tests/unit/no_cmocka.sh tests/fuzz/make_corpus.py tests/corpus
