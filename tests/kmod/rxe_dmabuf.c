// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: gives rdma_rxe the operation reg_user_mr_dmabuf, which it lacks. README.md says
 * what that proves and what not.
 *
 * rdma_rxe moves bytes with the CPU, in pages that ib_umem_get() finds behind user addresses. So a
 * dma-buf is attached and mapped as for hardware, its pages are shown in the caller's address space
 * for a moment, and rdma_rxe's own reg_user_mr takes them from there. dereg_mr is wrapped: it gives
 * the dma-buf back when rdma_rxe has let go of the pages.
 */

#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sched/mm.h>
#include <linux/srcu.h>
#include <rdma/ib_verbs.h>
#include <rdma/ib_user_ioctl_verbs.h>

#ifdef CONFIG_DMABUF_DEBUG
#error "this kernel hides the pages of dma-bufs from importers"
#endif

#define NAME "rxe_dmabuf"

/* A device whose operations have been changed. */
struct rxe {
	struct ib_device *ibdev;
	unsigned int mrs;	/* of dma-bufs, alive or being made */
	bool removed;		/* by the core: its operations change back with the last MR */
};

/* A memory region of a dma-buf. */
struct dmabuf_mr {
	struct hlist_node node;
	struct ib_mr *mr;
	struct rxe *rxe;
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt;
	struct mm_struct *mm;
	unsigned long npages;
};

/* Its data of a device is a struct rxe, until that is removed. */
static struct ib_client client;
static DEFINE_MUTEX(rxes_lock);
static DEFINE_SPINLOCK(mrs_lock);
static DEFINE_HASHTABLE(mrs, 8);

/* Of rdma_rxe, which stays loaded for them. Set with the first device. */
static struct module *rxe_module;
static typeof_member(struct ib_device_ops, reg_user_mr) rxe_reg_user_mr;
static typeof_member(struct ib_device_ops, dereg_mr) rxe_dereg_mr;

/* What dma-bufs are attached to: soft-RoCE devices have no DMA mask. */
static struct platform_device *importer;
/* Calls into this module that sleep. */
DEFINE_STATIC_SRCU(calls);

/* --- pages that the caller can name by addresses --- */

struct window {
	struct sg_table *sgt;
	unsigned long first, npages;
};

static int window_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct window *window = READ_ONCE(file->private_data);
	unsigned long address = vma->vm_start;
	struct sg_page_iter iter;
	int ret;

	if (!window || vma->vm_pgoff || vma_pages(vma) != window->npages)
		return -EINVAL;
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP);
	for_each_sgtable_page(window->sgt, &iter, window->first) {
		ret = vm_insert_page(vma, address, sg_page_iter_page(&iter));
		address += PAGE_SIZE;
		if (ret || address == vma->vm_end)
			return ret;
	}
	return -EINVAL;		/* less than the dma-buf's size says */
}

/*
 * Returns the address. Other threads of the caller can do to it what they do to all their mappings:
 * they would have other memory of their own registered, or unmapped.
 */
