"""A tool that does nothing: answers every POST with the same few bytes, on connections that stay.

usage: tiny.py. Prints its URL; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import re
import sys

REPLY = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n"
         b'{"count":1}')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Tiny(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        while (head := self.got.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.got, 0, head + 2)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self.got) < end:
                return
            self.got = self.got[end:]
            self.transport.write(REPLY)  # type: ignore[attr-defined]


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Tiny, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
