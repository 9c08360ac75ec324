# Integration tests: make check-vm boots the soft-RoCE guest once and runs tests/integration/suite in it.
#
# What runs in the guest is what `make install` installs, into a staging folder that the guest lays over its root. Test
# programs go beside the session program, linked with the staged library.

STAGE = $(abs_builddir)/stage
testdir = $(pkglibexecdir)/tests
TEST_PROGRAMS_VM =

noinst_PROGRAMS = $(TEST_PROGRAMS_VM)

# A prefix other than /usr would leave the library and the units where the guest does not look.
stage: all
	@test "$(prefix)" = /usr || { echo "The guest needs a build configured with --prefix=/usr --sysconfdir=/etc (see check.sh)." >&2; exit 1; }
	$(AM_V_GEN)rm -rf $(STAGE) && $(MAKE) -s install DESTDIR=$(STAGE) >$(abs_builddir)/stage.log 2>&1 || { cat $(abs_builddir)/stage.log; exit 1; }
	@mkdir -p $(STAGE)$(testdir)
	@for p in $(TEST_PROGRAMS_VM); do \
		$(LIBTOOL) --silent --mode=install $(INSTALL_PROGRAM) $$p $(STAGE)$(testdir)/ 2>>$(abs_builddir)/stage.log || exit 1; \
	done

VM_RUN = PINLEASE_BUILDDIR=$(abs_builddir) PINLEASE_VM_STAGE=$(STAGE) PINLEASE_TESTDIR=$(testdir) $(abs_top_srcdir)/tests/vm/run

check-vm: stage
	$(VM_RUN) $(abs_top_srcdir)/tests/integration/suite

check-soak: stage
	PINLEASE_SOAK=1 PINLEASE_VM_TIMEOUT=$${PINLEASE_VM_TIMEOUT:-14400} $(VM_RUN) $(abs_top_srcdir)/tests/integration/suite

.PHONY: stage check-vm check-soak
