"""One container with the real warden and worker, driven as the front does."""

from __future__ import annotations

import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable

import engine
import frames

TOP = pathlib.Path(__file__).resolve().parents[2]
IMAGE = os.environ.get("ONESHOT_IMAGE", "oneshot/python")
SLIM_IMAGE = os.environ.get("ONESHOT_SLIM_IMAGE", "oneshot/python-slim")
# Set to test the warden and the worker of the working tree instead of those in the image.
SOURCES = os.environ.get("ONESHOT_TEST_SOURCES", "")
LABEL = "oneshot.test"
USER = "65534:65534"


class StreamEnded(Exception):
    """The container ended the stream."""


def profile() -> str:
    return (TOP / "policies" / "seccomp-python.json").read_text()


def create_body(image: str, work: str, warm: str, extra: dict[str, object]) -> dict[str, object]:
    owner = "uid=65534,gid=65534"
    memory = int(extra.pop("memory", 256 << 20))  # type: ignore[call-overload]
    sizes = {"work": "64m", "tmp": "32m", "shm": "8m", "inodes": "4096", **extra.pop("tmpfs", {})}  # type: ignore[dict-item]
    binds = []
    if SOURCES:
        binds = [
            f"{os.environ['ONESHOT_TEST_WORKER']}:/oneshot/worker:ro",
            f"{os.environ.get('ONESHOT_TEST_WARDEN', TOP / 'build/release/warden')}:/oneshot/warden:ro",
        ]
    options = f"rw,noexec,nosuid,nodev,nr_inodes={sizes['inodes']}"
    return {
        "Image": image,
        "User": USER,
        "Hostname": "sandbox",
        "WorkingDir": work,
        "Entrypoint": ["/oneshot/warden"],
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            f"HOME={work}",
            "LANG=C.UTF-8",
            "TMPDIR=/tmp",
            "PYTHONDONTWRITEBYTECODE=1",
            "OMP_NUM_THREADS=1",
            "OPENBLAS_NUM_THREADS=1",
            f"ONESHOT_WORK={work}",
            f"ONESHOT_WARM={warm}",
        ],
        "AttachStdin": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Labels": {LABEL: "1"},
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges=true", f"seccomp={profile()}"],
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(extra.pop("cpus", 2) * 10**9),  # type: ignore[operator]
            "PidsLimit": extra.pop("pids", 64),
            "OomScoreAdj": 1000,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Tmpfs": {
                work: f"{options},size={sizes['work']},mode=0700,{owner}",
                "/tmp": f"{options},size={sizes['tmp']},mode=1777",
                "/dev/shm": f"rw,noexec,nosuid,nodev,size={sizes['shm']},mode=1777",
            },
            "Ulimits": [
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": 256, "Hard": 256},
                {
                    "Name": "fsize",
                    "Soft": extra.get("fsize", 64 << 20),
                    "Hard": extra.pop("fsize", 64 << 20),
                },
            ],
            "LogConfig": {"Type": "none"},
            "Binds": binds,
        },
    }


