"""Walks tests/errors.yaml: every way in which a request ends badly, on every dialect."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import threading

import engine
import pytest
import service as services
import test_metrics_format
import yaml
from observe import EngineProxy
from service import wait_for

TABLE = yaml.safe_load((services.TOP / "tests/errors.yaml").read_text())
DIALECTS = ("aiq", "telemetry", "native", "executor")
ASKED = (*DIALECTS, "generator")  # its programs are a model's: see test_generator.py
ROUTES = {"aiq": "/execute", "telemetry": "/", "native": "/v1/runs",
          "executor": "/execute",
          "generator": "/api/generate-code"}
POLICIES = {"aiq": "aiq", "telemetry": "telemetry", "native": "default",
            "executor": "executor"}
FILES = {"aiq": "<string>", "telemetry": "snippet.py", "native": "main.py",
         "executor": "<agent>"}
STAGES = ("queue", "take", "run", "collect")
# The executor's policy permits little: the programs here would be refused before they run.
FREE = {"imports": {"allow": ["*"]}, "validation": {"names": [], "attributes": []}}
VARYING = ("id", "usage", "timings", "container", "not_enforced")
PLAIN_RESULT = {
    "outcome": None, "exit_code": None, "signal": None, "stdout": "", "stderr": "",
    "truncated": {"stdout": False, "stderr": False}, "result": None, "error": None, "files": [],
    "omitted": [],
}
EXECUTOR_VARYING = ("execution_time", "memory_used_mb")
EXECUTOR_RESULT = {"success": False, "stdout": "", "stderr": "", "return_value": None,
                   "error": None}
MANY = [{"filename": f"{i}", "path": f"{i}", "b64_data": "", "data": ""} for i in range(101)]
BODIES = {
    "raw_nul": b'{"code": "a\0b"}',
    "not_utf8": b'{"code": "\xff"}',
    "byte_order_mark": b"\xef\xbb\xbf{}",
    "nested": b"[" * 1000 + b"]" * 1000,
    "many_values": b"[" + b"1," * 200_000 + b"1]",
    "long_text": b'{"x": "' + b"x" * (8 << 20) + b'"}',
    "many_files": json.dumps({"code": "1", "files": MANY}).encode(),
    "large_head": b"{}",
}


def fill(value, words):
    """The texts of a row with what stands for something replaced."""
    if isinstance(value, dict):
        return {key: fill(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, words) for item in value]
    if value in words:
        return words[value]
    if not isinstance(value, str):
        return value
    if value.startswith("X*"):
        digits = value[2:].partition("<")[0]
        value = "x" * int(digits) + value[2 + len(digits):]
    return value.replace("FILE", words["FILE"])


def check_error(dialect, path, reply, status, text):
    shape = TABLE["errors"][dialect]
    form = shape.get(status, shape["json"])
    wanted = fill(form, {"TEXT": text, "STATUS": status, "PATH": path,
                         "JSON decode error: TEXT": f"JSON decode error: {text}",
                         "TITLE": TABLE["titles"].get(status), "FILE": FILES.get(dialect, "")})
    assert (reply.status, reply.json) == (status, wanted)
    assert list(reply.json) == list(wanted), "the order of the keys"
    assert reply.headers["Content-Type"] == shape["type"]
    assert "X-Run-Id" not in reply.headers or status == 503


def check_result(dialect, reply, wanted):
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-Run-Id"]
    assert len(reply.headers["X-Container-Id"]) == 64
    assert re.fullmatch(", ".join(rf"{stage};dur=[\d.]+" for stage in STAGES),
                        reply.headers["Server-Timing"])
    got = reply.json
    if dialect == "native":
        assert not any(got.pop(key) is None for key in VARYING)
        wanted = PLAIN_RESULT | wanted
    elif dialect == "executor":
        assert all(got.pop(key) >= 0 for key in EXECUTOR_VARYING)
        wanted = EXECUTOR_RESULT | wanted
        assert list(got) == list(wanted), "the order of the keys"
    else:
        wanted = wanted["json"]
        assert list(got) == list(wanted), "the order of the keys"
    assert got == fill(wanted, {"FILE": FILES[dialect]})


def check(dialect, path, reply, wanted):
    if isinstance(wanted, list):
        wanted = {"status": wanted[0], "text": wanted[1]}
    if "text" in wanted:
        check_error(dialect, path, reply, wanted["status"], wanted["text"])
    elif wanted.get("status", 200) != 200 and "json" in wanted:
        assert (reply.status, reply.json) == (wanted["status"], wanted["json"])
    else:
        check_result(dialect, reply, wanted)
    for name, value in wanted.get("headers", {}).items():
        assert reply.headers[name] == value, name


def program(dialect, code, timeout=None):
    """The body that asks for it."""
    if dialect == "aiq":
        return {"generated_code": code, "timeout": timeout or 60}
    limits = {"timeout": timeout} if timeout and dialect == "native" else {}
    return {"code": code, **limits}


# A busy machine brings four programs to the same point one after the other: none may end meanwhile.
LONG_S = 300
LONG = {"time": {"default": f"{LONG_S}s", "max": f"{LONG_S}s"}}


def run(service, dialect, code, timeout=None):
    return service.post(dialect, ROUTES[dialect], program(dialect, code, timeout))


def at_once(ask, dialects=DIALECTS):
    """The answers of all dialects, asked at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(DIALECTS)) as pool:
        return dict(zip(dialects, pool.map(ask, dialects)))


