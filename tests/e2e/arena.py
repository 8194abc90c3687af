"""Hostile programs against a running service, several at once, and what holds whatever they do."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import engine
import service as services

AT_ONCE = 4
SLACK_S = 8.0  # beyond time limit and grace; the tests' machine is busy
GONE_S = 60.0
TRIES = (1, 5, 25)
BUSY_S = 120.0

# The walls of a policy without its advice before them: what it would refuse runs.
UNCHECKED = {
    "imports": {"allow": [], "block": []},
    "validation": {
        "bytes": 0, "nodes": 0, "depth": 0, "names": [], "attributes": [],
        "empty": True, "unparsed": True, "relative": True, "dynamic": True,
    },
}  # fmt: skip
# Bombs go off soon in little memory, and a slow machine has its time.
POLICIES = {
    "default": {"memory": "256MiB", "time": {"default": "120s", "max": "300s"}},
    "executor": {"time": {"max": "300s"}, **UNCHECKED},
}
HEAD = {"Content-Type": "application/json"}
CLIENT_S = 600.0
RECORD = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (\w+) (monitor|keeper|front|oneshot)\b")
OUTCOMES = set("ok code_error timeout oom pids disk output_limit blocked cancelled infra".split())


@dataclass
class Row:
    """One attack: its program, and what the reply must be.

    `out` must be the whole of stdout; `has` and `err` stand in stdout and stderr; `check` sees the
    reply. `more` goes into the request.
    """

    name: str
    code: str
    outcome: str | tuple[str, ...] = "ok"
    exit_code: int | None = None
    out: str | None = None
    has: str = ""
    err: str = ""
    timeout: float = 120
    check: Callable[[dict[str, Any]], None] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def verify(self, reply: dict[str, Any]) -> None:
        wanted = (self.outcome,) if isinstance(self.outcome, str) else self.outcome
        seen = {k: reply[k] for k in ("outcome", "exit_code", "signal", "error", "usage")}
        seen |= {k: reply[k][-600:] for k in ("stdout", "stderr")}
        assert reply["outcome"] in wanted, seen
        assert self.exit_code in (None, reply["exit_code"]), seen
        assert self.out is None or reply["stdout"] == self.out, seen
        assert self.has in reply["stdout"] and self.err in reply["stderr"], seen
        if self.check:
            self.check(reply)


def strict(body: bytes) -> dict[str, Any]:
    """JSON as the standard has it: UTF-8, no NaN, no name twice."""

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a name twice"
        return dict(pairs)

    return json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=once)


class Arena:
    """Runs the rows, AT_ONCE at a time, while an honest client asks on and on."""

    def __init__(self, service: services.Service, rows: list[Row]) -> None:
        self.service = service
        self.children = service.children()
        self.ids: set[str] = set()
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        self.honest_runs = 0
        self.honest_failure: BaseException | None = None
        self.crew = ThreadPoolExecutor(AT_ONCE)
        self.futures: dict[str, Future[dict[str, Any]]] = {}
        for row in rows:
            assert row.name not in self.futures, f"{row.name} twice"
            self.futures[row.name] = self.crew.submit(self.run, row)
        self.bystander = threading.Thread(target=self.ask_on)
        self.bystander.start()

    def note(self, container: str) -> None:
        with self.lock:
            assert container not in self.ids, "a container served twice"
            self.ids.add(container)

    def ask(self, code: str, **more: Any) -> dict[str, Any]:
        deadline = time.monotonic() + BUSY_S
        body = json.dumps({"code": code, **more}).encode()
        asked = ("native", "POST", "/v1/runs", body, HEAD, CLIENT_S)
        while (reply := self.service.ask(*asked)).status == 503:
            # Nothing was run; a client asks again when it was told to.
            assert time.monotonic() < deadline, reply.text
            self.is_over.wait(float(reply.headers["Retry-After"]))
        assert reply.status == 200, reply.text
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        parsed = strict(reply.body)
        assert parsed["outcome"] in OUTCOMES
        self.note(parsed["container"]["id"])
        return parsed

    def run(self, row: Row) -> dict[str, Any]:
        """Again with more time where a busy machine did not let it come to the first line."""
        for longer in TRIES:
            limit = row.timeout * longer
            reply = self.ask(row.code, timeout=limit, **row.more)
            assert reply["timings"]["run_ms"] < (limit + SLACK_S) * 1000, reply["timings"]
            if not (row.out and row.outcome == "timeout" and reply["stdout"] == ""):
                break
        return reply

    def reply(self, row: Row) -> dict[str, Any]:
        return self.futures[row.name].result()

    def ask_on(self) -> None:
        try:
            while not self.is_over.is_set():
                self.ask_honestly()
        except BaseException as error:
            self.honest_failure = error

    def ask_honestly(self) -> None:
        """Finds nothing of any other run, does its work, and gets its own answer."""
        word = uuid.uuid4().hex
        code = (
            "import os, sys, time\n"
            "print(sorted(os.listdir('.') + os.listdir('/dev/shm')), hasattr(os, 'marked'))\n"
            "print(len([p for p in os.listdir('/proc') if p.isdigit()]))\n"
            f"time.sleep(0.1)\nopen('mine', 'w').write('{word}')\nprint('{word}')\n"
        )
        reply = self.ask(code, timeout=120)
        assert (reply["outcome"], reply["stdout"]) == ("ok", f"[] False\n2\n{word}\n"), reply
        assert [(f["path"], f["size"]) for f in reply["files"]] == [("mine", 32)]
        self.honest_runs += 1

    def close(self) -> None:
        self.crew.shutdown(cancel_futures=True)
        self.is_over.set()
        self.bystander.join()
        assert self.honest_failure is None, self.honest_failure
        assert self.honest_runs > 0
        assert self.service.children() == self.children, "a process of the service was lost"
        services.wait_for(lambda: not self.left(), GONE_S, "containers are left")
        strange = [line for line in self.service.log().splitlines() if not RECORD.match(line)]
        assert not strange, "a record of the log is more than a line"

    def left(self) -> set[str]:
        every: Any = engine.call("GET", "/containers/json?all=1")
        return self.ids & {container["Id"] for container in every}
