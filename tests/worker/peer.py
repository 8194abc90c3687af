"""A worker as a plain process, its control channel in the hand of the test: who answers calls."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import frames

WORKER = pathlib.Path(__file__).resolve().parents[2] / "images" / "worker"
DEADLINE_S = 120.0
UP, END, CHECKED = 0x61, 0x62, 0x63

# The seed's tools, shortened, and some that are made to be awkward.
MODULES = [
    {
        "name": "data",
        "doc": "Devices and their history.",
        "functions": [
            {"name": "get_devices", "doc": "All devices of the house.", "parameters": []},
            {
                "name": "query_device_history",
                "doc": "History of one device.",
                "parameters": [
                    {"name": "entity_id", "type": "string", "required": True, "doc": "Which one."},
                    {"name": "start_time", "type": "string", "required": True},
                    {"name": "end_time", "type": "string", "required": True},
                    {"name": "fields", "type": "array", "required": False},
                ],
            },
            {
                "name": "search_events",
                "doc": "Events.\nNewest first.",
                "parameters": [
                    {"name": "entity_id", "type": "string", "required": False},
                    {"name": "start_time", "type": "string", "default": "-24h"},
                    {"name": "limit", "type": "integer", "default": 100, "doc": "At most so many."},
                ],
            },
        ],
    },
    {
        "name": "odd",
        "functions": [
            {
                "name": "list-users",
                "doc": 'Says """hello""" \\ bye',
                "strict": True,
                "parameters": [
                    {"name": "from", "type": "string", "required": False},
                    {"name": "page size", "type": "integer", "required": True},
                ],
            },
        ],
    },
]

Answer = Callable[[str, dict[str, object]], object]


class Failing(Exception):
    """Raised by an answer: {"type", "message"} of the error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.content = {"error": {"type": kind, "message": message}}


def echo(name: str, args: dict[str, object]) -> object:
    return {"name": name, "args": args}


class Peer:
    """The other end of the channel of one worker."""

    def __init__(self, work: pathlib.Path) -> None:
        self.work = work
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        stdin, feeder = os.pipe()
        # Above both targets, so that neither overwrites the other.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs.fileno(), stdin)]
        environment = {"PATH": os.environ["PATH"], "ONESHOT_WORK": str(work), "HOME": str(work)}
        place = 'exec "$@" 3<&{0} 4<&{1} {0}<&- {1}<&-'.format(*high)
        self.process = subprocess.Popen(
            ["bash", "-c", place, "worker", sys.executable, "-I", "-B", "-X", "utf8", str(WORKER)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=work,
            env=environment,
            pass_fds=high,
        )
        for fd in (theirs.detach(), stdin, feeder, *high):
            os.close(fd)
        self.buffer = bytearray()
        self.received: list[tuple[int, int, int, bytes]] = []
        self.parts: dict[int, bytes] = {}
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.output = {"stdout": b"", "stderr": b""}
        self.readers = [
            threading.Thread(target=self.drain, args=(name,), daemon=True) for name in self.output
        ]
        for reader in self.readers:
            reader.start()
        assert self.next()[0] == UP

    def drain(self, name: str) -> None:
        stream = getattr(self.process, name)
        while data := os.read(stream.fileno(), 65536):
            self.output[name] += data

    def next(self) -> tuple[int, int, int, bytes]:
        buffer = self.buffer
        while len(buffer) < 8 or len(buffer) < 8 + int.from_bytes(buffer[4:8], "little"):
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError
            buffer += data
        size = int.from_bytes(buffer[4:8], "little")
        frame = (
            buffer[0],
            buffer[1],
            int.from_bytes(buffer[2:4], "little"),
            bytes(buffer[8 : 8 + size]),
        )
        del buffer[: 8 + size]
        self.received.append(frame)
        return frame

    def start(self, code: str, is_kept: bool = False, **meta: object) -> None:
        head = {"filename": "<string>", "await": True, **meta}
        tools = {"workspace": str(self.work / "workspace"), "modules": MODULES}
        head.setdefault("tools", tools)
        data = frames.parts(frames.META, json.dumps(head).encode())
        data += frames.parts(frames.CODE, code.encode())
        self.socket.sendall(data + frames.frame(frames.GO, flags=frames.MORE * is_kept))

    def next_call(self) -> tuple[int, str, dict[str, object]]:
        """The next whole call: its id, the tool, the arguments."""
        while True:
            kind, flags, ident, data = self.next()
            if kind == frames.CALL:
                whole = self.parts.pop(ident, b"") + data
                if flags & frames.MORE:
                    self.parts[ident] = whole
                    continue
                content = json.loads(whole)
                assert content.keys() == {"kind", "name", "args"} and content["kind"] == "tool"
                self.calls.append((content["name"], content["args"]))
                return ident, content["name"], content["args"]
            assert kind != END, self.finish(data)

    def reply(self, ident: int, content: object) -> None:
        data = json.dumps(content).encode()
        cut = [data[at : at + frames.MAX] for at in range(0, len(data), frames.MAX)]
        for number, part in enumerate(cut):
            flags = frames.MORE if number < len(cut) - 1 else 0
            self.push(frames.frame(frames.REPLY, part, flags, ident))

    def push(self, data: bytes) -> None:
        """Sends, and reads meanwhile, as the warden does: neither side waits for the other."""
        view = memoryview(data)
        while view:
            may_read, may_write, _ = select.select([self.socket], [self.socket], [], DEADLINE_S)
            assert may_read or may_write, "the worker neither reads nor writes"
            if may_read:
                self.buffer += self.socket.recv(1 << 20)
            if may_write:
                view = view[self.socket.send(view, socket.MSG_DONTWAIT) :]

    def wait_asleep(self) -> None:
        """Until all threads of the worker wait for something."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        deadline = time.monotonic() + DEADLINE_S
        while any(
            (task / "stat").read_text().rpartition(")")[2].split()[0] != "S"
            for task in tasks.iterdir()
        ):
            assert time.monotonic() < deadline, "the worker works on"
            time.sleep(0.005)

    def serve(self, answer: Answer = echo) -> frames.Result:
        """Answers calls one after the other until the program ends."""
        while True:
            kind, flags, ident, data = self.next()
            if kind == END:
                return self.finish(data)
            if kind != frames.CALL:
                continue
            whole = self.parts.pop(ident, b"") + data
            if flags & frames.MORE:
                self.parts[ident] = whole
                continue
            content = json.loads(whole)
            self.calls.append((content["name"], content["args"]))
            try:
                self.reply(ident, {"result": answer(content["name"], content["args"])})
            except Failing as failing:
                self.reply(ident, failing.content)

    def finish(self, end: bytes) -> frames.Result:
        result = frames.Result(end="normal", exit_code=int.from_bytes(end[:4], "little"))
        for kind, _, _, data in self.received:
            if kind in (frames.VALUE, frames.FAULT):
                result.add(kind, data)
        self.received.clear()
        return result

    def run(self, code: str, answer: Answer = echo, **meta: object) -> frames.Result:
        """One whole run, the last of its worker unless is_kept."""
        for name in self.output:
            self.output[name] = b""
        self.start(code, **meta)  # type: ignore[arg-type]
        result = self.serve(answer)
        if not meta.get("is_kept"):
            self.close()
            result.stdout, result.stderr = self.output["stdout"], self.output["stderr"]
        return result

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()  # type: ignore[union-attr]
        self.process.stderr.close()  # type: ignore[union-attr]
