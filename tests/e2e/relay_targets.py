"""Servers of the tests' own that programs reach through the relay, and those that they must not."""

from __future__ import annotations

import http.server
import pathlib
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HOST = "www.relay.test"  # the name in the certificate


class Echo(socketserver.BaseRequestHandler):
    """Sends everything back, and its end behind that."""

    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class Totals(socketserver.BaseRequestHandler):
    """Reads to the end, then says how much it was."""

    def handle(self) -> None:
        total = 0
        while data := self.request.recv(1 << 16):
            total += len(data)
        self.request.sendall(str(total).encode())


class Endless(socketserver.BaseRequestHandler):
    """Sends for as long as it is taken."""

    def handle(self) -> None:
        try:
            while True:
                self.request.sendall(bytes(1 << 16))
        except OSError:
            pass


class Deaf(socketserver.BaseRequestHandler):
    """Reads nothing, until it is let go."""

    done = threading.Event()

    def handle(self) -> None:
        self.done.wait(120)


class Late(socketserver.BaseRequestHandler):
    """Reads nothing until it is let go; then keeps count of all, up to the end."""

    go = threading.Event()
    total = 0

    def handle(self) -> None:
        self.go.wait(120)
        while data := self.request.recv(1 << 16):
            Late.total += len(data)


class Bell(socketserver.BaseRequestHandler):
    """Lets the late one go when its own connection is at its end."""

    def handle(self) -> None:
        while self.request.recv(1 << 16):
            pass
        Late.go.set()


class Reset(socketserver.BaseRequestHandler):
    """Ends with an error in the place of an end of file."""

    def handle(self) -> None:
        self.request.sendall(b"half")
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.request.close()


class Page(http.server.BaseHTTPRequestHandler):
    """Says how it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = f"{self.command} {self.path} {self.headers['Host']} {len(body)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serving(handler: Callable[..., socketserver.BaseRequestHandler], address: str = "127.0.0.1",
            context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[int]:
    """A server, at a free port unless one is named; yields the port."""
    with Server((address, port), handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port whose queue is full: who connects gets no answer, not even a refusal."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(0)
        port = one.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for other in waiting:
                other.close()


def certificates(place: pathlib.Path) -> tuple[ssl.SSLContext, str]:
    """A context for a server called HOST, and the authority's certificate."""
    ca, key = place / "ca.pem", place / "ca.key"
    request, own, own_key = place / "own.csr", place / "own.pem", place / "own.key"
    names = place / "names"
    names.write_text(f"subjectAltName=DNS:{HOST}\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", key, "-out", ca,
         "-addext", "keyUsage=critical,keyCertSign"],
        [*new, "-subj", f"/CN={HOST}", "-keyout", own_key, "-out", request],
        ["openssl", "x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", key,
         "-CAcreateserial", "-extfile", names, "-out", own],
    ):
        subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, own_key)
    return context, ca.read_text()
