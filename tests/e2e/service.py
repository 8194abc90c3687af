"""A service of the tests' own: started from the built program, asked over HTTP, ended by id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import engine
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("ONESHOT_BIN", TOP / "build/release/oneshot")).resolve()
LABEL = "oneshot.instance"
STEP_S = 0.02
SOON_S = 60.0  # for what must happen and takes no time, on a machine that has none
START_S = 120.0
STOP_S = 60.0
REPLY_S = 120.0

LISTENERS = [
    {"port": 0, "dialects": ["aiq"]},
    {"port": 0, "dialects": ["telemetry"]},
    {"port": 0, "dialects": ["native", "aiq"]},
    {"port": 0, "dialects": ["generator", "slack"]},
    {"port": 0, "dialects": ["executor"]},
]


def wait_for(ask: Callable[[], Any], within: float = SOON_S, what: str = "") -> Any:
    """Asks until the answer is true, for what nobody announces. Returns the answer."""
    deadline = time.monotonic() + within
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"in vain for {within} s: {what or ask}"
        time.sleep(STEP_S)
    return answer


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Service:
    """One `oneshot serve` with a state directory, free ports and an instance name of its own.

    `policies` maps a policy's name to the keys that it changes or adds; `settings` are merged over
    those of the test; `env` is added to the environment. With `patience_s` aiq(), telemetry() and
    native() ask again for so long while the answer is 503, which an overloaded engine may cause.
    """

    home: pathlib.Path
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    patience_s: float = 0.0
    engine_socket: str = engine.SOCKET
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o755)
        self.state = self.home / "state"
        self.output = self.home / "output"
        self.log_path = self.home / "log"
        self.config = self.home / "oneshot.yaml"
        self.instance = f"test-{os.getpid():x}-{time.monotonic_ns() & 0xFFFFFFFF:x}"

    # ---- running ----

    def write(self) -> None:
        """Settings and policies as they stand now; SIGHUP makes a running service read them."""
        places = self.home / "policies"
        shutil.copytree(TOP / "policies", places, dirs_exist_ok=True)
        for name, keys in self.policies.items():
            path = places / f"{name}.yaml"
            old = yaml.safe_load(path.read_text()) if path.exists() else {"extends": "default"}
            path.write_text(yaml.safe_dump(merge(old, keys), sort_keys=False))
        self.config.write_text(yaml.safe_dump(merge({
            "instance": self.instance,
            "state_dir": str(self.state),
            "policies": str(places),
            "listeners": LISTENERS,
        }, self.settings), sort_keys=False))

    def environment(self) -> dict[str, str]:
        own = ("ONESHOT_", "SANDBOX_", "INFLUX_", "TELEMETRY_PORT", "DEBUG", "LOG_LEVEL",
               "COHERE_", "CO_API_", "MAX_RETRIES", "GENERATE", "PROMPT_GUIDE",
               "SLACK_", "ENABLE_SLACK", "CODE_GENERATOR_URL", "EXECUT", "MAX_", "MCP_",
               "DATA_API_URL", "AUTOMATION_API_URL", "DEVICE_API_URL")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        return clean | {"OUTPUT_DATA_PATH": str(self.output)} | self.env

    def command(self, *arguments: str) -> list[str]:
        return [str(PROGRAM), *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A subcommand with this service's settings."""
        return subprocess.run(
            self.command(*arguments, "--config", str(self.config)), env=self.environment(),
            text=True, capture_output=True, timeout=REPLY_S, check=False, **options)

    def launch(self) -> Self:
        """Starts it and returns once it listens."""
        self.write()
        start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("serve", "--config", str(self.config)), cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                start_new_session=True)
        count = len(self.settings.get("listeners", LISTENERS))
        wait_for(lambda: self._read_ports(start) == count or self._is_gone(), START_S, "ports")
        assert not self._is_gone(), self.log()
        return self

    def start(self) -> Self:
        """launch, and wait until a container is parked."""
        self.launch()
        wait_for(lambda: self.get("native", "/ready").status == 200, START_S, "/ready")
        return self

    def _is_gone(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _read_ports(self, start: int) -> int:
        text = self.log_path.read_bytes()[start:].decode()
        found = re.findall(r'front(?:: |".*:")(\S+) listens at .*:(\d+)"?}?$', text, re.M)
        self.ports = {names.split(",")[0]: int(port) for names, port in found}
        return len(found)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def remove(self) -> None:
        """Ends what is left of it: the processes that it started, and its containers."""
        if not self._is_gone():
            assert self.process
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                for pid in [*self.children().values(), self.process.pid]:
                    os.kill(pid, signal.SIGKILL)
                self.process.wait(STOP_S)
        for container in self.containers():
            with contextlib.suppress(RuntimeError):  # the engine is at it already
                engine.call("DELETE", f"/containers/{container['Id']}?force=1&v=1",
                            at=self.engine_socket)

    def children(self) -> dict[str, int]:
        """Process ids of keeper and front."""
        assert self.process
        found = {}
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in tasks.read_text().split():
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue
            if len(words) > 1 and words[1].startswith(b"_"):
                found[words[1].decode()[1:]] = int(pid)
        return found

    def containers(self) -> list[dict[str, Any]]:
        """What the engine has of this instance, in any state."""
        filters = urllib.parse.quote(json.dumps({"label": [f"{LABEL}={self.instance}"]}))
        return engine.call(  # type: ignore
            "GET", f"/containers/json?all=1&filters={filters}", at=self.engine_socket)

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    # ---- asking ----

    def connect(self, dialect: str, timeout: float = REPLY_S) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.ports[dialect], timeout=timeout)

    def ask(self, dialect: str, method: str, path: str, body: bytes | None = None,
            headers: dict[str, str] | None = None, timeout: float = REPLY_S) -> Reply:
        connection = self.connect(dialect, timeout)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, dialect: str, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.ask(dialect, "GET", path, None, headers)

    def post(self, dialect: str, path: str, body: Any,
             headers: dict[str, str] | None = None) -> Reply:
        return self.ask(dialect, "POST", path, json.dumps(body).encode(),
                        {"Content-Type": "application/json"} | (headers or {}))

    def patiently(self, dialect: str, path: str, body: Any) -> Reply:
        """As a client does that may come back: what got no container is asked for again."""
        deadline = time.monotonic() + self.patience_s
        while (reply := self.post(dialect, path, body)).status == 503:
            if time.monotonic() > deadline:
                break
            time.sleep(float(reply.headers["Retry-After"]))
        return reply

    def aiq(self, code: str, timeout: float = 30) -> Reply:
        return self.patiently("aiq", "/execute", {"generated_code": code, "timeout": timeout})

    def telemetry(self, code: str, **more: Any) -> Reply:
        return self.patiently("telemetry", "/", {"code": code, **more})

    def native(self, code: str, **more: Any) -> Reply:
        return self.patiently("native", "/v1/runs", {"code": code, **more})

    def raw(self, dialect: str, data: bytes, timeout: float = REPLY_S) -> bytes:
        """Bytes as they are; everything that comes back until the service closes."""
        with socket.create_connection(("127.0.0.1", self.ports[dialect]), timeout) as connection:
            connection.sendall(data)
            got = b""
            while more := connection.recv(65536):
                got += more
            return got

    def pool(self, policy: str) -> dict[str, Any]:
        pools = self.get("native", "/v1/pools").json["pools"]
        return next(p for p in pools if p["policy"] == policy)

    def wait_parked(self, policy: str, count: int = 1, within: float = 60.0) -> None:
        wait_for(lambda: self.pool(policy)["parked"] >= count, within, f"{count} of {policy}")


def merge(old: Any, new: Any) -> Any:
    """Maps are merged key by key; everything else is replaced."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: merge(old.get(key), value) for key, value in new.items()}