static unsigned long window_open(struct sg_table *sgt, unsigned long first, unsigned long npages)
{
	static const struct file_operations fops = {
		.owner = THIS_MODULE,
		.mmap = window_mmap,
	};
	struct window window = { sgt, first, npages };
	struct scatterlist *sg;
	unsigned long address;
	struct file *file;
	unsigned int i;

	/* Memory of a device has no pages to show. */
	for_each_sgtable_sg(sgt, sg, i)
		if (!sg_page(sg) || sg->offset || !PAGE_ALIGNED(sg->length))
			return -EOPNOTSUPP;

	file = anon_inode_getfile("[" NAME "]", &fops, &window, O_RDWR);
	if (IS_ERR(file))
		return PTR_ERR(file);
	address = vm_mmap(file, 0, npages << PAGE_SHIFT, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	/* The file stays as long as the mapping. */
	WRITE_ONCE(file->private_data, NULL);
	fput(file);
	return address;
}

/* --- dma-bufs --- */

static int dmabuf_take(struct dmabuf_mr *d, int fd, u64 end)
{
	struct dma_buf *dmabuf;
	int ret = -EINVAL;

	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (end > dmabuf->size)
		goto put;
	d->attachment = dma_buf_attach(dmabuf, &importer->dev);
	ret = PTR_ERR_OR_ZERO(d->attachment);
	if (ret)
		goto put;
	d->sgt = dma_buf_map_attachment_unlocked(d->attachment, DMA_BIDIRECTIONAL);
	ret = PTR_ERR_OR_ZERO(d->sgt);
	if (!ret)
		return 0;

	dma_buf_detach(dmabuf, d->attachment);
put:
	dma_buf_put(dmabuf);
	return ret;
}

static void dmabuf_give_back(struct dmabuf_mr *d)
{
	struct dma_buf *dmabuf = d->attachment->dmabuf;

	dma_buf_unmap_attachment_unlocked(d->attachment, d->sgt, DMA_BIDIRECTIONAL);
	dma_buf_detach(dmabuf, d->attachment);
	dma_buf_put(dmabuf);
}

/* --- devices --- */

static struct rxe *rxe_get(struct ib_device *ibdev)
{
	struct rxe *rxe;

	guard(mutex)(&rxes_lock);
	rxe = ib_get_client_data(ibdev, &client);
	if (rxe)
		rxe->mrs++;
	return rxe;
}

/* As it was before. With rxes_lock. */
static void rxe_restore(struct rxe *rxe)
{
	WRITE_ONCE(rxe->ibdev->ops.reg_user_mr_dmabuf, NULL);
	WRITE_ONCE(rxe->ibdev->ops.dereg_mr, rxe_dereg_mr);
	kfree(rxe);
}

static void rxe_put(struct rxe *rxe)
{
	guard(mutex)(&rxes_lock);
	if (rxe && !--rxe->mrs && rxe->removed)
		rxe_restore(rxe);
}

/* --- memory regions --- */

static void mr_keep(struct dmabuf_mr *d, struct ib_mr *mr)
{
	guard(spinlock)(&mrs_lock);
	d->mr = mr;
	hash_add(mrs, &d->node, (unsigned long)mr);
}

/* rdma_rxe takes the pages of the dma-buf for user memory. */
static struct ib_mr *reg_pages(struct dmabuf_mr *d, struct ib_pd *pd, u64 offset, u64 length,
			       u64 virt_addr, int access)
{
	unsigned long first = offset >> PAGE_SHIFT, address;
	struct ib_mr *mr;

	d->npages = ((offset + length - 1) >> PAGE_SHIFT) - first + 1;
	address = window_open(d->sgt, first, d->npages);
	if (IS_ERR_VALUE(address))
		return ERR_PTR(address);

	/* RLIMIT_MEMLOCK does not apply to dma-bufs: not asked, nor charged longer than this. */
	scoped_with_kernel_creds()
		mr = rxe_reg_user_mr(pd, address + offset_in_page(offset), length, virt_addr,
				     access, NULL, NULL);
	vm_munmap(address, d->npages << PAGE_SHIFT);
	if (IS_ERR(mr))
		return mr;

	d->mm = current->mm;
	mmgrab(d->mm);
	atomic64_sub(d->npages, &d->mm->pinned_vm);
	/* The core sets them for user memory only, and rdma_rxe's range check needs them. */
	mr->iova = virt_addr;
	mr->length = length;
	return mr;
}

/* Every memory region keeps the module loaded. */
static struct ib_mr *reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 virt_addr,
					int fd, int access, struct ib_dmah *dmah,
					struct uverbs_attr_bundle *attrs)
{
	struct dmabuf_mr *d __free(kfree) = kzalloc(sizeof(*d), GFP_KERNEL);
	struct ib_mr *mr;
	u64 end;
	int ret;

	if (!d)
		return ERR_PTR(-ENOMEM);
	if (dmah || (access & IB_ACCESS_ON_DEMAND))
		return ERR_PTR(-EOPNOTSUPP);
	if (!length || check_add_overflow(offset, length, &end))
		return ERR_PTR(-EINVAL);

	guard(srcu)(&calls);
	if (!try_module_get(THIS_MODULE))
		return ERR_PTR(-ENODEV);
	d->rxe = rxe_get(pd->device);
	ret = d->rxe ? dmabuf_take(d, fd, end) : -ENODEV;
	if (ret)
		goto put;
	mr = reg_pages(d, pd, offset, length, virt_addr, access);
	if (!IS_ERR(mr)) {
		mr_keep(no_free_ptr(d), mr);
		return mr;
	}
	ret = PTR_ERR(mr);
	dmabuf_give_back(d);
put:
	rxe_put(d->rxe);
	module_put(THIS_MODULE);
	return ERR_PTR(ret);
}

