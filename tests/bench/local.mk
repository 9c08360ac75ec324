# Measurements: make bench boots the guest and prints the tables of doc/PERFORMANCE.md; JSON in vm-out/bench.json.

TEST_PROGRAMS_VM += tests/bench/pinlease-bench

tests_bench_pinlease_bench_SOURCES = tests/bench/pinlease-bench.c
tests_bench_pinlease_bench_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS) $(JSON_C_CFLAGS)
tests_bench_pinlease_bench_LDADD = libpinlease.la $(IBVERBS_LIBS) $(JSON_C_LIBS)

EXTRA_DIST += tests/bench/guest

bench: stage
	$(VM_ENV) $(abs_top_srcdir)/tests/vm/run $(abs_top_srcdir)/tests/bench/guest

.PHONY: bench
