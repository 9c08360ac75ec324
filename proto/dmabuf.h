/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_DMABUF_H
#define PL_DMABUF_H

/*
 * Who has made a dma-buf: the exporter's name ("udmabuf", "drm", the name of a heap), which the kernel shows in
 * /proc/PID/fdinfo/FD:
 *
 *   exp_name: udmabuf
 *   name:     whatever its user has called it (DMA_BUF_SET_NAME), lines that look like others included
 *
 * It is the driver's own word, and comes before the user's: the first line counts.
 */

#include <stddef.h>

#define PL_DMABUF_EXPORTER_MAX 96 /* bytes of a name, with the NUL */

/*
 * Only for descriptors that fdclass.h has found to be a dma-buf. pl_dmabuf_exporter_at(): by the path of the fdinfo, of
 * another process.
 *
 * A name that is empty, or longer, or that does not say what it looks like (utf8.h), is not taken for one. Returns 0,
 * -ENODATA: there is none, -EBADMSG: there is one that is not to be taken, or another negative errno.
 */
int pl_dmabuf_exporter(int fd, char ret_name[PL_DMABUF_EXPORTER_MAX]);
int pl_dmabuf_exporter_at(const char *fdinfo, char ret_name[PL_DMABUF_EXPORTER_MAX]);

/* One line of an fdinfo, with its end. Returns 0, -ENODATA: it is another line, or -EBADMSG. */
int pl_dmabuf_parse(const char *line, size_t length, char ret_name[PL_DMABUF_EXPORTER_MAX]);

/* What a dma-buf is called where files have a path: this, and the name of its exporter, if that is known. */
#define PL_DMABUF_NAME_PREFIX "dmabuf:"

/* The exporter of what is called so; NULL: not known. Borrowed. */
const char *pl_dmabuf_exporter_of_name(const char *name);

#endif