/* The core holds the MR exclusively. But once it is gone, another may have its address at once. */
static struct dmabuf_mr *mr_take(struct ib_mr *mr)
{
	struct dmabuf_mr *d;

	guard(spinlock)(&mrs_lock);
	hash_for_each_possible(mrs, d, node, (unsigned long)mr) {
		if (d->mr == mr) {
			hash_del(&d->node);
			return d;
		}
	}
	return NULL;
}

/* Of every memory region of the device. */
static int dereg_mr(struct ib_mr *mr, struct ib_udata *udata)
{
	struct dmabuf_mr *d;
	int ret;

	guard(srcu)(&calls);
	d = mr_take(mr);
	if (!d)
		return rxe_dereg_mr(mr, udata);

	/* Letting go of the pages takes off what was taken off already. */
	atomic64_add(d->npages, &d->mm->pinned_vm);
	ret = rxe_dereg_mr(mr, udata);
	if (ret) {
		/* A memory window is bound. */
		atomic64_sub(d->npages, &d->mm->pinned_vm);
		mr_keep(d, mr);
		return ret;
	}
	dmabuf_give_back(d);
	mmdrop(d->mm);
	rxe_put(d->rxe);
	kfree(d);
	module_put(THIS_MODULE);
	return 0;
}

/* --- devices come and go --- */

static int client_add(struct ib_device *ibdev)
{
	static const struct ib_device_ops ops = {
		.reg_user_mr_dmabuf = reg_user_mr_dmabuf,
	};
	struct rxe *rxe __free(kfree) = NULL;

	/* Nothing to do once rdma_rxe has it of its own. */
	if (ibdev->ops.driver_id != RDMA_DRIVER_RXE || ibdev->ops.reg_user_mr_dmabuf)
		return -EOPNOTSUPP;
	rxe = kzalloc(sizeof(*rxe), GFP_KERNEL);
	if (!rxe)
		return -ENOMEM;
	rxe->ibdev = ibdev;

	guard(mutex)(&rxes_lock);
	if (!rxe_module) {
		/* Its devices can be deleted, and new ones made, nevertheless. */
		if (!try_module_get(ibdev->ops.owner))
			return -ENODEV;
		rxe_module = ibdev->ops.owner;
		rxe_reg_user_mr = ibdev->ops.reg_user_mr;
		rxe_dereg_mr = ibdev->ops.dereg_mr;
	}
	ib_set_client_data(ibdev, &client, no_free_ptr(rxe));
	/* First what takes back, then what gives. */
	smp_store_release(&ibdev->ops.dereg_mr, dereg_mr);
	ib_set_device_ops(ibdev, &ops);
	return 0;
}

/* The device is deleted, its MRs end after this; or the module is unloaded: there is none. */
static void client_remove(struct ib_device *ibdev, void *data)
{
	struct rxe *rxe = data;

	guard(mutex)(&rxes_lock);
	ib_set_client_data(ibdev, &client, NULL);
	rxe->removed = true;
	if (!rxe->mrs)
		rxe_restore(rxe);
}

static struct ib_client client = {
	.name = NAME,
	.add = client_add,
	.remove = client_remove,
	.no_kverbs_req = true,
};

static int __init rxe_dmabuf_init(void)
{
	int ret;

	importer = platform_device_register_simple(NAME, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(importer))
		return PTR_ERR(importer);
	dma_set_max_seg_size(&importer->dev, UINT_MAX);
	ret = dma_coerce_mask_and_coherent(&importer->dev, DMA_BIT_MASK(64));
	if (!ret)
		ret = ib_register_client(&client);
	if (ret)
		platform_device_unregister(importer);
	return ret;
}

static void __exit rxe_dmabuf_exit(void)
{
	ib_unregister_client(&client);
	/* Who has read a pointer to an operation has entered it now; left it; returned from it. */
	synchronize_rcu_tasks();
	synchronize_srcu(&calls);
	synchronize_rcu_tasks();
	platform_device_unregister(importer);
	module_put(rxe_module);
}

module_init(rxe_dmabuf_init);
module_exit(rxe_dmabuf_exit);

MODULE_DESCRIPTION("Memory regions of dma-bufs on soft-RoCE, for tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
