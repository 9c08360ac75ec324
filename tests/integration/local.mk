# Integration tests: make check-vm boots the soft-RoCE guest and runs tests/integration/suite in it, twice: with RDMA
# devices that all network namespaces share (connection management works), and with devices of their own.
#
# What runs in the guest is what `make install` installs, into a staging folder that the guest lays over its root. Test
# programs go beside the session program, linked with the staged library.

STAGE = $(abs_builddir)/stage
testdir = $(pkglibexecdir)/tests
TEST_PROGRAMS_VM = pl-raw pinleased-old pinlease-session-old pinlease-session-ledger doc/examples/accelerator

noinst_PROGRAMS = $(TEST_PROGRAMS_VM)

pl_raw_SOURCES = \
	tests/integration/cases-admin.c \
	tests/integration/cases-attach.c \
	tests/integration/cases-campaign.c \
	tests/integration/cases-changed.c \
	tests/integration/cases-container.c tests/integration/cases-deregister.c \
	tests/integration/cases-credit.c \
	tests/integration/cases-ctl.c \
	tests/integration/cases-dmabuf.c tests/integration/cases-dmabuf-session.c tests/integration/cases-dmabuf-ends.c \
	tests/integration/cases-drain.c \
	tests/integration/cases-ending.c \
	tests/integration/cases-exhaust.c \
	tests/integration/cases-explain.c \
	tests/integration/cases-flood.c \
	tests/integration/cases-grant.c \
	tests/integration/cases-guard-modify.c \
	tests/integration/cases-force.c \
	tests/integration/cases-force-kill.c \
	tests/integration/cases-hanging.c \
	tests/integration/cases-hostile.c \
	tests/integration/cases-identity.c \
	tests/integration/cases-kernel.c \
	tests/integration/cases-lease.c \
	tests/integration/cases-lease-many.c \
	tests/integration/cases-lease-model.c \
	tests/integration/cases-lease-owner.c \
	tests/integration/cases-lease-shared.c \
	tests/integration/cases-lease-ending.c \
	tests/integration/cases-limits.c \
	tests/integration/cases-memlock.c \
	tests/integration/cases-memory.c \
	tests/integration/cases-model.c \
	tests/integration/cases-notify.c \
	tests/integration/cases-poison.c \
	tests/integration/cases-poison-session.c \
	tests/integration/cases-policy.c tests/integration/cases-policy-exporter.c \
	tests/integration/cases-protocol.c \
	tests/integration/cases-remount.c \
	tests/integration/cases-restart.c \
	tests/integration/cases-revoke.c \
	tests/integration/cases-stranger.c \
	tests/integration/cases-table.c \
	tests/integration/cases-transfer.c \
	tests/integration/cases-version.c \
	tests/integration/alone.c tests/integration/alone.h \
	tests/integration/audit.c tests/integration/audit.h \
	tests/integration/calls.c tests/integration/calls.h \
	tests/integration/chance.c tests/integration/chance.h \
	tests/integration/ctl.c tests/integration/ctl.h \
	tests/integration/dmabuf.c tests/integration/dmabuf.h \
	tests/integration/fixture.c tests/integration/fixture.h \
	tests/integration/fuse.c tests/integration/fuse.h \
	tests/integration/harness.c tests/integration/harness.h \
	tests/integration/holder.c tests/integration/holder.h \
	tests/integration/instance.c tests/integration/instance.h \
	tests/integration/kernels.c tests/integration/kernels.h \
	tests/integration/leftovers.c tests/integration/leftovers.h \
	tests/integration/lease-model.c tests/integration/lease-model.h \
	tests/integration/lease-steps.c tests/integration/lease-steps.h tests/integration/lease-steps-app.c \
	tests/integration/lease-world.c tests/integration/lease-world.h \
	tests/integration/ledgers.c tests/integration/ledgers.h \
	tests/integration/linger.c tests/integration/linger.h \
	tests/integration/matrix.c tests/integration/matrix.h \
	tests/integration/matrix-operations.c tests/integration/matrix-subject.c \
	tests/integration/memory.c tests/integration/memory.h \
	tests/integration/mrs.c tests/integration/mrs.h \
	tests/integration/proc.c tests/integration/proc.h \
	tests/integration/private.c tests/integration/private.h \
	tests/integration/process.c tests/integration/process.h \
	tests/integration/puppet.c tests/integration/puppet.h \
	tests/integration/raw.c tests/integration/raw.h \
	tests/integration/rdma.c tests/integration/rdma.h \
	tests/integration/rival.c tests/integration/rival.h \
	tests/integration/ruled.c tests/integration/ruled.h \
	tests/integration/samples.c tests/integration/samples.h \
	tests/integration/schema.c tests/integration/schema.h \
	tests/integration/service.c tests/integration/service.h \
	tests/integration/subject.c tests/integration/subject.h \
	tests/integration/traffic.c tests/integration/traffic.h \
	tests/integration/view.c tests/integration/view.h \
	$(POLICY_TABLE_FILES)
