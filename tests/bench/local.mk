# Measurements: make bench boots the guest and prints the tables of doc/PERFORMANCE.md; JSON in vm-out/bench*.json. PINLEASE_BENCH
# names the parts that are wanted: "policy registrations dmabuf sessions breaks watching attacks".

TEST_PROGRAMS_VM += \
	tests/bench/pinlease-bench \
	tests/bench/pinlease-bench-attacks \
	tests/bench/pinlease-bench-breaks \
	tests/bench/pinlease-bench-dmabuf \
	tests/bench/pinlease-bench-sessions \
	tests/bench/pinlease-bench-watching

BENCH_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS) $(JSON_C_CFLAGS)
BENCH_LIBS = $(IBVERBS_LIBS) $(JSON_C_LIBS)
BENCH_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/integration
bench_common = \
	tests/bench/bench.c tests/bench/bench.h \
	tests/integration/proc.c tests/integration/proc.h
bench_files = tests/bench/file.c tests/bench/file.h $(bench_common)
bench_rounds = tests/bench/rounds.c tests/bench/rounds.h $(bench_files)

tests_bench_pinlease_bench_SOURCES = tests/bench/pinlease-bench.c $(bench_rounds)
tests_bench_pinlease_bench_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_pinlease_bench_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_LDADD = libpinlease.la libpl-proto.la $(BENCH_LIBS)

tests_bench_pinlease_bench_breaks_SOURCES = tests/bench/pinlease-bench-breaks.c $(bench_files)
tests_bench_pinlease_bench_breaks_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_pinlease_bench_breaks_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_breaks_LDADD = libpinlease.la libpl-proto.la $(BENCH_LIBS)

tests_bench_pinlease_bench_dmabuf_SOURCES = tests/bench/pinlease-bench-dmabuf.c $(bench_rounds)
tests_bench_pinlease_bench_dmabuf_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_pinlease_bench_dmabuf_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_dmabuf_LDADD = libpinlease.la libpl-proto.la $(BENCH_LIBS)

tests_bench_pinlease_bench_sessions_SOURCES = tests/bench/pinlease-bench-sessions.c $(bench_common)
tests_bench_pinlease_bench_sessions_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_pinlease_bench_sessions_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_sessions_LDADD = libpl-proto.la $(BENCH_LIBS)

tests_bench_pinlease_bench_watching_SOURCES = tests/bench/pinlease-bench-watching.c $(bench_files)
tests_bench_pinlease_bench_watching_CPPFLAGS = $(BENCH_CPPFLAGS)
tests_bench_pinlease_bench_watching_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_watching_LDADD = libpinlease.la libpl-proto.la $(BENCH_LIBS)

tests_bench_pinlease_bench_attacks_SOURCES = \
	tests/bench/pinlease-bench-attacks.c \
	tests/bench/attacks.c tests/bench/attacks.h \
	$(bench_common)
tests_bench_pinlease_bench_attacks_CPPFLAGS = $(BENCH_CPPFLAGS) -I$(top_srcdir)/daemon
tests_bench_pinlease_bench_attacks_CFLAGS = $(BENCH_CFLAGS)
tests_bench_pinlease_bench_attacks_LDADD = libpl-proto.la $(BENCH_LIBS)

# Needs no guest, which would be an emulated processor.
noinst_PROGRAMS += tests/bench/pinlease-bench-policy
tests_bench_pinlease_bench_policy_SOURCES = tests/bench/pinlease-bench-policy.c
tests_bench_pinlease_bench_policy_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/daemon
tests_bench_pinlease_bench_policy_LDADD = libpl-policy.la libpl-session.la

EXTRA_DIST += tests/bench/guest tests/bench/start-steps

bench: stage tests/bench/pinlease-bench-policy
	case " $${PINLEASE_BENCH:-policy} " in *" policy "*) tests/bench/pinlease-bench-policy ;; esac
	kmod=; case " $${PINLEASE_BENCH:-dmabuf} " in *" dmabuf "*) kmod=$$($(VM_ENV) $(abs_top_srcdir)/tests/kmod/build) || kmod= ;; esac; \
	$(VM_ENV) PINLEASE_VM_KMOD=$$kmod $(abs_top_srcdir)/tests/vm/run $(abs_top_srcdir)/tests/bench/guest

.PHONY: bench
