"""The whole loop without any account: a sentence goes to the generator's port, a plot comes out.

Stand-ins take the places of the model (Cohere), of the telemetry database (InfluxDB 3) and, with
--slack, of Slack; everything else is the real thing. Nothing stays but the files of the answer.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ports import free_ports, is_free
from standins.running import TOP, StandIn

PROMPT = "plot inverter voltage vs current from the last hour"
PROGRAM = TOP / "build/release/oneshot"
TAG = os.environ.get("TAG", "latest")  # as images/build.sh
USUAL_PORT = 3030
START_S, REPLY_S, STOP_S, STEP_S = 120.0, 300.0, 60.0, 0.05
# Nothing of a service that is set up here finds its way into this one.
OWN = ("ONESHOT_", "SANDBOX_", "INFLUX", "TELEMETRY_", "SLACK_", "ENABLE_SLACK", "COHERE_",
       "CO_API_", "GENERAT", "MAX_RETRIES", "PROMPT_GUIDE", "CODE_GENERATOR_URL", "DEBUG",
       "LOG_LEVEL")


class Failure(Exception):
    """What the reader of the demonstration is told."""


def say(what: str, text: str) -> None:
    print(f"{what:>10}  {text}", flush=True)


def free_port() -> int:
    """The generator's own where nobody has it."""
    return USUAL_PORT if is_free(USUAL_PORT) else free_ports(1)[0]


