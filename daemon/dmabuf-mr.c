/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dmabuf-mr.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dmabuf.h"

int dmabuf_probe(const struct uverbs_ops *uverbs, struct context *context, uint32_t pd, struct refusal *ret_refusal) {
        int r;

        if (context->dmabuf_probed)
                return 0;
        r = uverbs->probe_dmabuf(&context->device, pd);
        if (r == -ENOENT)
                return r;
        if (r < 0)
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    r,
                                    "Whether the device can register dma-bufs could not be found out (%s). Is it still there?",
                                    strerror(-r));
        context->dmabuf_probed = true;
        if (r > 0)
                context->methods |= PINLEASE_METHOD_DMABUF;
        return 0;
}

_Static_assert(sizeof PL_DMABUF_NAME_PREFIX - 1 + PL_DMABUF_EXPORTER_MAX <= LEDGER_NAME_MAX, "the exporter's name is kept whole");

int dmabuf_name(int fd, char ret_name[LEDGER_NAME_MAX], struct refusal *ret_refusal) {
        char exporter[PL_DMABUF_EXPORTER_MAX] = "";
        int r;

        r = pl_dmabuf_exporter(fd, exporter);
        if (r < 0 && r != -ENODATA && r != -EBADMSG)
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    r,
                                    "Who has made this dma-buf could not be found out (%s). Deregister some memory, or try again.",
                                    strerror(-r));
        memset(ret_name, 0, LEDGER_NAME_MAX);
        (void)snprintf(ret_name, LEDGER_NAME_MAX, PL_DMABUF_NAME_PREFIX "%s", r < 0 ? "" : exporter);
        return 0;
}

/* What would work instead of this exporter's memory. */
static const char *instead(const char *exporter) {
        if (strcmp(exporter, "udmabuf") == 0)
                return "Register the memfd behind the udmabuf instead";
        if (strcmp(exporter, "system") == 0 || strcmp(exporter, "default_cma_region") == 0)
                return "Use a memfd, or huge pages, which can be registered on every device";
        return "Use an RDMA device that reaches the exporter's (both below one PCIe switch, IOMMU and driver allowing it), or copy "
               "by way of a memfd";
}

int dmabuf_explain(const struct ledger_record *record, int error, struct refusal *ret_refusal) {
        const char *exporter = pl_dmabuf_exporter_of_name(record->name);

        switch (-error) {
        case ENOMEM:
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    error,
                                    "There is no memory to register %" PRIu64 " bytes of this dma-buf (ENOMEM).",
                                    record->length);
        case EIO:
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    error,
                                    "The device has been removed (EIO). Close the verbs context.");
        case ENODEV:
                /* Also the word of exporters that have taken the memory back: vfio-pci, when its device is reset or closed. */
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_KERNEL,
                                    error,
                                    "The device has been removed, or the exporter has taken this dma-buf back (ENODEV). Have it "
                                    "exported again; if that does not help, close the verbs context.");
        default:
                break;
        }
        return refuse(ret_refusal,
                      PINLEASE_CODE_NO_DMABUF,
                      "The device registers dma-bufs, but not this one, of the exporter \"%s\": its driver cannot attach to it, or not "
                      "with access 0x%x (the kernel says: %s). %s.",
                      exporter ? exporter : "unknown",
                      record->access,
                      strerror(-error),
                      instead(exporter ? exporter : ""));
}
