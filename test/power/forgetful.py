#!/usr/bin/python3
"""A file system in memory that forgets, when the power is cut, what was not fsynced: forgetful.py MOUNTPOINT

It is stricter than real ones. A file's bytes survive only if that file was fsynced (or written with O_DSYNC), a name in
a directory (made, linked, renamed or removed) only if that directory was fsynced; neither brings the other along.

Commands come line by line on standard input, and each is answered by a line:
  cut nothing      the power is cut: of what was not fsynced, nothing survives
  cut names        all names survive, but no bytes that were not fsynced
  cut SEED         of each thing that was not fsynced, chance decides whether it survives
At the end of standard input it unmounts and ends. Uses fusepy and libfuse 2 (Debian: python3-fusepy).
"""

import errno
import os
import random
import signal
import stat
import sys
import threading
import time

from fusepy import FUSE, FuseOSError, Operations

SIZE = 1 << 30
BLOCK = 4096


class Node:
    """A file or a directory: what it holds, and what of that would survive."""

    numbers = 0

    def __init__(self, mode):
        Node.numbers += 1
        self.number = Node.numbers
        self.mode = mode
        self.links = 1
        self.mtime = time.time()
        self.now = {} if stat.S_ISDIR(mode) else bytearray()
        self.safe = type(self.now)()

    def sync(self):
        self.safe = self.now.copy()

    def cut(self, how, chance):
        """Becomes what survives, and so does all that is below."""
        if isinstance(self.now, dict):
            for name in sorted(self.now.keys() | self.safe.keys()):
                keep = how == "names" or (chance is not None and chance.random() < 0.5)
                if self.now.get(name) is self.safe.get(name) or keep:
                    continue
                if name in self.safe:
                    self.now[name] = self.safe[name]
                else:
                    del self.now[name]
            for node in self.now.values():
                node.cut(how, chance)
        elif chance is None or chance.random() < 0.5:
            self.now = self.safe.copy()
        self.sync()


class Forgetful(Operations):
    def __init__(self):
        self.root = Node(stat.S_IFDIR | 0o777)
        self.open_files = {}
        self.handles = 0
        self.turn = threading.Lock()

    def __call__(self, op, *args):
        with self.turn:
            return super().__call__(op, *args)

    def power_cut(self, how):
        with self.turn:
            chance = None if how in ("nothing", "names") else random.Random(how)
            self.root.cut(how, chance)

    def find(self, path):
        node = self.root
        for name in filter(None, path.split("/")):
            if not isinstance(node.now, dict):
                raise FuseOSError(errno.ENOTDIR)
            if name not in node.now:
                raise FuseOSError(errno.ENOENT)
            node = node.now[name]
        return node

    def place(self, path):
        parent, name = os.path.split(path)
        return self.find(parent), name

    def at(self, path, info):
        return self.find(path) if info is None else self.open_files[info.fh]

    def handle(self, node, info):
        self.handles += 1
        self.open_files[self.handles] = node
        info.fh = self.handles
        # The kernel keeps no pages that a cut would have to take from it.
        info.direct_io = 1
        return 0

    def enter(self, path, node):
        parent, name = self.place(path)
        if name in parent.now:
            raise FuseOSError(errno.EEXIST)
        parent.now[name] = node

    def getattr(self, path, info=None):
        node = self.at(path, info)
        size = 0 if isinstance(node.now, dict) else len(node.now)
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), node.mtime)
        counts = {"st_size": size, "st_blocks": -(-size // 512), "st_nlink": node.links, "st_ino": node.number}
        return {"st_mode": node.mode, "st_uid": os.getuid(), "st_gid": os.getgid(), **times, **counts}

    def statfs(self, path):
        return {"f_bsize": BLOCK, "f_frsize": BLOCK, "f_namemax": 255} | dict.fromkeys(
            ("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"), SIZE // BLOCK
        )

    def chmod(self, path, mode):
        self.find(path).mode = mode
        return 0

    def chown(self, path, uid, gid):
        return 0

    def utimens(self, path, times=None):
        self.find(path).mtime = times[1] if times else time.time()
        return 0

    def mkdir(self, path, mode):
        self.enter(path, Node(stat.S_IFDIR | mode))

    def rmdir(self, path):
        parent, name = self.place(path)
        if self.find(path).now:
            raise FuseOSError(errno.ENOTEMPTY)
        del parent.now[name]

    def readdir(self, path, info):
        return [".", "..", *self.find(path).now]

    def fsyncdir(self, path, datasync, info):
        self.find(path).sync()
        return 0

    def create(self, path, mode, info):
        node = Node(stat.S_IFREG | mode)
        self.enter(path, node)
        return self.handle(node, info)

    def open(self, path, info):
        return self.handle(self.find(path), info)

    def release(self, path, info):
        del self.open_files[info.fh]
        return 0

    def read(self, path, size, offset, info):
        return bytes(self.at(path, info).now[offset : offset + size])

    def write(self, path, data, offset, info):
        node = self.at(path, info)
        node.mtime = time.time()
        # Only the bytes of this call are written through.
        for held in (node.now, node.safe) if info.flags & os.O_DSYNC else (node.now,):
            held.extend(bytes(max(0, offset - len(held))))
            held[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, path, length, info=None):
        node = self.at(path, info)
        del node.now[length:]
        node.now.extend(bytes(length - len(node.now)))
        return 0

    def fsync(self, path, datasync, info):
        self.at(path, info).sync()
        return 0

    def link(self, target, source):
        node = self.find(source)
        self.enter(target, node)
        node.links += 1

    def unlink(self, path):
        parent, name = self.place(path)
        self.find(path).links -= 1
        del parent.now[name]

    def rename(self, old, new):
        parent, name = self.place(new)
        parent.now[name] = self.find(old)
        parent, name = self.place(old)
        del parent.now[name]


def obey(files):
    for line in sys.stdin:
        files.power_cut(line.split()[1])
        print("done", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    files = Forgetful()
    threading.Thread(target=obey, args=(files,), daemon=True).start()
    FUSE(
        files,
        sys.argv[1],
        raw_fi=True,
        foreground=True,
        nothreads=True,
        hard_remove=True,
        use_ino=True,
        big_writes=True,
        allow_other=True,
        attr_timeout=0,
        entry_timeout=0,
        fsname="forgetful",
    )
