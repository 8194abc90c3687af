"""Socket Mode's WebSocket, the server's side of it (RFC 6455), without any policy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import struct
from collections.abc import Callable
from typing import Any

from standins import web

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10
NORMAL, PROTOCOL_ERROR = 1000, 1002
MESSAGE_MAX = 1 << 20


class Socket:
    """One connection. `on_text` gets each message, `note` each thing worth a log entry."""

    numbers = itertools.count(1)

    def __init__(self, request: web.Request, on_text: Callable[[Socket, str], None],
                 note: Callable[..., None]) -> None:
        self.id = next(self.numbers)
        self.reader, self.writer = request.reader, request.writer
        self.key = request.headers.get("sec-websocket-key", "")
        self.on_text, self.note = on_text, note
        self.fragment = 0  # messages leave in pieces of so many bytes, a ping between them
        self.is_mute = False  # no pong is sent
        self.is_leaving = False  # told to disconnect: nothing new goes here

    # ---- to the client ----

    def frame(self, kind: int, data: bytes, is_last: bool = True) -> None:
        size = len(data)
        head = bytes([is_last << 7 | kind])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += struct.pack("!BH", 126, size)
        else:
            head += struct.pack("!BQ", 127, size)
        self.writer.write(head + data)

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, ensure_ascii=False).encode()
        step = self.fragment or len(data)
        for at in range(0, len(data), step):
            self.frame(CONTINUATION if at else TEXT, data[at:at + step], at + step >= len(data))
            if self.fragment:
                self.frame(PING, b"between")

    def close(self, code: int = NORMAL) -> None:
        self.frame(CLOSE, struct.pack("!H", code))

    def abort(self) -> None:
        self.writer.transport.abort()

    # ---- from the client ----

    async def serve(self, hello: dict[str, Any]) -> None:
        accept = base64.b64encode(hashlib.sha1((self.key + GUID).encode()).digest()).decode()
        self.writer.write((
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        self.send(hello)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.read()

    async def read(self) -> None:
        message = b""
        while True:
            is_last, kind, data = await self.read_frame()
            if kind == CLOSE:
                self.note("ws_close", socket=self.id, code=int.from_bytes(data[:2], "big"))
                self.close(int.from_bytes(data[:2], "big") or NORMAL)
                return
            if kind == PING and not self.is_mute:
                self.frame(PONG, data)
            if kind in (PING, PONG):
                self.note("ws_ping" if kind == PING else "ws_pong", socket=self.id,
                          data=data.decode("utf-8", "replace"))
            if kind in (TEXT, CONTINUATION):
                message += data
                if is_last:
                    self.on_text(self, message.decode())
                    message = b""

    async def read_frame(self) -> tuple[bool, int, bytes]:
        first, second = await self.reader.readexactly(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        if not second >> 7 or first & 0x70 or size > MESSAGE_MAX:
            self.note("ws_error", socket=self.id, what="unmasked, reserved bits or too long")
            self.close(PROTOCOL_ERROR)
            raise ConnectionResetError
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(size)
        return bool(first >> 7), first & 15, bytes(
            byte ^ key for byte, key in zip(data, itertools.cycle(mask)))
