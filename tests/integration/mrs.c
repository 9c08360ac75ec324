/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mrs.h"

#include <linux/netlink.h>
#include <rdma/rdma_netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "harness.h"

struct request {
        struct nlmsghdr header;
        struct nlattr attribute;
        uint32_t value;
};

/* A message's attributes, or those within one. */
struct attributes {
        const uint8_t *at, *end;
};

static bool next(struct attributes *attributes, unsigned int *ret_type, struct attributes *ret_value) {
        size_t left = (size_t)(attributes->end - attributes->at), padded;
        struct nlattr attribute;

        if (left < sizeof attribute)
                return false;
        memcpy(&attribute, attributes->at, sizeof attribute);
        CHECK(attribute.nla_len >= sizeof attribute && attribute.nla_len <= left);
        *ret_type = attribute.nla_type & ~(unsigned int)(NLA_F_NESTED | NLA_F_NET_BYTEORDER);
        *ret_value = (struct attributes) { attributes->at + sizeof attribute, attributes->at + attribute.nla_len };
        padded = (attribute.nla_len + (size_t)NLA_ALIGNTO - 1) / NLA_ALIGNTO * NLA_ALIGNTO;
        attributes->at += padded < left ? padded : left;
        return true;
}

static uint64_t number(const struct attributes *value) {
        uint64_t u64;
        uint32_t u32;

        if (value->end - value->at == sizeof u64) {
                memcpy(&u64, value->at, sizeof u64);
                return u64;
        }
        CHECK_EQUAL(value->end - value->at, sizeof u32);
        memcpy(&u32, value->at, sizeof u32);
        return u32;
}

typedef void message_handler(struct attributes attributes, void *userdata);

/* Asks for a dump. `device`: -1: of what concerns no device. */
static void dump(uint32_t command, int64_t device, message_handler *handler, void *userdata) {
        static uint8_t buffer[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
        struct request request = {
                .header = { .nlmsg_len = device < 0 ? sizeof request.header : sizeof request,
                            .nlmsg_type = (uint16_t)RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, command),
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                            .nlmsg_seq = 1 },
                .attribute = { .nla_len = sizeof request.attribute + sizeof request.value,
                               .nla_type = RDMA_NLDEV_ATTR_DEV_INDEX },
                .value = (uint32_t)device,
        };
        int sock = CHECK_CALL(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA));
        bool done = false;

        CHECK_CALL(send(sock, &request, request.header.nlmsg_len, 0));
        while (!done) {
                ssize_t n = CHECK_CALL(recv(sock, buffer, sizeof buffer, 0));

                for (const struct nlmsghdr *m = (const void *)buffer; NLMSG_OK(m, (size_t)n) && !done;
                     m = NLMSG_NEXT(m, n)) {
                        if (m->nlmsg_type == NLMSG_ERROR)
                                FAIL("the kernel does not list RDMA resources");
                        done = m->nlmsg_type == NLMSG_DONE;
                        if (!done)
                                handler((struct attributes) { (const uint8_t *)(m + 1),
                                                              (const uint8_t *)m + m->nlmsg_len },
                                        userdata);
                }
        }
        close(sock);
}

struct search {
        const char *name;
        int64_t index;
};

static void match_device(struct attributes attributes, void *userdata) {
        struct search *search = userdata;
        struct attributes value;
        int64_t index = -1;
        unsigned int type;
        bool is_it = false;

        while (next(&attributes, &type, &value)) {
                if (type == RDMA_NLDEV_ATTR_DEV_INDEX)
                        index = (int64_t)number(&value);
                if (type == RDMA_NLDEV_ATTR_DEV_NAME)
                        is_it = strcmp((const char *)value.at, search->name) == 0;
        }
        if (is_it)
                search->index = index;
}

struct list {
        struct mr_entry *entries;
        size_t size, n;
};

static void take_mr(struct attributes attributes, struct list *list) {
        struct mr_entry entry = { 0 };
        struct attributes value;
        unsigned int type;

        while (next(&attributes, &type, &value))
                switch (type) {
                case RDMA_NLDEV_ATTR_RES_LKEY:
                        entry.lkey = (uint32_t)number(&value);
                        break;
                case RDMA_NLDEV_ATTR_RES_RKEY:
                        entry.rkey = (uint32_t)number(&value);
                        break;
                case RDMA_NLDEV_ATTR_RES_MRLEN:
                        entry.length = number(&value);
                        break;
                default:
                        break;
                }
        /* Only to root. */
        CHECK(entry.lkey != 0);
        if (list->n < list->size)
                list->entries[list->n] = entry;
        list->n++;
}

static void take_message(struct attributes attributes, void *userdata) {
        struct attributes table, entry;
        unsigned int type;

        while (next(&attributes, &type, &table))
                while (type == RDMA_NLDEV_ATTR_RES_MR && next(&table, &type, &entry)) {
                        CHECK_EQUAL(type, RDMA_NLDEV_ATTR_RES_MR_ENTRY);
                        take_mr(entry, userdata);
                        type = RDMA_NLDEV_ATTR_RES_MR;
                }
}

size_t mrs_list(const char *device, struct mr_entry *ret_entries, size_t n) {
        struct list list = { .entries = ret_entries, .size = n };
        struct search search = { .name = device, .index = -1 };

        dump(RDMA_NLDEV_CMD_GET, -1, match_device, &search);
        if (search.index < 0)
                FAIL("there is no device %s", device);
        dump(RDMA_NLDEV_CMD_RES_MR_GET, search.index, take_message, &list);
        return list.n;
}