def walk(section):
    rows = TABLE[section]
    return pytest.mark.parametrize("row", rows, ids=[row["name"] for row in rows])


# ---- what is wrong with the request ----


def announced(service, dialect, path, length):
    """Only the head is sent."""
    connection = service.connect(dialect)
    with contextlib.closing(connection):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        reply = connection.getresponse()
        return services.Reply(reply.status, reply.headers, reply.read())


def send(service, dialect, path, row):
    if "announce" in row:
        return announced(service, dialect, path, row["announce"])
    method = row.get("method", "POST")
    body = BODIES[row["with"]] if "with" in row else row.get("body")
    body = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": "application/json"} | row.get("headers", {})
    if row.get("with") == "large_head":
        headers["X-Large"] = "x" * 11_000
    headers = {key: value for key, value in headers.items() if value is not None}
    return service.ask(dialect, method, path, body, headers)


@walk("requests")
def test_what_is_wrong_with_a_request_is_said(service, row):
    for dialect in ASKED:
        if dialect in row:
            path = row.get("path", ROUTES[dialect])
            check(dialect, path, send(service, dialect, path, row), row[dialect])


# ---- what becomes of a program ----


@pytest.fixture(scope="module")
def special(homes):
    """The services of the table, started when a row first asks for one."""
    with contextlib.ExitStack() as stack:
        made = {}

        def get(name):
            if name not in made:
                one = services.Service(homes / name, **TABLE["services"][name])
                stack.callback(one.remove)
                made[name] = one.start()
            return made[name]

        yield get


@walk("programs")
def test_what_becomes_of_a_program_is_told(special, row):
    service = special(row.get("service", "small"))
    for policy in POLICIES.values():
        service.wait_parked(policy)
    replies = at_once(lambda d: run(service, d, row["code"], row.get("timeout")))
    for dialect, reply in replies.items():
        check(dialect, ROUTES[dialect], reply, row[dialect])


# ---- what goes wrong around it ----

RUNS_ON = """
import subprocess
print('a', flush=True)
for _ in range(4):
    subprocess.Popen(['sleep', '1000'])
subprocess.Popen(['sleep', '1000']).wait()
"""


def is_running(container):
    """Whether the program RUNS_ON has come to its end in there: its children are seen."""
    try:
        top = engine.call("GET", f"/containers/{container}/top")
    except RuntimeError:  # it is being started or removed
        return False
    return len(top["Processes"]) >= 7


def wait_running(service, dialect):
    """The container in which that dialect's program runs."""
    policy = POLICIES[dialect]

    def find():
        for one in service.containers():
            if one["Labels"]["oneshot.policy"] == policy and is_running(one["Id"]):
                return one["Id"]
        return None

    return wait_for(find, 60, f"{dialect} runs")


def for_all(keys):
    """The policies of all dialects with these keys."""
    keys = {"pool": {"min": 1}} | keys
    return {name: keys | (FREE if name == "executor" else {}) for name in POLICIES.values()}


class Outage:
    """Brings about what the rows call their state; each gives the reply of a dialect."""

    def __init__(self, make_service, special):
        self.make_service = make_service
        self.special = special

    def without(self, keys=(), **options):
        keys = {"queue": {"wait": "1s"}} | dict(keys)
        return self.make_service(policies=for_all(keys), **options).launch()

    def no_image(self):
        service = self.without(keys={"image": "oneshot/there-is-none"})
        for policy in POLICIES.values():
            wait_for(lambda p=policy: f"policy '{p}': image" in service.log(), what="the refusal")
        return at_once(lambda d: run(service, d, "print(1)"))

    def no_engine(self):
        nowhere = f"unix://{self.special('small').home}/nowhere.sock"
        service = self.without(settings={"engine": {"host": nowhere}})
        wait_for(lambda: "the engine does not answer" in service.log(), 60)
        return at_once(lambda d: run(service, d, "print(1)"))

    def keeper_stopped(self):
        service = self.without(keys={"image": "oneshot/there-is-none"})
        keeper = service.children()["keeper"]
        os.kill(keeper, signal.SIGSTOP)
        try:
            return at_once(lambda d: run(service, d, "print(1)"))
        finally:
            os.kill(keeper, signal.SIGCONT)

    def lost(self, break_it, **options):
        """Every dialect's program runs, then something breaks."""
        hasty = TABLE["services"]["hasty"]["policies"]
        policies = {name: keys | LONG for name, keys in hasty.items()}
        service = self.make_service(policies=policies, **options).start()
        with concurrent.futures.ThreadPoolExecutor(len(DIALECTS)) as pool:
            replies = {d: pool.submit(run, service, d, RUNS_ON, LONG_S) for d in DIALECTS}
            containers = [wait_running(service, d) for d in DIALECTS]
            break_it(service, containers)
            return {d: reply.result() for d, reply in replies.items()}

    def container_lost(self):
        def kill(_, containers):
            for one in containers:
                engine.call("POST", f"/containers/{one}/kill")

        return self.lost(kill)

    def engine_lost(self):
        proxy = EngineProxy(self.special("small").home / "engine.sock")
        try:
            return self.lost(lambda *_: proxy.cut(), settings={"engine": {"host": proxy.url}})
        finally:
            proxy.mend()

    def keeper_killed(self):
        def kill(service, _):
            os.kill(service.children()["keeper"], signal.SIGKILL)

        return self.lost(kill)