class Box:
    """A container, created, attached, started and ready."""

    def __init__(
        self,
        image: str = SLIM_IMAGE,
        work: str = "/work",
        warm: str = "",
        is_ready: bool = True,
        **extra: object,
    ) -> None:
        name = f"oneshot-test-{uuid.uuid4().hex[:12]}"
        body = create_body(image, work, warm, extra)
        assert not extra, f"unknown options {sorted(extra)}"
        self.id = engine.call("POST", f"/containers/create?name={name}", body)["Id"]  # type: ignore[index]
        self.stream = engine.Stream(self.id)
        self.work = work
        engine.call("POST", f"/containers/{self.id}/start")
        self.started = time.monotonic()
        if is_ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + engine.DEADLINE_S
        while len(self.stream.data) < len(frames.READY_BYTES):
            if not self.stream.more(deadline):
                raise StreamEnded(bytes(self.stream.other))
        assert bytes(self.stream.data) == frames.READY_BYTES
        self.stream.data.clear()

    def next(self, deadline: float) -> tuple[int, int, int, bytes]:
        data = self.stream.data
        while len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8], "little"):
            if not self.stream.more(deadline):
                raise StreamEnded(bytes(self.stream.other))
        size = int.from_bytes(data[4:8], "little")
        assert size <= frames.MAX
        kind, flags, ident = data[0], data[1], int.from_bytes(data[2:4], "little")
        payload = bytes(data[8 : 8 + size])
        del data[: 8 + size]
        return kind, flags, ident, payload

    def send(self, data: bytes) -> None:
        self.stream.send(data)

    def start(
        self,
        code: str | bytes,
        *,
        meta: dict[str, object] | None = None,
        files: bytes = b"",
        stdin: bytes | None = None,
        **numbers: int,
    ) -> None:
        """Sends one job. Inputs are what frames.entry makes, one behind the other."""
        head = {"filename": "<string>", "stdin": stdin is not None, **(meta or {})}
        text = code if isinstance(code, bytes) else code.encode("utf-8", "surrogatepass")
        data = frames.job(**numbers) + frames.parts(frames.META, json.dumps(head).encode())
        data += frames.parts(frames.CODE, text) + files + frames.frame(frames.GO)
        if stdin is not None:
            data += frames.parts(frames.STDIN, stdin)
        self.send(data)
        self.sent = time.monotonic()

    def wait(self, within: float = engine.DEADLINE_S) -> frames.Result:
        """Everything up to RESULT."""
        deadline = time.monotonic() + within
        result = frames.Result()
        while not result.end:
            kind, _, _, payload = self.next(deadline)
            result.add(kind, payload)
        result.elapsed_s = time.monotonic() - self.sent
        return result

    def wait_for(self, kind: int, text: bytes = b"", within: float = engine.DEADLINE_S) -> bytes:
        """The payload of the next frame of this kind that contains `text`."""
        deadline = time.monotonic() + within
        while True:
            got, _, _, payload = self.next(deadline)
            if got == kind and text in payload:
                return payload

    def run(self, code: str | bytes, **options: object) -> frames.Result:
        self.start(code, **options)  # type: ignore[arg-type]
        return self.wait()

    def wait_exit(self, within: float = engine.DEADLINE_S) -> int:
        """Waits until the container has ended by itself. Its exit status."""
        connection = engine.Connection()
        connection.timeout = within
        connection.request("POST", f"{engine.API}/containers/{self.id}/wait")
        reply = json.loads(connection.getresponse().read())
        connection.close()
        return int(reply["StatusCode"])

    def processes(self) -> list[str]:
        """Command lines of what runs in the container now."""
        top = engine.call("GET", f"/containers/{self.id}/top?ps_args=-o%20pid,args")
        return [row[-1] for row in top["Processes"] or []]  # type: ignore[index]

    def wait_until(self, holds: Callable[[], bool], within: float = engine.DEADLINE_S) -> None:
        """Asks again and again: for what happens in the container and sends no frame."""
        deadline = time.monotonic() + within
        while not holds():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.02)

    def wait_alone(self) -> None:
        """Until the warden is the only process."""
        self.wait_until(lambda: len(self.processes()) == 1)

    def states(self) -> set[str]:
        """What the kernel says that its threads do: R(uns or would), S(leeps), D(isk), …"""
        top = engine.call("GET", f"/containers/{self.id}/top?ps_args=-L%20-o%20pid,stat")
        return {row[-1][0] for row in top["Processes"] or []}  # type: ignore[index]

    def wait_quiet(self) -> None:
        """Until no process uses processor time any more: all are done or blocked.

        One that a busy machine lets wait for a processor uses none either, and is not quiet.
        """
        used: list[int] = []

        def is_quiet() -> bool:
            if self.states() & set("RD"):
                used.clear()
                return False
            stats = engine.call("GET", f"/containers/{self.id}/stats?stream=false&one-shot=true")
            used.append(stats["cpu_stats"]["cpu_usage"]["total_usage"])  # type: ignore[index]
            return len(used) > 3 and used[-1] - used[-4] < 1_000_000

        self.wait_until(is_quiet, within=engine.DEADLINE_S)

    def remove(self) -> None:
        self.stream.close()
        engine.call("DELETE", f"/containers/{self.id}?force=1&v=1")

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
