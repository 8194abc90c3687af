"""Frames on the control channel to the warden, as in orchestrator/frames/frame.h and stream.h."""

from __future__ import annotations

import _thread
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
REPLY = 0x09
VALUE = 0x45
FAULT = 0x46
CALL = 0x47
UP = 0x61
END = 0x62
CHECKED = 0x63  # validation let the program pass; before its first instruction

Frame = tuple[int, int, int, bytes]  # type, flags, id, payload


class Lost(Exception):
    """The channel is closed, or is no longer ours: a program may close or reuse any descriptor."""


class Wire:
    def __init__(self, fd: int = FD) -> None:
        self.fd = fd
        self.pid = os.getpid()
        self.buffer = bytearray()
        # Frames of several threads do not mix. A signal handler may send while its thread does.
        self.sending = _thread.RLock()
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

    def send(self, kind: int, data: bytes = b"", flags: int = 0, ident: int = 0) -> None:
        head = bytes((kind, flags)) + ident.to_bytes(2, "little") + len(data).to_bytes(4, "little")
        # Asked before the lock: in a child process whoever held it may not exist.
        if not self.is_ours():
            raise Lost
        with self.sending:
            view = memoryview(head + data)
            while view:
                try:
                    view = view[os.write(self.fd, view) :]
                except OSError:
                    raise Lost from None

    def send_parts(self, kind: int, data: bytes, ident: int = 0) -> None:
        """All of it, and nothing of other threads in between."""
        if not self.is_ours():
            raise Lost
        with self.sending:
            for at in range(0, len(data), MAX):
                part = data[at : at + MAX]
                self.send(kind, part, MORE if at + len(part) < len(data) else 0, ident)

    def receive(self) -> Frame:
        """The next frame. Blocks; raises Lost at the end of the channel."""
        while True:
            frame = self.take()
            if frame is not None:
                return frame
            self.fill()

    def take(self) -> Frame | None:
        """The next frame of what has been read, if there is a whole one."""
        buffer = self.buffer
        if len(buffer) < HEAD:
            return None
        end = HEAD + int.from_bytes(buffer[4:HEAD], "little")
        if len(buffer) < end:
            return None
        ident = int.from_bytes(buffer[2:4], "little")
        frame = buffer[0], buffer[1], ident, bytes(memoryview(buffer)[HEAD:end])
        del buffer[:end]
        return frame

    def fill(self) -> None:
        """Reads once. Blocks while nothing is there; raises Lost at the end of the channel."""
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

        # A default that the program has set would hold for this socket as well.
        timeout = _socket.getdefaulttimeout()
        _socket.setdefaulttimeout(None)
        channel = _socket.socket(fileno=self.fd)
        _socket.setdefaulttimeout(timeout)
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
