"""The bot alone (`oneshot slack`) between a stand-in for Slack and a generator of the tests."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from standins import fixtures  # noqa: E402
from standins.running import StandIn, make_certificate  # noqa: E402

TOP = HERE.parents[1]
PROGRAM = pathlib.Path(os.environ.get("ONESHOT_BIN", TOP / "build/release/oneshot")).resolve()
STOP_S = WAIT_S = 60.0
LOOK_S = 0.02
BOT, APP = "xoxb-standin", "xapp-standin"


def result(status: str = "success", output: str = "", error: str = "",
           files: dict[str, bytes] | None = None, retries: int = 0, **more: Any) -> dict[str, Any]:
    """A reply of the generator, as its contract has it."""
    return {"code": "print(1)", "result": {
        "status": status, "output": output, "error": error, "return_code": status != "success",
        "files": [{"name": name, "data": base64.b64encode(data).decode(),
                   "type": "image" if name.endswith((".png", ".svg")) else "file"}
                  for name, data in (files or {}).items()]},
        "retries": [{"attempt": n + 1, "error": "E"} for n in range(retries)]} | more


class Generator:
    """POST /api/generate-code: answers with `reply`, held back while `gate` is closed."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] = result()
        self.status = 200
        self.prompts: queue.Queue[str] = queue.Queue()
        self.gate = threading.Event()
        self.gate.set()
        self.left = threading.Event()  # a client was gone when its reply was to be written
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/api/generate-code" and set(body) == {"prompt"}
                owner.prompts.put(body["prompt"])
                owner.gate.wait(STOP_S)
                data = json.dumps(owner.reply).encode()
                try:
                    self.send_response(owner.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    owner.left.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Bot:
    """One `oneshot slack` with a state directory of its own. `settings` are those of `slack:`."""

    home: pathlib.Path
    slack: StandIn
    generator: str
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)  # other settings
    process: subprocess.Popen[bytes] | None = None

    def start(self, connected: bool = True) -> Self:
        """Returns once it is connected over Socket Mode."""
        config = self.home / "oneshot.yaml"
        slack = {"bot_token": BOT, "app_token": APP, "channel": "C1",
                 "api_url": f"{self.slack.url}/api/", "generator_url": self.generator}
        config.write_text(yaml.safe_dump(
            {"state_dir": str(self.home / "state"), "drain": "5s",
             "log": {"level": "debug"}, "slack": slack | self.settings} | self.more))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLACK_", "ONESHOT_"))}
        before = len(self.slack.log(kind="ws_open"))
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "slack", "--config", str(config)], cwd=self.home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean | self.env)
        if connected:
            self.slack.wait(before + 1, kind="ws_open")
        return self

    def log(self) -> str:
        return (self.home / "log").read_text()

    def wait_log(self, word: str, within_s: float = WAIT_S) -> None:
        """Nobody announces what is logged: looks again and again."""
        deadline = time.monotonic() + within_s
        while word not in self.log():
            assert time.monotonic() < deadline, f"no {word!r} in: {self.log()}"
            time.sleep(LOOK_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def remove(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)

    # ---- what people see ----

    def send(self, text: str, **more: Any) -> dict[str, Any]:
        """A message to it; returns what identifies its thread."""
        return self.slack.control("/event", text=text, **more)

    def texts(self, sent: dict[str, Any], count: int, **more: Any) -> list[str]:
        """The first `count` messages of its thread, once they are there."""
        found = self.slack.wait(count, kind="message", thread_ts=sent["ts"], **more)
        return [entry["text"] for entry in found]

    def ask(self, text: str, count: int, **more: Any) -> list[str]:
        return self.texts(self.send(text, **more), count)


slack_process, slack = fixtures.slack_process, fixtures.slack_standin


@pytest.fixture
def generator() -> Iterator[Generator]:
    one = Generator()
    yield one
    one.close()


@pytest.fixture
def make_bot(slack: StandIn, generator: Generator) -> Iterator[Callable[..., Bot]]:
    made: list[Bot] = []

    def make(**options: Any) -> Bot:
        home = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-slack-"))
        home.chmod(0o755)
        made.append(Bot(home, options.pop("slack", slack),
                        options.pop("generator", generator.url), **options))
        return made[-1]

    yield make
    for one in made:
        one.remove()
        shutil.rmtree(one.home)


@pytest.fixture
def bot(make_bot: Callable[..., Bot]) -> Bot:
    return make_bot().start()


@pytest.fixture(scope="session")
def secure_slack(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StandIn, pathlib.Path]]:
    """Speaks TLS; its certificate is for localhost."""
    place = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(place, "localhost")
    with StandIn("slack", "--tls-cert", str(certificate), "--tls-key", str(key),
                 ca_file=certificate) as one:
        one.url = f"https://localhost:{one.port}"
        yield one, certificate
