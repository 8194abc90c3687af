#!/usr/bin/env python3
"""Repairs byte strings as Python does: bytes.decode("utf-8", "replace").

Reads strings from standard input, each behind its length as 2 bytes (little-endian), and writes
what becomes of them, in UTF-8, in the same form.
"""
import struct
import sys


def main() -> None:
    data = sys.stdin.buffer.read()
    out = []
    at = 0
    while at < len(data):
        (n,) = struct.unpack_from("<H", data, at)
        at += 2
        fixed = data[at:at + n].decode("utf-8", "replace").encode()
        out.append(struct.pack("<H", len(fixed)) + fixed)
        at += n
    sys.stdout.buffer.write(b"".join(out))


main()