pl_raw_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/daemon -I$(top_srcdir)/tests/integration -I$(top_srcdir)/tests/policy \
	-DPINLEASED='"$(sbindir)/pinleased"' -DPINLEASECTL='"$(bindir)/pinleasectl"' \
	-DTEST_PROGRAMS='"$(testdir)"'
pl_raw_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS) $(JSON_C_CFLAGS)
pl_raw_LDADD = libpinlease.la libpl-session.la libpl-proto.la $(IBVERBS_LIBS) $(JSON_C_LIBS)

# The service as an older version would be, as far as the others can see: its numbers are lower.
pinleased_old_SOURCES = daemon/pinleased.c daemon/sessions.c
pinleased_old_CPPFLAGS = $(AM_CPPFLAGS) -DCONTROL_VERSION=1
pinleased_old_CFLAGS = $(pinleased_CFLAGS) $(JSON_C_CFLAGS)
pinleased_old_LDADD = $(pinleased_LDADD)
pinlease_session_old_SOURCES = $(pinlease_session_SOURCES)
pinlease_session_old_CPPFLAGS = $(AM_CPPFLAGS) -DCONTROL_VERSION=1
pinlease_session_old_CFLAGS = $(pinlease_session_CFLAGS)
pinlease_session_old_LDADD = $(pinlease_session_LDADD)
pinlease_session_ledger_SOURCES = $(pinlease_session_SOURCES) daemon/ledger.c
pinlease_session_ledger_CPPFLAGS = $(AM_CPPFLAGS) -DLEDGER_VERSION=1
pinlease_session_ledger_CFLAGS = $(pinlease_session_CFLAGS)
pinlease_session_ledger_LDADD = $(pinlease_session_LDADD)

# The example of doc/ACCELERATORS.md, compiled as anybody would: it knows nothing of config.h.
doc_examples_accelerator_SOURCES = doc/examples/accelerator.c doc/examples/exported.h
doc_examples_accelerator_CPPFLAGS = -I$(top_srcdir)/client -I$(top_srcdir)/proto
doc_examples_accelerator_CFLAGS = $(AM_CFLAGS) $(IBVERBS_CFLAGS)
doc_examples_accelerator_LDADD = libpinlease.la $(IBVERBS_LIBS)

EXTRA_DIST += \
	tests/integration/README.md \
	tests/integration/check-vm \
	tests/integration/suite \
	tests/integration/suite-admin \
	tests/integration/suite-service

# A prefix other than /usr would leave the library and the units where the guest does not look.
stage: all
	@test "$(prefix)" = /usr || { echo "The guest needs a build configured with --prefix=/usr --sysconfdir=/etc (see check.sh)." >&2; exit 1; }
	$(AM_V_GEN)rm -rf $(STAGE) && $(MAKE) -s install DESTDIR=$(STAGE) >$(abs_builddir)/stage.log 2>&1 || { cat $(abs_builddir)/stage.log; exit 1; }
	@mkdir -p $(STAGE)$(testdir)
	@for p in $(TEST_PROGRAMS_VM); do \
		$(LIBTOOL) --silent --mode=install $(INSTALL_PROGRAM) $$p $(STAGE)$(testdir)/ 2>>$(abs_builddir)/stage.log || exit 1; \
	done
	@$(INSTALL_DATA) $(top_srcdir)/tests/policy/decide.table $(STAGE)$(testdir)/

VM_ENV = PINLEASE_BUILDDIR=$(abs_builddir) PINLEASE_VM_STAGE=$(STAGE) PINLEASE_TESTDIR=$(testdir)

check-vm: stage
	PINLEASE_VM_TIMEOUT=$${PINLEASE_VM_TIMEOUT:-1500} $(VM_ENV) $(top_srcdir)/tests/integration/check-vm

check-soak: stage
	PINLEASE_SOAK=1 PINLEASE_VM_TIMEOUT=$${PINLEASE_VM_TIMEOUT:-14400} $(VM_ENV) $(top_srcdir)/tests/integration/check-vm

.PHONY: stage check-vm check-soak
