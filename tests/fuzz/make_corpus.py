#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the seed corpus into tests/corpus/: run it after a change of the protocol, and commit what it writes.

The same every time. What a fuzzer finds goes beside the seeds under another name (crash-..., by hand).
"""
import json
import os
import struct
import sys

HELLO, PING, ATTACH, DETACH, REGISTER, DEREGISTER, RELEASE, GRANT, COMMIT = range(1, 10)
REPLY, REFUSED, GOING_AWAY, REVOKING, REVOKED, SETTLED, NOTICE = 0x100, 0x200, 0x300, 0x301, 0x302, 0x303, 0x304
MAGIC, VERSION = 0x504C5331, 1
BODY = {
    HELLO: 8, PING: 0, ATTACH: 8, DETACH: 8, REGISTER: 40, DEREGISTER: 8, RELEASE: 8,
    REPLY | HELLO: 40, REPLY | PING: 0, REPLY | ATTACH: 8, REPLY | DETACH: 0, REPLY | REGISTER: 48,
    REPLY | DEREGISTER: 0, REFUSED: 488, GOING_AWAY: 432, REVOKING: 456, REVOKED: 456,
    REPLY | RELEASE: 8, SETTLED: 440, NOTICE: 448,
    GRANT: 32, COMMIT: 24, REPLY | GRANT: 24, REPLY | COMMIT: 8,
}
FDS = {ATTACH: 1, REGISTER: 1}
CONTROL, FAIL, APP, RAW = 32, 33, 34, 255
(NONE, MEMFD, SEALED, FUTURE_WRITE, READ_ONLY, PATH, PIPE, EVENT, NULL, ZERO, TTY_PATH, FOLDER, HANGING, SOCKET, TWO,
 SEVEN) = range(16)
UNREAD = 128
ODP, PINNED, ANY = 1, 2, 3
WRITE, READ = 3, 4
AWAY, CREDIT, REVOKE = 1, 8, 10
ALL, ID, FILE = range(1, 4)


def packet(op, body=None, magic=MAGIC, version=VERSION, flags=0, seq=1, length=None, reserved=0):
    body = bytes(BODY.get(op, 0)) if body is None else body
    length = 24 + len(body) if length is None else length
    return struct.pack("=IHHIIII", magic, version, op, flags, seq, length, reserved) + body


def codec():
    for op in BODY:
        if op >= REPLY and not BODY[op]:
            continue
        side = 0 if op < REPLY else 1
        yield f"right-{op:03x}", bytes([side | FDS.get(op, 0) << 1]) + packet(op)
    yield "magic", b"\0" + packet(PING, magic=1)
    yield "version", b"\0" + packet(PING, version=2)
    yield "flags", b"\0" + packet(PING, flags=1)
    yield "reserved", b"\0" + packet(PING, reserved=1)
    yield "seq", b"\0" + packet(PING, seq=0)
    yield "padded", b"\0" + packet(PING, b"\0" * 8)
    yield "short", b"\0" + packet(REGISTER, b"\0" * 8)
    yield "lie", b"\0" + packet(PING, length=1000)
    yield "fds", b"\x08" + packet(PING)
    yield "unterminated", b"\1" + packet(REFUSED, b"\0" * 16 + b"x" * 472)
    yield "guards", b"\2" + packet(REGISTER, b"\0" * 38 + struct.pack("=H", 15))
    yield "flags-register", b"\2" + packet(REGISTER, b"\0" * 39 + b"\1")
    yield "flags-register-unknown", b"\2" + packet(REGISTER, b"\0" * 39 + b"\2")
    yield "guards-unknown", b"\2" + packet(REGISTER, b"\0" * 38 + struct.pack("=H", 16))
    yield "grant-guards", b"\0" + packet(GRANT, b"\0" * 30 + struct.pack("=H", 15))
    yield "grant-guards-unknown", b"\0" + packet(GRANT, b"\0" * 30 + struct.pack("=H", 16))
    yield "commit-reserved", b"\0" + packet(COMMIT, b"\0" * 20 + b"\1\0\0\0")
    yield "unterminated-notice", b"\1" + packet(NOTICE, b"\0" * 24 + b"x" * 424)
    yield "long", b"\0" + packet(PING, b"\0" * 1200)


def step(kind, body=b"", fds=NONE):
    assert len(body) < 256
    return bytes([fds, kind, len(body)]) + body


def register(context=0, pd=1, offset=0, length=4096, address=0x700000000000, access=WRITE, methods=ANY, fds=MEMFD,
             guards=0, flags=0):
    return step(REGISTER, struct.pack("=IIQQQIHBB", context, pd, offset, length, address, access, methods, guards, flags), fds)


def grant(context=0, pd=1, address=0x700000000000, length=4096, access=WRITE, methods=ANY, guards=0, fds=NONE):
    return step(GRANT, struct.pack("=IIQQIHH", context, pd, address, length, access, methods, guards), fds)


def commit(generation, slot, handle=0, lkey=0, rkey=0, fds=NONE):
    return step(COMMIT, struct.pack("=QIIII", generation << 32 | slot, handle, lkey, rkey, 0), fds)


def deregister(generation, slot, fds=NONE):
    return step(DEREGISTER, struct.pack("=Q", generation << 32 | slot), fds)


def control(kind, value=0, selector=0, cookie=0, ident=0, credit=(0, 0, 0)):
    """struct control_message"""
    return step(CONTROL, struct.pack("=4I11Q6I", kind, 0, value, selector, cookie, ident, 0, 0, 0, 2**64 - 1, *credit, 0, 0,
                                     0, 0, 0, 0, 1, 0))


def session():
    hello = step(HELLO, bytes(8))
    hello_events = step(HELLO, b"\1" + bytes(7))
    attach = step(ATTACH, bytes(8), NULL)
    start = hello + attach
    yield "hello", hello
    yield "nothing", b""
    yield "ping", hello + step(PING) * 3
    yield "order", step(PING)
    yield "twice", hello + hello
    yield "attach", start + step(ATTACH, bytes(8), ZERO) + step(DETACH, struct.pack("=II", 1, 0))
    yield "attach-many", hello + attach * 17
    yield "register", start + register() + deregister(1, 0) + deregister(1, 0)
    yield "release", start + register() + step(RELEASE, struct.pack("=Q", 1 << 32)) * 2
    yield "guards", start + register(guards=15) + register(guards=1, fds=SEALED) + register(guards=16)
    yield "prefetch", step(HELLO, b"\4" + bytes(7)) + attach + register(methods=ODP, flags=1) + \
        register(methods=ODP, access=READ, flags=1, fds=SEALED) + register(flags=1) + register(flags=2)
    yield "grant", start + grant() + commit(1, 0) + commit(1, 0) + deregister(1, 0)
    own = step(APP, struct.pack("=QQ", 0x700000000000, 4096))
    granted = grant() + own + commit(1, 0, 0, 0x1000, 0x1001)
    yield "grant-committed", start + granted + commit(1, 0, 0, 0x1000, 0x1001) + deregister(1, 0)
    yield "grant-left", start + granted
    yield "grant-taken", start + granted + grant() + commit(2, 1, 0, 0x1000, 0x1001) + register()
    yield "grant-detached", start + granted + grant() + step(DETACH, bytes(8)) + commit(2, 1, 0, 0x1000, 0x1001)
    yield "grant-forced", hello_events + attach + granted + control(REVOKE, 0, ALL, 1) + step(PING) + deregister(1, 0)
    yield "grant-other", start + grant() + step(APP, struct.pack("=QQ", 0x700000000000, 8192)) + commit(1, 0, 0, 0x1000, 0x1001)
    yield "grant-back", start + grant() + deregister(1, 0) + commit(1, 0)
    yield "grant-many", start + grant() * 18 + register() + commit(3, 2) + step(DETACH, bytes(8)) + commit(1, 0)
    yield "grant-ranges", start + grant(address=0) + grant(length=0) + grant(address=2**64 - 4096) + \
        grant(length=2**64 - 1) + grant(length=1 << 62) + grant(context=1) + grant(fds=MEMFD)
    yield "grant-refused", start + grant(methods=PINNED) + grant(methods=0) + grant(guards=1) + grant(access=2) + grant(methods=4)
    yield "grant-foreign", start + register() + grant() + commit(2, 1, 0) + grant() + commit(3, 1, 0xFFFFFFFF) + commit(1, 0)
    yield "grant-revoked", hello_events + attach + grant() * 2 + control(REVOKE, 60000, ALL, 1) + commit(1, 0) + \
        grant() + control(AWAY, 60000) + grant() + deregister(3, 1)
    yield "methods", start + b"".join(register(methods=m) for m in range(5))
    yield "sealed", start + register(fds=SEALED) + register(fds=FUTURE_WRITE) + register(fds=FUTURE_WRITE, access=READ)
    yield "modes", start + register(fds=READ_ONLY) + register(fds=READ_ONLY, access=READ)
    for name, fds in ("path", PATH), ("pipe", PIPE), ("event", EVENT), ("chardev", NULL), ("folder", FOLDER), \
            ("hanging", HANGING), ("socket", SOCKET), ("two", TWO), ("seven", SEVEN), ("none", NONE):
        yield "fd-" + name, start + register() + register(fds=fds) + step(ATTACH, bytes(8), fds)
    yield "ranges", start + register(offset=2**64 - 4096) + register(length=0) + register(length=2**64 - 1) + \
        register(offset=1, address=0x700000000001, length=8191) + register(offset=1) + register(length=8193)
    yield "no-pd", start + register(pd=9) + register(context=9)
    yield "limit", start + register(length=8192) * 20
    yield "full", start + register(length=1) * 25 + b"".join(deregister(g + 1, g) for g in range(25))
    yield "unread", start + (register(fds=MEMFD | UNREAD) + step(PING, b"", UNREAD)) * 30 + step(PING)
    yield "away", start + register() + control(AWAY, 60000) + register() + deregister(1, 0)
    yield "away-now", start + register() + control(AWAY) + step(PING)
    yield "control-ping", start + control(2)
    yield "control-bad", start + step(CONTROL, b"abc")
    yield "control-ack", start + control(6)
    yield "control-credit", start + control(CREDIT, credit=(4096, 8192, 3)) + register() + \
        control(CREDIT, credit=(2**64 - 1, 0, 0))
    yield "revoke", hello_events + attach + register() * 3 + control(REVOKE, 60000, ALL, 1) + deregister(1, 0) + \
        control(REVOKE, 60000, ID, 2, 2 << 32 | 1) + control(REVOKE, 0, ALL, 3) + deregister(2, 1) + register()
    yield "revoke-now", hello_events + attach + register() * 3 + control(REVOKE, 0, ID, 2**64 - 1, 2 << 32 | 1) + step(PING) + \
        control(REVOKE, 0, 9, 1)
    yield "revoke-file", start + register() + control(REVOKE, 0, FILE, 1) + control(REVOKE, 60000, ALL, 2)
    yield "revoke-many", hello_events + attach + register() + control(REVOKE, 60000, ALL, 1) * 17 + step(DETACH, bytes(8))
    yield "revoke-kept", hello_events + attach + register() + step(FAIL, bytes([1, 1])) + control(REVOKE, 0, ALL, 1) + step(PING) + \
        control(REVOKE, 60000, ALL, 2) + step(PING) + deregister(1, 0)
    yield "revoke-unread", hello_events + attach + register() + \
        (register(fds=MEMFD | UNREAD) + step(PING, b"", UNREAD)) * 10 + control(REVOKE, 60000, ALL, 1) + \
        control(REVOKE, 0, ALL, 2) + step(PING)
    for error in (0, 1, 4):
        yield f"fail-{error}", start + step(FAIL, bytes([0, error])) + register() + register() + \
            step(FAIL, bytes([1, error])) + deregister(1, 0) + deregister(2, 1) + step(DETACH, bytes(8)) + register()
    yield "fail-attach", hello + step(FAIL, bytes([0, 6])) + attach + step(FAIL, bytes([1, 7])) + attach
    yield "raw", hello + step(RAW, packet(PING)) + step(RAW, packet(PING, flags=1))


LEDGER_MAGIC, LEDGER_VERSION, HEADER = 0x31726467656C6C70, 3, 2048
FREE, INTENT, LIVE, RETIRING, REVOKING = range(5)
RIGHT, UNSEALED, SHORT = 1, 2, 4
STATS = 183


def entry(state=LIVE, number=1, index=0, name=b"/memfd:buffer (deleted)", method=PINNED, backing=1, access=WRITE,
          length=4096, created=1000, size=4096, guards=0, owner=1000):
    record = struct.pack("=QQQQQQQIIIHHQQII", number << 32 | index, 0x10000, 0x20000, length, 0, 1, 3077, 0, 1, access,
                         method, backing, created, size, owner, 0)
    return struct.pack("=IIII", state, 5, 6, 7) + record + name[:104].ljust(104, b"\0") + struct.pack("=II", guards, 0)


def ledger(entries=(), flags=0, capacity=None, high=None, magic=LEDGER_MAGIC, version=LEDGER_VERSION, stats=()):
    entries = list(entries)
    capacity = len(entries) if capacity is None else capacity
    high = len(entries) if high is None else high
    numbers = list(stats) + [0] * (STATS - len(stats))
    header = struct.pack("=QIIIIQ4Q", magic, version, capacity, high, 0, 0, 0, 0, 0, 0) + struct.pack("=183Q", *numbers)
    return bytes([flags]) + header.ljust(HEADER, b"\0") + b"".join(entries)


def ledgers():
    full = 2**64 - 1
    yield "empty", ledger()
    yield "one", ledger([entry()])
    yield "states", ledger([entry(state, state + 1, state) for state in range(7)])
    yield "methods", ledger([entry(method=method, backing=method) for method in range(6)])
    yield "access", ledger([entry(access=1 << bit) for bit in range(32)] + [entry(access=2**32 - 1)])
    yield "guards", ledger([entry(guards=guards) for guards in (0, 15, 0x10e, 0x2100f, 0xaa00, 0xffffff00, 2**32 - 1)] +
                           [entry(guards=reason << 8 | reason << 12 | reason << 16 | reason << 20) for reason in range(16)])
    yield "many", ledger([entry(number=i + 1, index=i) for i in range(68)])
    yield "sparse", ledger([entry(LIVE if i in (0, 63, 64, 67) else FREE, i + 1, i) for i in range(68)])
    yield "gaps", ledger([entry(FREE)], capacity=300, high=300)
    yield "extremes", ledger([entry(length=full, created=full, size=full, number=2**32 - 1, index=2**32 - 1,
                                    access=2**32 - 1, method=65535, backing=65535, state=2**32 - 1)], stats=[full] * STATS)
    yield "counted", ledger([entry()], stats=range(1, STATS + 1))
    yield "high", ledger([entry()], high=2**32 - 1)
    yield "low", ledger([entry()] * 3, high=1)
    names = {
        "long": b"\xe2\x80\xa6" + b"a" * 100, "unterminated": b"x" * 104, "cut": b"a" * 102 + "ä".encode(),
        "terminal": b"\x1b[2J\x1b]0;root#\x07\r\n\x7f", "c1": b"\xc2\x9b31m\xc2\x80", "bytes": bytes(range(255, 152, -1)),
        "controls": bytes(range(1, 104)), "quotes": b"\"'\\x41/\\", "utf8": "größe-数据-😀…".encode(),
        "direction": "\u202ered\u202c\u2066x\u2069\u200f\u061c".encode(), "invisible": "\u200b\ufeff\u2028\u00ad".encode(),
        "tags": "\U000e0041\U000e007f\U0010ffff".encode(), "overlong": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
        "surrogate": b"\xed\xa0\x80\xed\xbf\xbf", "beyond": b"\xf4\x90\x80\x80\xf8\xfe\xff", "half": b"a\xe2\x82", "none": b"",
    }
    for name, value in names.items():
        yield "name-" + name, ledger([entry(name=value)])
    yield "names", ledger([entry(number=i + 1, index=i, name=value) for i, value in enumerate(names.values())])
    yield "version-1", bytes([SHORT]) + struct.pack("=QIIQQ", LEDGER_MAGIC, 1, 0, 0, 0)
    yield "version-2", ledger(version=2)
    yield "version-4", ledger(version=4)
    yield "magic", ledger(magic=0)
    yield "put-right", ledger([entry()], magic=0, version=0, flags=RIGHT)
    yield "unsealed", ledger([entry()], flags=UNSEALED)
    yield "exact", ledger([entry()] * 2, flags=SHORT)
    yield "short-entry", ledger([entry()] * 2, flags=SHORT)[:-1]
    yield "too-long", ledger([entry()], flags=SHORT) + b"\0"
    yield "large", ledger([entry()], flags=SHORT, capacity=2**32 - 1)
    yield "no-header", ledger(flags=SHORT)[:16]
    yield "no-file", bytes([SHORT])


def policies():
    def policy(*rules, **more):
        return json.dumps({"version": 1, "rules": list(rules), **more}).encode()

    def rule(**more):
        return {"allow": True, **more}

    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    with open(os.path.join(folder, "..", "..", "daemon", "policy-default.json"), "rb") as f:
        default = f.read()
    yield "default", default.replace(b"builtin:", b"")
    yield "default-names", default
    yield "empty", b""
    yield "smallest", b'{"version":1}'
    yield "match", policy(rule(name="all", match={
        "backing": ["fsdax", "shmem", "hugetlb", "pagecache", "other"], "access": ["read", "write"],
        "fs_type": ["ext4", "0x5a4f4653"], "path": ["/mnt/**", "/a/*/b?", "/**/c"], "uid": [0, "1-2"], "gid": "7",
        "cgroup": "/system.slice/*", "size": {"min": "1M", "max": 2**30}, "device": "mlx5_*"}),
                          rule(match={"backing": "dmabuf", "exporter": ["udmabuf", "nv*"]}), rule(match={"exporter": "*", "path": "/a"}))
    yield "actions", policy(rule(methods=["pinned", "odp"], guards=["seals", "lease", "modify", "poison"],
                                 on_layout_change="notify", grace="10min", force="kill", prefetch=True))
    yield "refuses", policy({"allow": False, "message": "größe \" \\ / \U0001f600", "name": "n"})
    yield "limits", policy(limits={"session": {"pinned": "1K", "odp": "2T", "registrations": 1},
                                   "user": {"sessions": "none", "pinned": "none"}, "total": {"odp": 2**60}},
                           defaults={"grace": "500ms", "force": "stop", "on_layout_change": "notify"})
    yield "bounds", policy(*(rule(match={"uid": n}, grace=n) for n in
                             (0, -1, 2**32 - 1, 2**64 - 1, 2**64, 1e3, "9" * 40, "0-4294967295", None, [], [[]])))
    yield "patterns", policy(*(rule(match={"path": p, "cgroup": p, "device": p, "exporter": p}) for p in
                               ("", "/", "//", "/.", "/..", "/a**", "/**/**", "*", "/?", "/a/", "/" + "*a" * 300, "/\u0000", "/\u202e")))
    yield "covered", policy(rule(match={"path": "/a/**", "uid": "1-9"}), rule(match={"path": ["/a/b", "/a/*"], "uid": [1, "2-3"]}),
                            rule(), rule())
    yield "warnings", policy(rule(match={"backing": "hugetlb"}, guards="lease"),
                             rule(match={"backing": "fsdax"}, methods="pinned", prefetch=True))
    yield "grace", policy(rule(grace="23s"), rule(grace=22500), defaults={"grace": 22501})
    yield "names", policy(rule(name="a"), rule(name="a"), rule(name="builtin:x"), rule(name="x" * 48), rule(name=""))
    yield "wrong", policy(1, [], None, "x", {}, {"alow": True}, {"allow": 1, "message": []}, rules_=[], version_=2)
    yield "twice", b'{"version":1,"version":1,"rules":[{"allow":true,"all\\u006fw":false,"x":1,"x":2}]}'
    yield "escapes", b'{"\\u0000":1,"\\ud800":1,"\\ud83d\\ude00":1,"\\u001b[2J":1,"\\/\\b\\f\\n\\r\\t\\"\\\\":1,"\\x":1}'
    yield "numbers", b"[0,-0,01,1.,.5,1e5,1E+5,1e,-,+1,0x1,NaN,Infinity,-Infinity,1-2]"
    for i, text in enumerate((b"1.0", b"-", b"1e", b"tru", b"truee", b"null", b"[1,]", b"{,}", b"[1 2]", b'{"a" 1}', b"{1:2}", b"[",
                              b'"', b'"\\', b'"a\tb"', b'"a\nb"', b"'a'", b"[] []", b"// x\n{}", b"\xef\xbb\xbf{}", b'"\xff"',
                              b'"\xed\xa0\x80"', b"[\0]", b"\v[]", b"[]\0", b"[" * 16 + b"]" * 16, b"[" * 17 + b"]" * 17,
                              b"[" * 10000, b'{"a":' * 2000)):
        yield f"text-{i:02}", text
    yield "utf8", '{"version":1,"rules":[{"name":"größe-数据-😀","allow":true}]}'.encode()
    yield "control", '{"version":1,"rules":[{"name":"a\u202eb\u009bc\ufeff","allow":true}]}'.encode()


def proc():
    yield "mounts", (b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
                     b"0 0 0:1 / / rw shared:1 master:2 - rootfs rootfs rw\n"
                     b"1 2 3:4 / /a\\040b\\011c\\012d\\134e rw - fuse.sshfs x rw\n")
    yield "mount-name", b"1 2 3:4 / /a\\040-\\040ext4 rw - fuse x rw\n1 2 3:4 /-\\040ext4 /b rw - fuse x rw\n"
    yield "mount-escapes", b"1 2 3:4 / /\\400\\09\\000\\ rw - ext4 x rw"
    yield "mount-short", b"1 2 3:4 / /a rw -\n1 2 3:4 / /a rw - \n1 2 3:4 / \n1 2 3:4\n1 2 3\n\n"
    yield "maps", (b"55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]\n"
                   b"7f0000000000-7f0000001000 r--p 00001000 fe:01 12345                      /usr/lib/a b\n"
                   b"7f0000000000-7f0000001000 rw-s 00000000 00:01 1034                       /dev/zero (deleted)\n"
                   b"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n")
    yield "maps-name", (b"7f0000000000-7f0000001000 rw-p 00000000 fe:01 7 /a\\012[heap]\n1-2 rw-p 0 0:0 0 [anon:/a]\n"
                        b"1-2 rw-p 0 0:0 0 /a\n1-2 rw-p 0 0:0 0 [vdso]\n2-1 rw-p 0 0:0 0\n")
    yield "fdinfo", (b"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t7\nlock:\t1: OFDLCK ADVISORY  READ -1 00:0f:7 0 EOF\n"
                     b"size:\t65536\ncount:\t2\nexp_name:\tudmabuf\nname:\tx\nexp_name:\tdrm\n")
    yield "fdinfo-names", b"exp_name:\t\nexp_name:\t" + b"x" * 95 + b"\nexp_name:\t" + b"x" * 96 + b"\nexp_name:\ta\xffb\nexp_name:\ta\x1bb\nexp_name:\ta"
    yield "mount-numbers", b"99999999999 4294967295 4294967295:99999999999999999999 / / rw - ext4 x rw\n-1 -2 -3:-4 / / - x\n"


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "..", "corpus")
    for name, seeds in (("fuzz_codec", codec()), ("fuzz_ledger", ledgers()), ("fuzz_policy", policies()),
                        ("fuzz_proc", proc()), ("fuzz_session", session())):
        folder = os.path.join(root, name)
        os.makedirs(folder, exist_ok=True)
        for seed, data in seeds:
            with open(os.path.join(folder, seed), "wb") as f:
                f.write(data)


main()
