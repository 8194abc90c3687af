"""Host calls as any program may make them: frames of its own on the worker's channel."""

import http.server
import json
import os
import threading

import pytest
import yaml
from observe import pool, slim
from service import Service

# The warden is in the images; a build under another tag is tested with TAG, as images/build.sh.
SLIM = f"oneshot/python-slim:{os.environ.get('TAG', 'latest')}"
BUDGET = 20
LARGE = 10 << 20

# What a program needs to speak for itself; the worker's own modules are not used.
FRAMES = """
import json, os
def send(kind, number, data, more=0):
    frame = bytes((kind, more)) + number.to_bytes(2, "little") + len(data).to_bytes(4, "little")
    view = memoryview(frame + data)
    while view:
        view = view[os.write(3, view):]
def call(number, name, **args):
    send(0x47, number, json.dumps({"kind": "tool", "name": name, "args": args}).encode())
def take(n):
    data = bytearray()
    while len(data) < n:
        data += os.read(3, n - len(data))
    return bytes(data)
def reply():
    text = bytearray()
    while True:
        head = take(8)
        assert head[0] == 9, head
        text += take(int.from_bytes(head[4:], "little"))
        if not head[1] & 1:
            return int.from_bytes(head[2:4], "little"), json.loads(text)
"""


class Tool(http.server.BaseHTTPRequestHandler):
    """POST /echo gives the arguments back, /large a text of 10 MiB, /slow nothing until the end."""

    protocol_version = "HTTP/1.1"
    done = threading.Event()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slow":
            self.done.wait(120)
        if self.path == "/large":
            body = b'"' + b"x" * (LARGE - 2) + b'"'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def running(homes):
    Tool.done.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tool)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tools = homes / "host-calls.yaml"
    tools.write_text(yaml.safe_dump({"modules": [{
        "name": "data", "url": f"http://127.0.0.1:{server.server_address[1]}",
        "functions": [{"name": name, "path": f"/{name}"} for name in ("echo", "large", "slow")],
    }]}))
    nothing = {"min": 0}
    one = Service(homes / "host-calls", patience_s=60, settings={"tools": {"file": str(tools)}},
                  policies={
        "default": slim(image=SLIM, pool=nothing),
        "calls": slim(image=SLIM, tools=["data"], calls={"budget": BUDGET}, pool=pool(1)),
        "telemetry": slim(image=SLIM, network="none", pool=nothing),
        "aiq": slim(image=SLIM, pool=nothing, workspace={"path": ""}),
    })
    try:
        yield one.start()
    finally:
        Tool.done.set()
        one.remove()
        server.shutdown()
        server.server_close()


def run(service, code, policy="calls", **more):
    reply = service.native(FRAMES + code, policy=policy, **more)
    assert reply.status == 200, reply.text
    return reply.json


def output(service, code, **more):
    got = run(service, code, **more)
    assert got["outcome"] == "ok", got
    return got["stdout"].splitlines()


def test_a_call_is_answered(running):
    assert output(running, """
call(7, "data.echo", a=1, b=12345678901234567890)
print(reply())
call(7, "other.echo")
print(reply())
""") == ["(7, {'result': {'a': 1, 'b': 12345678901234567890}})",
         "(7, {'error': {'type': 'PermissionError', "
         "'message': \"'other.echo' is not allowed by this policy\"}})"]


def test_a_thousand_at_once_are_answered_and_the_budget_holds(running):
    found = json.loads(output(running, """
for i in range(1000):
    call(i, "data.echo", i=i)
got = dict(reply() for _ in range(1000))
good = sorted(i for i, text in got.items() if text == {"result": {"i": i}})
said = {text["error"]["message"] for text in got.values() if "error" in text}
print(json.dumps([len(got), good, sorted(said)]))
""")[0])
    said = f"MCP tool 'echo' call budget of {BUDGET} exceeded"
    assert found == [1000, list(range(BUDGET)), [said]]


def test_large_results_arrive_whole(running):
    assert output(running, """
for i in range(4):
    call(i, "data.large")
print(sorted((i, len(text["result"])) for i, text in (reply() for _ in range(4))))
""") == [str([(i, LARGE - 2) for i in range(4)])]


def front_memory(service):
    pid = service.children()["front"]
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def test_a_program_that_reads_no_replies_ends_at_its_deadline(running):
    before = front_memory(running)
    got = run(running, """
for i in range(20):
    call(i, "data.large")
print("waiting", flush=True)
while True:
    pass
""", timeout=10)
    assert (got["outcome"], got["stdout"]) == ("timeout", "waiting\n")
    assert front_memory(running) - before < 600 << 20


def test_a_run_does_not_wait_for_calls_that_it_leaves_behind(running):
    got = run(running, """
call(1, "data.slow")
print("left")
""", timeout=30)
    assert (got["outcome"], got["stdout"]) == ("ok", "left\n")


def test_a_number_that_is_in_use_ends_the_program(running):
    got = run(running, """
print("so far", flush=True)
call(1, "data.slow")
call(1, "data.slow")
while True:
    pass
""", timeout=30)
    assert (got["outcome"], got["stdout"]) == ("code_error", "so far\n")
    assert "host call" in json.dumps(got)


def test_a_program_cannot_say_that_validation_blocked_it(running):
    got = run(running, """
send(0x62, 0, (1).to_bytes(4, "little") + bytes(4) + (1).to_bytes(4, "little"))
while True:
    pass
""", timeout=30)
    assert got["outcome"] == "code_error", got
