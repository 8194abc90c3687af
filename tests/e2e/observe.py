"""What the tests watch from outside: the engine's socket and events, memory, processes."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import engine
from ports import free_ports
from service import LABEL, Reply, Service, wait_for

SLIM = "oneshot/python-slim"
# What loaded machines are excused for, times this. `make bench` asks with 0, for the goals.
SLACK = float(os.environ.get("ONESHOT_TEST_SLACK", "1"))
REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
READ = 1 << 16


def slim(**keys: Any) -> dict[str, Any]:
    """A policy on the small image, which starts fast."""
    return {"image": SLIM, "warm": [], "figures": False} | keys


def pool(size: int, **keys: Any) -> dict[str, Any]:
    return {"min": size, "max": size} | keys


def fixed_listeners() -> list[dict[str, Any]]:
    """Ports that a front keeps when it is started again."""
    dialects = (["aiq"], ["telemetry"], ["native", "aiq"])
    return [{"port": port, "dialects": names}
            for port, names in zip(free_ports(len(dialects)), dialects)]


def alone(**keys: Any) -> dict[str, dict[str, Any]]:
    """Policies of a service of which only `default` is parked, on the small image like the rest."""
    nothing = {"min": 0}
    return {"default": slim(**keys), "telemetry": slim(pool=nothing),
            "aiq": slim(pool=nothing, workspace={"path": ""})}


# ---- the engine, seen through a socket of ours ----


@dataclass
class Call:
    at: float  # time.time() at which the first byte of it was seen here: never too early
    method: str
    path: str  # without version and query


class EngineProxy:
    """A unix socket that carries every byte to the engine and back, and notes each request.

    `cut` ends every connection and refuses new ones until `mend`: the engine seems to be down.
    `freeze` notes requests but keeps them back until `thaw`; streams flow on.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.calls: list[Call] = []
        self.lock = threading.Lock()
        self.open: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.may_pass = threading.Event()
        self.may_pass.set()
        self.mend()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def mend(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self) -> None:
        if self.listener is None:
            return
        self.path.unlink()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        with self.lock:
            for one in self.open:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it ended by itself
            self.open.clear()

    def freeze(self) -> None:
        self.may_pass.clear()

    def thaw(self) -> None:
        self.may_pass.set()

    def since(self, start: float, end: float | None = None) -> list[Call]:
        with self.lock:
            return [c for c in self.calls if start <= c.at and (end is None or c.at <= end)]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(engine.SOCKET)
            except OSError:
                client.close()
                far.close()
                continue
            with self.lock:
                self.open += [client, far]
            threads = [threading.Thread(target=self._carry, args=pair, daemon=True)
                       for pair in ((client, far, True), (far, client, False))]
            for thread in threads:
                thread.start()
            threading.Thread(target=self._close, args=(threads, client, far), daemon=True).start()

    def _close(self, threads: list[threading.Thread], *ends: socket.socket) -> None:
        for thread in threads:
            thread.join()
        with self.lock:
            for end in ends:
                if end in self.open:
                    self.open.remove(end)
                end.close()

    def _carry(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        """A client sends a request in one piece after the last reply, so heads stand in front."""
        is_stream = False
        try:
            while data := source.recv(READ):
                if is_client and not is_stream and (head := REQUEST.match(data)):
                    path = re.sub(r"^/v[\d.]+", "", head[2].decode().partition("?")[0])
                    with self.lock:
                        self.calls.append(Call(time.time(), head[1].decode(), path))
                    is_stream = path.endswith("/attach")
                    self.may_pass.wait()
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other direction ended first


class Events:
    """The engine's own account of an instance's containers: when each was created, destroyed.

    From now on, or of what it remembers `since` a time: its last 256 events."""

    def __init__(self, instance: str, since: float | None = None) -> None:
        self.created: dict[str, float] = {}
        self.destroyed: dict[str, float] = {}
        filters = urllib.parse.quote(json.dumps({"label": [f"{LABEL}={instance}"]}))
        self.connection = engine.Connection()
        past = f"&since={since:.3f}" if since else ""
        self.connection.request("GET", f"{engine.API}/events?filters={filters}{past}")
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200
        assert self.connection.sock
        self.connection.sock.settimeout(None)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            for line in self.reply:
                event = json.loads(line)
                if event["Type"] != "container":
                    continue
                at = event["timeNano"] / 1e9
                if event["Action"] == "create":
                    self.created.setdefault(event["Actor"]["ID"], at)
                elif event["Action"] == "destroy":
                    self.destroyed.setdefault(event["Actor"]["ID"], at)
        except (OSError, ValueError, AttributeError):
            pass  # closed by the test

    def close(self) -> None:
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.connection.close()


# ---- processes ----


def ids(service: Service, running_only: bool = False, policy: str = "") -> set[str]:
    return {c["Id"] for c in service.containers()
            if (not running_only or c["State"] == "running")
            and policy in ("", c["Labels"]["oneshot.policy"])}


def pss_kb(pid: int) -> int:
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB$", text, re.M)[1])  # type: ignore


def is_alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Within, the process does not run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Watch:
    """Looks at the memory of processes until it is closed; `growth_kb` is the most of each."""

    STEP_S = 0.02

    def __init__(self, pids: dict[str, int]) -> None:
        self.pids = pids
        self.before = {name: pss_kb(pid) for name, pid in pids.items()}
        self.most = dict(self.before)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self.is_over.wait(self.STEP_S):
            for name, pid in self.pids.items():
                self.most[name] = max(self.most[name], pss_kb(pid))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self.thread.join()

    @property
    def growth_kb(self) -> dict[str, int]:
        return {name: self.most[name] - self.before[name] for name in self.pids}


# ---- clients ----


class Clients:
    """Requests side by side. A future of one that lost its connection raises an OSError."""

    def __init__(self, most: int = 64) -> None:
        self.threads = ThreadPoolExecutor(most)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown()

    def send(self, ask: Callable[..., Reply], *args: Any, **keys: Any) -> Future[Reply]:
        return self.threads.submit(ask, *args, **keys)


def wait_running(service: Service, policy: str, count: int, within: float = 60.0) -> None:
    wait_for(lambda: service.pool(policy)["running"] >= count, within, f"{count} running")


def wait_gone(service: Service, old: set[str], within: float) -> float:
    """Waits until the engine has none of these any more. Returns how long that took."""
    began = time.monotonic()
    wait_for(lambda: not old & ids(service), within, "their removal")
    return time.monotonic() - began
