"""The few calls of the Docker Engine API that the tests need, and the attached stream."""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import time

SOCKET = os.environ.get("DOCKER_SOCKET", "/var/run/docker.sock")
API = ""  # the version that the engine speaks by itself: newer ones refuse 1.41
DEADLINE_S = 120.0  # for what should take no time, on the busiest of machines


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str = SOCKET) -> None:
        super().__init__("docker", timeout=DEADLINE_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(self.path)


def call(method: str, path: str, body: object = None, at: str = SOCKET) -> object:
    connection = Connection(at)
    headers = {"Content-Type": "application/json"}
    data = None if body is None else json.dumps(body)
    try:
        connection.request(method, API + path, data, headers)
        reply = connection.getresponse()
        text = reply.read()
    finally:
        connection.close()
    if reply.status >= 400:
        raise RuntimeError(f"{method} {path}: {reply.status} {text[:300]!r}")
    return json.loads(text) if text.strip() else None


def has_image(name: str) -> bool:
    try:
        call("GET", f"/images/{name}/json")
    except RuntimeError:
        return False
    return True


class Stream:
    """The hijacked connection of an attach: 8-byte heads, standard output within (stream 1)."""

    def __init__(self, container: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(SOCKET)
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        head = (
            f"POST {API}/containers/{container}/attach?{query} HTTP/1.1\r\nHost: docker\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self.raw = bytearray()
        self.data = bytearray()
        self.other = bytearray()  # what the engine itself put on stream 2
        while b"\r\n\r\n" not in self.raw:
            self.raw += self.socket.recv(4096)
        reply, _, rest = bytes(self.raw).partition(b"\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 101"), reply
        self.raw = bytearray(rest)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self, deadline: float) -> bool:
        """Waits for more of standard output. False at the end of the stream."""
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        got = self.socket.recv(1 << 16)
        self.raw += got
        while len(self.raw) >= 8:
            kind, size = self.raw[0], struct.unpack(">I", self.raw[4:8])[0]
            if len(self.raw) < 8 + size:
                break
            target = self.data if kind == 1 else self.other
            target += self.raw[8 : 8 + size]
            del self.raw[: 8 + size]
        return bool(got)

    def close(self) -> None:
        self.socket.close()