@pytest.fixture
def outage(make_service, special):
    return Outage(make_service, special)


def rows_of(*states):
    rows = [row for row in TABLE["outages"] if row["state"] in states]
    assert len(rows) == len(states)
    return rows


ALONE = rows_of("no_image", "no_engine", "keeper_stopped", "container_lost", "engine_lost",
                "keeper_killed")


@pytest.mark.parametrize("row", ALONE, ids=[row["name"] for row in ALONE])
def test_an_outage_is_told(outage, row):
    for dialect, reply in getattr(outage, row["state"])().items():
        check(dialect, ROUTES[dialect], reply, row[dialect])


@pytest.fixture
def busy(make_service):
    """Makes services with one container for each dialect, all in use until the service ends."""
    gone: list[threading.Thread] = []
    made: list[services.Service] = []

    def make(**queue):
        keys = {"image": "oneshot/python-slim", "warm": [], "queue": queue} | LONG
        service = make_service(
            settings={"pools": {"containers": len(DIALECTS)}, "drain": "1s"},
            policies=for_all(keys)).launch()
        made.append(service)
        for name in POLICIES.values():
            service.wait_parked(name, 1, 120)
        for dialect in DIALECTS:
            gone.append(threading.Thread(target=run_and_leave, args=(service, dialect)))
            gone[-1].start()
        for dialect in DIALECTS:
            wait_running(service, dialect)
        return service

    yield make
    for service in made:
        service.remove()
    for thread in gone:
        thread.join()


def test_a_wait_in_vain_is_told(busy):
    (row,) = rows_of("waited_in_vain")
    service = busy(max=8, wait="1s")
    replies = at_once(lambda d: run(service, d, "print(1)"))
    for dialect, reply in replies.items():
        check(dialect, ROUTES[dialect], reply, row[dialect])


def test_a_full_line_is_told(busy):
    (row,) = rows_of("line_is_full")
    service = busy(max=1, wait="10m")
    for dialect in DIALECTS:
        waiting = threading.Thread(target=run_and_leave, args=(service, dialect))
        waiting.start()
        wait_for(lambda d=dialect: service.pool(POLICIES[d])["waiting"] == 1)
        check(dialect, ROUTES[dialect], run(service, dialect, "print(1)"), row[dialect])
    service.remove()


def run_and_leave(service, dialect):
    """A run that only the end of the service ends."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        run(service, dialect, RUNS_ON, LONG_S)


def cancelled(service):
    families = test_metrics_format.check_text(service.get("native", "/metrics").text)
    return {s.labels["dialect"]: s.value for s in families["oneshot_runs"].samples
            if s.labels["outcome"] == "cancelled"}


def test_a_client_that_leaves_cancels_its_run(special):
    (row,) = rows_of("client_gone")
    service = special("small")
    for dialect in DIALECTS:
        assert row[dialect] == "no reply"
        before = cancelled(service).get(dialect, 0)
        connection = service.connect(dialect)
        connection.request("POST", ROUTES[dialect], json.dumps(program(dialect, RUNS_ON)),
                           {"Content-Type": "application/json"})
        container = wait_running(service, dialect)
        connection.close()
        wait_for(lambda d=dialect, n=before: cancelled(service).get(d, 0) == n + 1)
        wait_for(lambda c=container: all(one["Id"] != c for one in service.containers()))


def test_every_outcome_has_a_row():
    source = (services.TOP / "orchestrator/core/run_result.c").read_text()
    names = set(re.findall(r'\[OUTCOME_\w+\] = "(\w+)"', source))
    told = {row["native"]["outcome"] for row in TABLE["programs"]}
    told |= {row["native"]["outcome"] for row in TABLE["outages"] if "outcome" in row["native"]}
    told |= {"cancelled"}  # by who has gone: `no reply`
    assert len(names) == 10
    assert told == names


def test_every_row_is_walked():
    states = {row["state"] for row in TABLE["outages"]}
    own = {"line_is_full", "waited_in_vain", "client_gone"}
    assert states == own | {row["state"] for row in ALONE}
    for section in ("programs", "outages"):
        assert all(set(DIALECTS) <= row.keys() for row in TABLE[section])
    for section in ("requests", "programs", "outages"):
        names = [row["name"] for row in TABLE[section]]
        assert len(names) == len(set(names))
