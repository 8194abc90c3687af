#!/usr/bin/env python3
"""Sends malformed requests to a running listener and compares with a strict reader of its own.

Each input goes over a connection of its own, which is then half closed. The strict reader says how
many whole requests the bytes hold before something is wrong. The listener must answer these in
order and then give at most one error and close: an answer too many, or a success behind the first
fault, means that it reads bytes as a request which a proxy in front takes for something else.
"""
import argparse
import random
import re
import socket
import sys
import time

SEEDS = [
    b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /hello HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"GET /items/a%20b?q=1&z HTTP/1.1\r\nHost: 127.0.0.1:6000\r\nConnection: close\r\n\r\n",
    b"GET /hello HTTP/1.0\r\n\r\n",
    b"POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 24\r\n\r\n{\"code\":\"print(1)\",\"n\":1}"[:-1] + b"}",
    b"POST /json HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n{\"a\":\r\n3;x=y\r\n1}\n\r\n0\r\nT: x\r\n\r\n",
    b"POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 46\r\n\r\n"
    b"GET /canary HTTP/1.1\r\nHost: localhost\r\nX: yz\r\n\r\n"[:46],
    b"POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 38\r\n\r\n"
    b"{\"files\":[{\"b64_data\":\"aGVsbG8=\"}]}\r\n ",
    b"OPTIONS /hello HTTP/1.1\r\nHost: localhost\r\nOrigin: https://console.example\r\n"
    b"Access-Control-Request-Method: POST\r\n\r\n",
    b"PUT /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"POST /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    b"Expect: 100-continue\r\n\r\nabc",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"/", b"%00", b"%", b"?", b"\xff", b"0", b"f",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 5, 5\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\tchunked\r\n",
    b"Host: localhost\r\n", b"Host: evil.example\r\n", b"Origin: null\r\n", b" folded\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"0\r\n\r\n", b"ffffffffffffffffff\r\n",
    b"5\r\nhello\r\n",
    b"X: " + b"y" * 3000 + b"\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
    b"Cookie: a=b; c\r\n", b"{\"a\":[1,2", b"}]\"\\u0000",
    b"GET /canary HTTP/1.1\r\nHost: x\r\n\r\n",
]
KNOWN = {200, 204, 400, 403, 404, 405, 413, 414, 431, 501, 505}


def mutate(rng: random.Random) -> bytes:
    data = b"".join(rng.choice(SEEDS) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif how == 1:  # a header line, at the start of a line
            lines = [m.end() for m in re.finditer(b"\n", data)] or [0]
            at = rng.choice(lines)
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif how == 2:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1:]
        elif how == 3:
            data = data[:at] + data[at + rng.randrange(1, 5):]
        elif how == 4:
            end = min(len(data), at + rng.randrange(60))
            data = data[:end] + data[at:end] + data[end:]
        else:
            data = data[:at]
    return data


# ---- the strict reader ----

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


class Wrong(Exception):
    """The bytes at this place are no request."""


class Short(Exception):
    """The bytes end inside a request."""


def line_at(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at)
    if end < 0:
        raise Short
    # A NUL before LF looks like CR to those who use libmicrohttpd 0.9: see guard.c.
    if end == at or data[end - 1:end] not in (b"\r", b"\0"):
        raise Wrong
    return data[at:end - 1], end + 1


def framing_line_at(data: bytes, at: int) -> tuple[bytes, int]:
    """libmicrohttpd 0.9 reads bare LF between chunks and before a request; nobody else sees it."""
    end = data.find(b"\n", at)
    if end < 0:
        raise Short
    return data[at:end].removesuffix(b"\r"), end + 1


def skip_empty(data: bytes, at: int) -> int:
    """Empty lines before a request, and what begins with NUL, which it takes for one."""
    while match := re.compile(rb"\r?\n|\0[^\n]*\n").match(data, at):
        at = match.end()
    return at


def head_at(data: bytes, at: int) -> tuple[bytes, bytes, list, int]:
    at = skip_empty(data, at)
    first, at = line_at(data, at)
    parts = first.split(b" ")
    if len(parts) != 3 or not re.match(rb"HTTP/1\.[0-9]\Z", parts[2]) or not parts[1]:
        raise Wrong
    headers = []
    while True:
        if headers and data.startswith(b":\n", at):
            return parts[0], parts[2], headers, at + 2  # see guard.c
        line, at = line_at(data, at)
        if not line:
            return parts[0], parts[2], headers, at
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name) or re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise Wrong
        headers.append((name.lower(), value.strip(b" \t")))


