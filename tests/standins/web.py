"""What the stand-ins share: an HTTP server, a log that tests wait on, and the command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import hashlib
import http
import json
import signal
import ssl
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

HEAD_MAX = 64 << 10
BODY_MAX = 256 << 20
WAIT_MAX_S = 600.0


class Watched(asyncio.StreamReader):
    """Tells when the other side is gone, while nobody reads."""

    def __init__(self) -> None:
        super().__init__(limit=HEAD_MAX)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Any) -> None:
        super().set_exception(exc)
        self.gone.set()


@dataclasses.dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    reader: Any = None
    writer: Any = None

    def json(self) -> Any:
        return json.loads(self.body) if self.body.strip() else {}

    def bearer(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() in ("bearer", "token") else ""


@dataclasses.dataclass
class Reply:
    """`body` is JSON, bytes, or an iterator of a stream's pieces."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    content_type: str = ""
    cut: int | None = None  # closes the connection after so many bytes of the body
    takeover: Callable[[], Awaitable[None]] | None = None  # owns the connection from here on

    def head(self, length: int | None) -> bytes:
        kind = self.content_type or (
            "application/octet-stream" if isinstance(self.body, bytes) else "application/json")
        lines = {"Content-Type": kind} | self.headers
        lines |= {"Transfer-Encoding": "chunked"} if length is None else {
            "Content-Length": str(length)}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        phrase = http.HTTPStatus(self.status).phrase if self.status in KNOWN else "Refused"
        return f"HTTP/1.1 {self.status} {phrase}\r\n{text}\r\n".encode()


async def hang_up() -> None:
    """As a reply's takeover: the server closes the connection without a word."""


KNOWN = {status.value for status in http.HTTPStatus}


def mask(secret: str) -> str:
    """Enough to compare a secret by, and nothing to use."""
    if not secret:
        return ""
    digest = hashlib.sha256(secret.encode()).hexdigest()[:12]
    return f"({len(secret)} characters, sha256 {digest})"


def shown_headers(headers: dict[str, str]) -> dict[str, str]:
    shown = dict(headers)
    if "authorization" in shown:
        scheme, _, secret = shown["authorization"].rpartition(" ")
        shown["authorization"] = f"{scheme} {mask(secret)}"
    if "x-api-key" in shown:
        shown["x-api-key"] = mask(shown["x-api-key"])
    return shown


