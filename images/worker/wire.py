"""Frames on the control channel to the warden, as in orchestrator/frames/frame.h and stream.h."""

from __future__ import annotations

import os

FD = 3
STDIN_FD = 4  # the pipe that feeds the first run's standard input

HEAD = 8
MAX = 65536
MORE = 0x01

META = 0x02
CODE = 0x03
STDIN = 0x06  # comes with a descriptor: the pipe of a later run
GO = 0x07
VALUE = 0x45
FAULT = 0x46
UP = 0x61
END = 0x62

Frame = tuple[int, int, bytes]


class Lost(Exception):
    """The channel is closed, or is no longer ours: a program may close or reuse any descriptor."""


class Wire:
    def __init__(self, fd: int = FD) -> None:
        self.fd = fd
        self.pid = os.getpid()
        self.buffer = bytearray()
        self.identity = self._identity()
        self.takes_descriptors = False
        self.descriptor: int | None = None

    def _identity(self) -> tuple[int, int]:
        state = os.fstat(self.fd)
        return state.st_dev, state.st_ino

    def is_same_descriptor(self) -> bool:
        try:
            return self._identity() == self.identity
        except OSError:
            return False

    def is_ours(self) -> bool:
        """The descriptor still is the channel, in the process that it belongs to."""
        return os.getpid() == self.pid and self.is_same_descriptor()

    def send(self, kind: int, data: bytes = b"", flags: int = 0) -> None:
        view = memoryview(bytes((kind, flags, 0, 0)) + len(data).to_bytes(4, "little") + data)
        if not self.is_ours():
            raise Lost
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except OSError:
                raise Lost from None

    def send_parts(self, kind: int, data: bytes) -> None:
        for at in range(0, len(data), MAX):
            part = data[at : at + MAX]
            self.send(kind, part, MORE if at + len(part) < len(data) else 0)

    def receive(self) -> Frame:
        """The next frame. Blocks; raises Lost at the end of the channel."""
        while True:
            if len(self.buffer) >= HEAD:
                size = int.from_bytes(self.buffer[4:HEAD], "little")
                if len(self.buffer) >= HEAD + size:
                    frame = self.buffer[0], self.buffer[1], bytes(self.buffer[HEAD : HEAD + size])
                    del self.buffer[: HEAD + size]
                    return frame
            data = self._read()
            if not data:
                raise Lost
            self.buffer += data

    def _read(self) -> bytes:
        try:
            if self.takes_descriptors:
                return self._read_with_descriptor()
            return os.read(self.fd, MAX + HEAD)
        except OSError:
            return b""

    def _read_with_descriptor(self) -> bytes:
        import _socket

        channel = _socket.socket(fileno=self.fd)
        try:
            data, extra, _, _ = channel.recvmsg(MAX + HEAD, _socket.CMSG_SPACE(4))
        finally:
            channel.detach()
        for _, kind, content in extra:
            if kind == _socket.SCM_RIGHTS:
                self.descriptor = int.from_bytes(content[:4], "little")
        return data


def end_report(exit_code: int, number: int, is_blocked: bool, is_no_memory: bool) -> bytes:
    """The payload of END: exit status 0 to 255, errno of the error that ended it or 0."""
    bits = is_blocked | is_no_memory << 1
    return b"".join(value.to_bytes(4, "little") for value in (exit_code, number, bits))
