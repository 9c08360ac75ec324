# SPDX-License-Identifier: LGPL-2.1-or-later
# pinleasectl, its completion and its man page.

noinst_LTLIBRARIES += libpl-ctl.la
libpl_ctl_la_SOURCES = \
	client/pinleasectl/actions.c \
	client/pinleasectl/adminclient.c client/pinleasectl/adminclient.h \
	client/pinleasectl/devices.c client/pinleasectl/devices.h \
	client/pinleasectl/deviceview.c \
	client/pinleasectl/explain.c \
	client/pinleasectl/field.c client/pinleasectl/field.h \
	client/pinleasectl/jsonline.c client/pinleasectl/jsonline.h \
	client/pinleasectl/kernel.c client/pinleasectl/kernel.h \
	client/pinleasectl/list.c \
	client/pinleasectl/metrics.c \
	client/pinleasectl/openmetrics.c client/pinleasectl/openmetrics.h \
	client/pinleasectl/options.c \
	client/pinleasectl/pinleasectl.h \
	client/pinleasectl/request.c client/pinleasectl/request.h \
	client/pinleasectl/status.c \
	client/pinleasectl/table.c client/pinleasectl/table.h \
	client/pinleasectl/terminal.c client/pinleasectl/terminal.h \
	client/pinleasectl/text.c client/pinleasectl/text.h \
	proto/admin.h
libpl_ctl_la_LIBADD = libpl-proto.la
libpl_ctl_la_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS) $(IBVERBS_CFLAGS)

bin_PROGRAMS += pinleasectl
pinleasectl_SOURCES = client/pinleasectl/pinleasectl.c
pinleasectl_CFLAGS = $(AM_CFLAGS) $(JSON_C_CFLAGS)
pinleasectl_LDADD = libpl-ctl.la $(JSON_C_LIBS) $(IBVERBS_LIBS)

# Bash looks for it by the command's name.
bashcompletiondir = $(datadir)/bash-completion/completions
nodist_bashcompletion_DATA = client/pinleasectl/completions/pinleasectl
client/pinleasectl/completions/pinleasectl: $(top_srcdir)/client/pinleasectl/pinleasectl.bash-completion
	$(AM_V_GEN)mkdir -p client/pinleasectl/completions && cp $(top_srcdir)/client/pinleasectl/pinleasectl.bash-completion $@

if HAVE_SCDOC
nodist_man1_MANS = doc/man/pinleasectl.1
endif
doc/man/%: $(top_srcdir)/doc/man/%.scd
	$(AM_V_GEN)mkdir -p doc/man && $(SCDOC) < $< > $@.tmp && mv $@.tmp $@

CLEANFILES += client/pinleasectl/completions/pinleasectl doc/man/pinleasectl.1
EXTRA_DIST += doc/ADMIN.md client/pinleasectl/pinleasectl.bash-completion doc/man/pinleasectl.1.scd
