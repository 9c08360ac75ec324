/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mapping.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util.h"

struct object {
        dev_t dev;
        uint64_t inode;
        struct mapping *views;
        char name[MAPPING_NAME_MAX];
};

struct mapping {
        struct object *object;
        struct mapping *previous, *next; /* of the same file */
        struct mapping *older, *younger; /* of the whole table */
        uint64_t number;
        uint64_t base;   /* address of `offset` */
        uint64_t offset; /* bytes, a multiple of pl_fdclass_map_unit() */
        uint64_t length;
        bool writable;
        unsigned int refs;
};

static int compare(const void *a, const void *b) {
        const struct object *x = a, *y = b;

        if (x->dev != y->dev)
                return x->dev < y->dev ? -1 : 1;
        if (x->inode != y->inode)
                return x->inode < y->inode ? -1 : 1;
        return 0;
}

static struct object *object_get(struct mapping_table *table, dev_t dev, uint64_t inode) {
        struct object key = { .dev = dev, .inode = inode }, *object;
        void *node;

        node = tfind(&key, &table->objects, compare);
        if (node)
                return *(struct object **)node;

        object = malloc(sizeof *object);
        if (!object)
                return NULL;
        *object = key;
        if (!tsearch(object, &table->objects, compare)) {
                free(object);
                return NULL;
        }
        return object;
}

static void object_gc(struct mapping_table *table, struct object *object) {
        if (object->views)
                return;
        tdelete(object, &table->objects, compare);
        free(object);
}

static bool covers(const struct mapping *view, const struct mapping_request *request) {
        return request->offset >= view->offset && request->offset + request->length <= view->offset + view->length &&
                (view->writable || !request->writable);
}

static uint64_t address_in(const struct mapping *view, uint64_t offset) {
        return view->base + (offset - view->offset);
}

static struct mapping *find_view(const struct object *object, const struct mapping_request *request, bool at_address) {
        for (struct mapping *view = object->views; view; view = view->next)
                if (covers(view, request) && (!at_address || address_in(view, request->offset) == request->address))
                        return view;
        return NULL;
}

/* Maps whole pages, or units of a device, around the range: at the app's address if that is asked for, else anywhere. */
static int map_view(const struct mapping_request *request, bool at_address, struct mapping *ret_view) {
        uint64_t unit = pl_fdclass_map_unit(request->class);
        uint64_t head = request->offset % unit;
        uint64_t length = (head + request->length + unit - 1) / unit * unit;
        int prot = PROT_READ | (request->writable ? PROT_WRITE : 0);
        void *hint = NULL, *p;

        /* A huge page needs an address of its own size. Without one the kernel finds one that is right, also for a device. */
        if (at_address && (request->address < head || (request->address - head) % unit != 0))
                return -EINVAL;
        if (at_address)
                hint = (void *)(uintptr_t)(request->address - head);

        p = mmap(hint, length, prot, MAP_SHARED | (hint ? MAP_FIXED_NOREPLACE : 0), request->fd, (off_t)(request->offset - head));
        if (p == MAP_FAILED)
                return -errno;
        /* Before Linux 4.17 the flag is unknown and the hint only a hint. */
        if (hint && p != hint) {
                (void)munmap(p, length);
                return -EEXIST;
        }

        *ret_view = (struct mapping) {
                .base = (uintptr_t)p,
                .offset = request->offset - head,
                .length = length,
                .writable = request->writable,
        };
        return 0;
}

static void link_view(struct mapping_table *table, struct object *object, struct mapping *view) {
        view->object = object;
        view->next = object->views;
        if (view->next)
                view->next->previous = view;
        object->views = view;

        view->number = ++table->n_made;
        view->older = table->last;
        *(table->last ? &table->last->younger : &table->first) = view;
        table->last = view;
        table->n_views++;
}

static void unlink_view(struct mapping_table *table, struct mapping *view) {
        *(view->previous ? &view->previous->next : &view->object->views) = view->next;
        if (view->next)
                view->next->previous = view->previous;

        *(view->older ? &view->older->younger : &table->first) = view->younger;
        *(view->younger ? &view->younger->older : &table->last) = view->older;
        table->n_views--;
}

/* The link of /proc is made up from names that the kernel has in memory: no file server is asked. */
static void name_object(struct object *object, int fd) {
        static const char ellipsis[] = "…";
        char path[32], link[PATH_MAX];
        const char *tail = link;
        size_t n, head = 0;
        ssize_t r;

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        r = readlink(path, link, sizeof link);
        n = r > 0 ? (size_t)r : 0;

        if (n >= sizeof object->name) {
                size_t room = sizeof object->name - sizeof ellipsis;

                head = strlen(ellipsis);
                tail += n - room;
                n = room;
                /* Not from the middle of a character. */
                for (int i = 0; i < 3 && (*tail & 0xc0) == 0x80; i++, n--)
                        tail++;
        }

        memset(object->name, 0, sizeof object->name);
        memcpy(object->name, ellipsis, head);
        memcpy(object->name + head, tail, n);
}

static int new_view(struct mapping_table *table,
                    struct object *object,
                    const struct mapping_request *request,
                    struct mapping **ret_view) {
        struct mapping *view;
        int r;

        view = malloc(sizeof *view);
        if (!view)
                return -ENOMEM;

        r = map_view(request, request->exact_address, view);
        if (r < 0 && request->exact_address) {
                /* Taken, or not an address for this process: any view will do, an old one best. */
                *ret_view = find_view(object, request, false);
                if (*ret_view) {
                        free(view);
                        return 0;
                }
                r = map_view(request, false, view);
        }
        if (r < 0) {
                free(view);
                return r;
        }

        link_view(table, object, view);
        name_object(object, request->fd);
        *ret_view = view;
        return 0;
}

int mapping_get(struct mapping_table *table,
                const struct mapping_request *request,
                struct mapping **ret_mapping,
                uint64_t *ret_start) {
        struct object *object;
        struct mapping *view;
        int r;

        object = object_get(table, request->class->dev, request->class->inode);
        if (!object)
                return -ENOMEM;

        view = find_view(object, request, request->exact_address);
        if (!view) {
                r = new_view(table, object, request, &view);
                if (r < 0) {
                        object_gc(table, object);
                        return r;
                }
        }

        view->refs++;
        *ret_mapping = view;
        *ret_start = address_in(view, request->offset);
        return 0;
}

const char *mapping_name(const struct mapping *mapping) {
        return mapping->object->name;
}

const struct mapping *mapping_from(const struct mapping_table *table, uint64_t number) {
        const struct mapping *view = table->first;

        while (view && view->number < number)
                view = view->younger;
        return view;
}

const struct mapping *mapping_younger(const struct mapping *mapping) {
        return mapping->younger;
}

struct mapping_view mapping_view(const struct mapping *mapping) {
        return (struct mapping_view) {
                .number = mapping->number,
                .base = mapping->base,
                .length = mapping->length,
                .dev = mapping->object->dev,
                .inode = mapping->object->inode,
                .offset = mapping->offset,
        };
}

struct mapping *mapping_put(struct mapping_table *table, struct mapping *mapping) {
        struct object *object;

        if (!mapping)
                return NULL;

        assert(mapping->refs > 0);
        if (--mapping->refs > 0)
                return NULL;

        object = mapping->object;
        unlink_view(table, mapping);
        (void)munmap((void *)(uintptr_t)mapping->base, mapping->length);
        free(mapping);
        object_gc(table, object);
        return NULL;
}
