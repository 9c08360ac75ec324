/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CHARDEV_H
#define PL_CHARDEV_H

/*
 * Which driver a character device belongs to. By its number, as what a node is called says nothing: anybody who may
 * make one can call it as he likes. No device is opened or asked, so nothing waits for one.
 */

#include <stdint.h>
#include <sys/types.h>

/* Has the driver of that name in /proc/devices this major number? The fixed and the dynamic ones are there, whatever
 * namespace the device is in. Returns 1, 0, or a negative errno. */
int pl_chardev_is(dev_t rdev, const char *driver);

/*
 * A device-dax node, /dev/daxX.Y: bytes of memory, and the power of two of which beginnings and lengths of its mappings
 * have to be multiples. Returns 0; -ENODEV: it is none, or the device has gone; or another negative errno: nobody tells
 * (no /proc, no /sys).
 */
int pl_chardev_dax(dev_t rdev, uint64_t *ret_size, uint64_t *ret_align);

#endif
