/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How memory of accelerators becomes a dma-buf, by vendor: compile with -DWITH_CUDA, -DWITH_ROCM, -DWITH_LEVEL_ZERO or
 * -DWITH_GAUDI, or several. With the vendor's headers at hand those are used; without them what is needed of them is
 * declared here, so that this can be compiled anywhere. doc/ACCELERATORS.md explains each.
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "exported.h"

#if defined(WITH_CUDA) || defined(WITH_GAUDI)
/* The CPU's pages that the memory lies in, from the first to the last. */
static uint64_t page_of(uint64_t address) {
        return address - address % (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t length_of_pages(uint64_t address, uint64_t length) {
        return page_of(address + length + (uint64_t)sysconf(_SC_PAGESIZE) - 1) - page_of(address);
}
#endif

/* --- NVIDIA: CUDA 11.7 and later --- */

#ifdef WITH_CUDA
#if __has_include(<cuda.h>)
#include <cuda.h>
#else
typedef int CUdevice, CUresult;
typedef unsigned long long CUdeviceptr;
typedef enum { CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED = 124 } CUdevice_attribute;
typedef enum { CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL = 9 } CUpointer_attribute;
typedef enum { CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD = 1 } CUmemRangeHandleType;
#define CUDA_SUCCESS 0
CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device);
CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address);
CUresult cuMemGetHandleForAddressRange(
        void *handle, CUdeviceptr address, size_t size, CUmemRangeHandleType type, unsigned long long flags);
#endif

/* The driver wants whole pages of the CPU: the dma-buf begins with the first of them. */
int export_cuda(uint64_t address, uint64_t length, struct exported *ret) {
        const uint64_t first = page_of(address);
        int ordinal, supported = 0, fd = -1;
        CUdevice device;

        if (cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address) != CUDA_SUCCESS ||
            cuDeviceGet(&device, ordinal) != CUDA_SUCCESS ||
            cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, device) != CUDA_SUCCESS)
                return -EINVAL;
        if (!supported)
                return -EOPNOTSUPP;
        if (cuMemGetHandleForAddressRange(
                    &fd, first, length_of_pages(address, length), CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0) !=
            CUDA_SUCCESS)
                return -EOPNOTSUPP;
        *ret = (struct exported) { .fd = fd, .offset = address - first, .length = length, .address = address };
        return 0;
}
#endif

/* --- AMD: ROCm --- */

#ifdef WITH_ROCM
#if __has_include(<hsa/hsa_ext_amd.h>)
#include <hsa/hsa_ext_amd.h>
#else
typedef enum { HSA_STATUS_SUCCESS = 0 } hsa_status_t;
hsa_status_t hsa_amd_portable_export_dmabuf(const void *address, size_t size, int *dmabuf, uint64_t *offset);
#endif

/* The dma-buf is of the whole allocation; the runtime says where in it the address is. */
int export_rocm(uint64_t address, uint64_t length, struct exported *ret) {
        uint64_t offset;
        int fd = -1;

        if (hsa_amd_portable_export_dmabuf((const void *)(uintptr_t)address, (size_t)length, &fd, &offset) !=
            HSA_STATUS_SUCCESS)
                return -EOPNOTSUPP;
        *ret = (struct exported) { .fd = fd, .offset = offset, .length = length, .address = address };
        return 0;
}
#endif

/* --- Intel: Level Zero --- */

#ifdef WITH_LEVEL_ZERO
#if __has_include(<level_zero/ze_api.h>)
#include <level_zero/ze_api.h>
#else
typedef enum { ZE_RESULT_SUCCESS = 0 } ze_result_t;
typedef struct _ze_context_handle_t *ze_context_handle_t;
typedef struct _ze_device_handle_t *ze_device_handle_t;
typedef enum {
        ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES = 0x17,
        ZE_STRUCTURE_TYPE_EXTERNAL_MEMORY_EXPORT_FD = 0x1a,
} ze_structure_type_t;
typedef enum { ZE_EXTERNAL_MEMORY_TYPE_FLAG_DMA_BUF = 2 } ze_external_memory_type_flag_t;
typedef enum { ZE_MEMORY_TYPE_UNKNOWN = 0 } ze_memory_type_t;
typedef struct {
        ze_structure_type_t stype;
        const void *pNext;
        uint32_t flags;
        int fd;
} ze_external_memory_export_fd_t;
typedef struct {
        ze_structure_type_t stype;
        void *pNext;
        ze_memory_type_t type;
        uint64_t id, pageSize;
} ze_memory_allocation_properties_t;
ze_result_t zeMemGetAddressRange(ze_context_handle_t context, const void *address, void **base, size_t *size);
ze_result_t zeMemGetAllocProperties(ze_context_handle_t context,
                                    const void *address,
                                    ze_memory_allocation_properties_t *properties,
                                    ze_device_handle_t *device);
#endif

/* The dma-buf is of the whole allocation, which has been made to be exported: zeMemAllocDevice() with a
 * ze_external_memory_export_desc_t in pNext, its flags ZE_EXTERNAL_MEMORY_TYPE_FLAG_DMA_BUF. */
int export_level_zero(void *context, uint64_t address, uint64_t length, struct exported *ret) {
        ze_external_memory_export_fd_t exported = {
                .stype = ZE_STRUCTURE_TYPE_EXTERNAL_MEMORY_EXPORT_FD,
                .flags = ZE_EXTERNAL_MEMORY_TYPE_FLAG_DMA_BUF,
                .fd = -1,
        };
        ze_memory_allocation_properties_t properties = {
                .stype = ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES,
                .pNext = &exported,
        };
        const void *pointer = (const void *)(uintptr_t)address;
        ze_device_handle_t device;
        size_t size;
        void *base;
        int fd;

        if (zeMemGetAddressRange((ze_context_handle_t)context, pointer, &base, &size) != ZE_RESULT_SUCCESS)
                return -EINVAL;
        if (zeMemGetAllocProperties((ze_context_handle_t)context, base, &properties, &device) != ZE_RESULT_SUCCESS ||
            exported.fd < 0)
                return -EOPNOTSUPP;
        fd = fcntl(exported.fd, F_DUPFD_CLOEXEC, 0); /* that one is the runtime's, which gives it to others, too */
        if (fd < 0)
                return -errno;
        *ret = (struct exported) {
                .fd = fd,
                .offset = address - (uint64_t)(uintptr_t)base,
                .length = length,
                .address = address,
        };
        return 0;
}
#endif

/* --- Habana: Gaudi 2 and later --- */

#ifdef WITH_GAUDI
#if __has_include(<hlthunk.h>)
#include <hlthunk.h>
#else
int hlthunk_device_mapped_memory_export_dmabuf_fd(
        int fd, uint64_t address, uint64_t size, uint64_t offset, uint32_t flags);
#endif

/* Of a mapping (what hlthunk_device_memory_map() has returned, or the base of SynapseAI's memory pool) a part can be
 * exported: from page to page here, as with CUDA. */
int export_gaudi(int device, uint64_t mapping, uint64_t address, uint64_t length, struct exported *ret) {
        const uint64_t first = page_of(address);
        int fd;

        if (first < mapping)
                return -EINVAL;
        fd = hlthunk_device_mapped_memory_export_dmabuf_fd(
                device, mapping, length_of_pages(address, length), first - mapping, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return fd;
        *ret = (struct exported) { .fd = fd, .offset = address - first, .length = length, .address = address };
        return 0;
}
#endif