class Service:
    """`oneshot serve` with a state of its own."""

    def __init__(self, home: pathlib.Path, variables: dict[str, str]) -> None:
        self.home, self.log_path = home, home / "log"
        # The process that speaks HTTP is another user, which reads the policies.
        home.chmod(0o755)
        self.copy_policies()
        config = home / "oneshot.yaml"
        config.write_text(json.dumps({
            "instance": f"demo-{os.getpid()}", "state_dir": str(home / "state"),
            "policies": str(home / "policies"),
            "generate": {"guide": str(TOP / "prompt-guide.txt.example")},
            "listeners": [{"port": free_port(), "dialects": ["generator", "slack"]}]}))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OWN)}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", "--config", str(config)], cwd=home, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=kept | variables | {"ONESHOT_RUN_TAG": TAG},
                start_new_session=True)

    def copy_policies(self) -> None:
        """Those that are needed: every other one would park containers."""
        place = self.home / "policies"
        place.mkdir()
        shutil.copy(TOP / "policies/seccomp-python.json", place)
        for name in ("default.yaml", "telemetry.yaml"):
            shutil.copy(TOP / "policies" / name, place)

    def port(self) -> int:
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"generator listens at 127\.0\.0\.1:(\d+)", self.log())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"the service does not listen:\n{self.log()}")
            time.sleep(STEP_S)
        return int(found[1])

    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self) -> None:
        """It removes its containers."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_S)


@contextlib.contextmanager
def running(variables: dict[str, str]) -> Iterator[Service]:
    home = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-demo-"))
    try:
        service = Service(home, variables)
        try:
            yield service
        finally:
            service.stop()
    finally:
        shutil.rmtree(home)


# ---- asking ----


def events(port: int, prompt: str) -> Iterator[tuple[str, Any]]:
    """What the port says, as it comes: pairs of an event's name and its data."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REPLY_S)
    connection.request("POST", "/api/generate-code", json.dumps({"prompt": prompt}),
                       {"Content-Type": "application/json", "Accept": "text/event-stream"})
    reply = connection.getresponse()
    if reply.status != http.client.OK:
        raise Failure(f"status {reply.status}: {reply.read().decode()}")
    name = ""
    for line in reply:
        key, _, value = line.decode().rstrip("\r\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)
    connection.close()


def show(name: str, data: Any, told: set[str]) -> None:
    if name == "generating" and not {"generating", str(data["attempt"])} <= told:
        told |= {"generating", str(data["attempt"])}
        say("model", f"attempt {data['attempt']}: it is asked for a program")
    elif name == "code":
        say("model", f"it wrote {len(data['code'].splitlines())} lines")
    elif name == "running":
        say("sandbox", "the program runs in a container without a network")
    elif name in ("stdout", "stderr"):
        for line in data["text"].splitlines():
            say(name, line)
    elif name == "retry":
        say("failed", data["error"].strip().splitlines()[-1])


def ask(port: int, prompt: str) -> dict[str, Any]:
    told: set[str] = set()
    for name, data in events(port, prompt):
        if name == "error":
            raise Failure(data["body"]["error"])
        if name == "result":
            if data["result"]["status"] != "success":
                raise Failure(data["result"]["error"] or data["result"]["output"])
            return data  # type: ignore[no-any-return]
        show(name, data, told)
    raise Failure("the answer ended early")


def ask_in_slack(slack: StandIn, prompt: str) -> None:
    """As a user who writes to the bot; what it says is shown as it comes."""
    slack.wait(kind="ws_open", timeout_s=START_S)
    sent = slack.control("/event", text=f"!agent {prompt}", user="U1", channel="C1")
    say("slack", f"U1: !agent {prompt}")
    upload = slack.wait(kind="file", count=2, timeout_s=START_S, thread_ts=sent["ts"])
    for message in slack.get(f"/control/messages?channel=C1&thread_ts={sent['ts']}"):
        if message.get("user") != "U1":
            say("slack", f"bot: {message['text']}")
    for file in upload:
        say("slack", f"bot: [{file['name']}, {file['size']} bytes]")


def save(result: dict[str, Any], place: pathlib.Path) -> list[pathlib.Path]:
    place.mkdir(parents=True, exist_ok=True)
    saved = []
    for file in result["files"]:
        path = place / pathlib.PurePath(file["name"]).name
        path.write_bytes(base64.b64decode(file["data"]))
        saved.append(path)
    return saved


def demonstrate(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(StandIn("cohere"))
        data = stack.enter_context(
            StandIn("influxdb3", "--seed", str(options.seed), python=sys.executable))
        say("stand-ins", f"model at {model.url}, telemetry at {data.url}")
        variables = {
            "COHERE_API_KEY": "standin-key", "CO_API_URL": model.url,
            "INFLUX_URL": "http://influxdb3:8181", "INFLUX_ADDRESS": f"127.0.0.1:{data.port}",
            "INFLUX_TOKEN": "standin-token", "INFLUX_DB": "telemetry",
            "INFLUX_TABLE": "telemetry"}
        if options.slack:
            slack = stack.enter_context(StandIn("slack"))
            variables |= {
                "ENABLE_SLACK": "true", "SLACK_API_URL": f"{slack.url}/api/",
                "SLACK_BOT_TOKEN": "xoxb-standin", "SLACK_APP_TOKEN": "xapp-standin",
                "SLACK_DEFAULT_CHANNEL": "C1"}
        service = stack.enter_context(running(variables))
        port = service.port()
        say("service", f"http://127.0.0.1:{port}/api/generate-code")
        try:
            say("prompt", options.prompt)
            answer = ask(port, options.prompt)
            for path in save(answer["result"], options.output):
                say("saved", str(path))
            if options.slack:
                ask_in_slack(slack, options.prompt)
        except (Failure, AssertionError, OSError) as failure:
            raise Failure(f"{failure}\nthe service's log:\n{service.log()}") from failure


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the telemetry (1)")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("oneshot-demo"),
                        help="directory of the files (oneshot-demo)")
    parser.add_argument("--prompt", default=PROMPT, help=f"what is asked ({PROMPT!r})")
    parser.add_argument("--slack", action="store_true", help="ask once more, as a user of Slack")
    return parser.parse_args()


def main() -> int:
    # Ctrl-C and the end of a terminal clean up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        demonstrate(read_options())
    except Failure as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