def chunks_end(data: bytes, at: int) -> int:
    while True:
        line, at = framing_line_at(data, at)
        size = line.split(b";")[0]
        if not re.match(rb"[0-9A-Fa-f]{1,16}\Z", size):
            raise Wrong
        n = int(size, 16)
        if n == 0:
            break
        line, at = framing_line_at(data, at + n)
        if line:
            raise Wrong
    while True:
        line, at = framing_line_at(data, at)
        if not line.partition(b"\0")[0] or line.startswith(b":"):  # the latter for 0.9
            return at


def request_end(data: bytes, at: int) -> tuple[int, bool]:
    """Where the request ends, and whether the connection may live on behind it."""
    _, version, headers, at = head_at(data, at)
    values = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    lengths, codings = values.get(b"content-length", []), values.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1 or len(values.get(b"host", [])) > 1:
        raise Wrong
    if version != b"HTTP/1.0" and b"host" not in values:
        raise Wrong
    words = b",".join(values.get(b"connection", [])).lower().split(b",")
    words = [word.strip(b" \t") for word in words]
    lives = b"close" not in words and (version != b"HTTP/1.0" or b"keep-alive" in words)
    if codings:
        if codings[0].lower() != b"chunked" or version == b"HTTP/1.0":
            raise Wrong
        return chunks_end(data, at), False  # the listener closes behind every chunked body
    if lengths:
        if not re.match(rb"[0-9]+\Z", lengths[0]):
            raise Wrong
        at += int(lengths[0])
        if at > len(data):
            raise Short
    return at, lives


def whole_requests(data: bytes) -> int:
    n = at = 0
    try:
        while at < len(data):
            at, lives = request_end(data, at)
            n += 1
            if not lives:
                break
    except (Wrong, Short):
        pass
    return n


# ---- the listener's answers ----


def read_answers(data: bytes, heads: int) -> list[int]:
    """Status codes of the answers; the bodies of the first `heads` bits set are not sent."""
    found = []
    at = 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        match = re.match(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]*\r\n", data[at:])
        if end < 0 or not match:
            raise AssertionError(f"no answer at byte {at} of {data!r}")
        status = int(match[1])
        head = data[at:end + 2].lower()
        # libmicrohttpd 0.9 writes the head of some answers of its own twice, and then closes.
        if data[end + 4:].startswith(data[at:end + 4]) and b"\r\nconnection: close\r\n" in head:
            end += end + 4 - at
        at = end + 4
        if status == 100:
            continue
        length = re.search(rb"\r\ncontent-length: ([0-9]+)\r\n", head)
        found.append(status)
        if not (heads >> len(found) - 1) & 1:
            at += int(length[1]) if length else 0
    return found


def is_head(data: bytes) -> int:
    """A bit for each whole request that is HEAD, and for the one behind them."""
    bits = at = n = 0
    try:
        while at < len(data):
            start = skip_empty(data, at)
            bits |= (data[start:start + 5] == b"HEAD ") << n
            at, _ = request_end(data, at)
            n += 1
    except (Wrong, Short):
        pass
    return bits


def exchange(port: int, data: bytes, source: str) -> bytes:
    with socket.socket() as s:
        s.settimeout(60)
        s.bind((source, 0))
        s.connect(("127.0.0.1", port))
        got = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                got += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return got


def check(data: bytes, answer: bytes) -> str:
    """What is wrong with the answer, or nothing."""
    whole = whole_requests(data)
    statuses = read_answers(answer, is_head(data))
    if len(statuses) > whole + 1:
        return f"{len(statuses)} answers to {whole} requests: {statuses}"
    if any(s < 400 for s in statuses[whole:]):
        return f"a success behind the first fault: {statuses}, {whole} whole"
    # libmicrohttpd itself says 500 when a chunk's size line outgrows its buffer.
    unknown = [s for s in statuses if s not in KNOWN and s != 500]
    if unknown or b'{"fault":7' in answer:
        return f"a status that nothing should give: {statuses}"
    return ""


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, help="of the server, to watch its memory")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    rng = random.Random(args.seed)
    done = wrong = 0
    settled = 0
    while done < args.count and time.monotonic() - began < args.seconds:
        data = mutate(rng)
        # Many source addresses: one has too few ports for this many connections.
        answer = exchange(args.port, data, f"127.0.1.{1 + done % 250}")
        done += 1
        fault = check(data, answer)
        if fault:
            wrong += 1
            print(f"{fault}\n  sent {data!r}\n  got  {answer!r}")
        if wrong == 10:
            break
        if args.pid and done == 1000:
            settled = resident_kib(args.pid)
    alive = exchange(args.port, SEEDS[0], "127.0.0.1").startswith(b"HTTP/1.1 200 ")
    growth = resident_kib(args.pid) - settled if settled else 0
    print(f"http_smoke: {done} inputs in {time.monotonic() - began:.1f} s, {wrong} wrong, "
          f"memory +{growth} KiB, {'alive' if alive else 'DEAD'}")
    return int(bool(wrong) or not alive or growth > 8192)


sys.exit(main())