class Log:
    """What happened, in order. Entries are never changed."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.news = asyncio.Event()

    def add(self, kind: str, **facts: Any) -> None:
        self.entries.append({"n": len(self.entries), "at": time.time(), "kind": kind} | facts)
        self.news.set()
        self.news = asyncio.Event()

    def find(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Entries from number `since` on; every other name is a field that has this value."""
        wanted = {k: v for k, v in query.items() if k not in ("since", "count", "timeout_s")}
        return [e for e in self.entries[int(query.get("since", "0")):]
                if all(str(e.get(k)) == v for k, v in wanted.items())]

    async def wait(self, query: dict[str, str]) -> list[dict[str, Any]]:
        """Returns when `count` entries are there or `timeout_s` is over."""
        count = int(query.get("count", "0"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(float(query.get("timeout_s", "10")), WAIT_MAX_S)):
                while len(self.find(query)) < count:
                    await self.news.wait()
        return self.find(query)


class Server:
    """An HTTP server whose subclasses answer. Everything runs in one event loop."""

    name = ""
    options: ClassVar[dict[str, dict[str, Any]]] = {}  # of the command line

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.log = Log()
        self.scheme = "https" if arguments.tls_cert else "http"
        self.tasks: set[asyncio.Task[None]] = set()

    # ---- what subclasses give ----

    async def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    async def control(self, request: Request) -> Any:
        """POST below /control; returns what is answered as JSON."""
        raise LookupError(request.path)

    async def look(self, request: Request) -> Reply:
        """GET below /control."""
        raise LookupError(request.path)

    def reset(self) -> None:
        """Back to how it was started, the log included."""
        self.log = Log()

    async def speak_other(self, request: Request) -> None:
        """A connection that does not begin with HTTP/1."""

    async def begin(self) -> None:
        pass

    # ---- control ----

    async def answer_control(self, request: Request) -> Reply:
        try:
            if request.method == "GET" and request.path == "/control/log":
                return Reply({"entries": await self.log.wait(request.query)})
            if request.method == "GET":
                return await self.look(request)
            if request.path == "/control/reset":
                self.reset()
                return Reply({"ok": True})
            return Reply(await self.control(request) or {"ok": True})
        except (LookupError, TypeError, ValueError) as error:
            return Reply({"error": f"{type(error).__name__}: {error}"}, 400)

    # ---- HTTP ----

    async def serve(self, reader: Watched, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while request := await read_request(reader, writer):
                if request.method == "PRI":
                    await self.speak_other(request)
                    break
                if not await self.respond(request):
                    break
        writer.close()

    async def respond(self, request: Request) -> bool:
        """Answers one request; false when the connection is over."""
        is_control = request.path.startswith("/control")
        work = asyncio.ensure_future(
            self.answer_control(request) if is_control else self.answer(request))
        if not await self.unless_gone(work, request):
            return False
        reply = work.result()
        if reply.takeover:
            await reply.takeover()
            return False
        sending = asyncio.ensure_future(send(request.writer, reply))
        return await self.unless_gone(sending, request) and sending.result()

    async def unless_gone(self, work: asyncio.Future[Any], request: Request) -> bool:
        """Waits for work, which ends early when the client leaves."""
        gone = asyncio.ensure_future(request.reader.gone.wait())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if work.done():
            return True
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return False

    def later(self, work: Any) -> None:
        """Goes on beside the request that asked for it."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---- life ----

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        await self.begin()

        def protocol() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(Watched(), self.serve)  # type: ignore[arg-type]

        server = await loop.create_server(
            protocol, self.arguments.host, self.arguments.port, ssl=self.tls())
        host, port = server.sockets[0].getsockname()[:2]
        print(f"{self.name} listens at {self.scheme}://{host}:{port}", flush=True)
        await over.wait()
        server.close()

    def tls(self) -> ssl.SSLContext | None:
        if not self.arguments.tls_cert:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.arguments.tls_cert, self.arguments.tls_key)
        context.set_alpn_protocols(["h2", "http/1.1"] if self.has_other() else ["http/1.1"])
        return context

    def has_other(self) -> bool:
        return type(self).speak_other is not Server.speak_other


async def read_request(reader: Watched, writer: asyncio.StreamWriter) -> Request | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    url = urllib.parse.urlsplit(target)
    headers = {name.strip().lower(): value.strip()
               for name, _, value in (line.partition(":") for line in lines)}
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    request = Request(method, url.path, query, headers, b"", reader, writer)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        request.body = b"".join([piece async for piece in read_chunks(reader)])
    elif length := int(headers.get("content-length", "0")):
        if length > BODY_MAX:
            return None
        request.body = await reader.readexactly(length)
    return request


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass


async def send(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """False when the reply is cut: the connection is of no use any more."""
    if isinstance(reply.body, AsyncIterator):
        return await send_stream(writer, reply)
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    writer.write(reply.head(len(body)) + body[:reply.cut])
    await writer.drain()
    return reply.cut is None


async def send_stream(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    writer.write(reply.head(None))
    sent = 0
    async with contextlib.aclosing(reply.body):
        async for piece in reply.body:
            if reply.cut is not None and sent + len(piece) > reply.cut:
                return False
            sent += len(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def main(kind: type[Server], words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m standins.{kind.name}", description=kind.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--tls-cert", default="", help="certificate chain, PEM")
    parser.add_argument("--tls-key", help="its key, PEM")
    for name, keys in kind.options.items():
        parser.add_argument(name, **keys)
    arguments = parser.parse_args(words)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(kind(arguments).run())


