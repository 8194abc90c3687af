"""executor, port 8030: return values, validation, tools over the stream, figures."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys

import pytest
import service as services
from ports import closed_port
from prometheus_client.parser import text_string_to_metric_families
from standins.home import COMPLEX, SIMPLE

wait_for = sys.modules["service"].wait_for

# The worker is in the images; a build under another tag is tested with TAG, as images/build.sh.
SLIM = f"oneshot/python-slim:{os.environ.get('TAG', 'latest')}"

TOKEN = "executor-token-9x"
SECRET = "tool-credential-7q"

KEYS = ["success", "stdout", "stderr", "return_value", "execution_time", "memory_used_mb", "error"]


def policies(**keys):
    return {"executor": {"image": SLIM} | keys}


def places(url):
    return {"DATA_API_URL": url, "AUTOMATION_API_URL": url, "DEVICE_API_URL": url}


@pytest.fixture(scope="module")
def executing(homes, home_process):
    one = services.Service(homes / "executor", env=places(home_process.url), patience_s=60,
                           policies=policies(pool={"min": 2}, calls={"log": "text"}))
    try:
        yield one.start()
    finally:
        one.remove()


@pytest.fixture
def home(home_standin):
    return home_standin


def ask(one, code, **more):
    return one.patiently("executor", "/execute", {"code": code, **more})


def run(one, code, **more):
    reply = ask(one, code, **more)
    assert reply.status == 200, reply.text
    assert list(reply.json) == KEYS
    return reply.json


@contextlib.contextmanager
def asking(one, code):
    """A request under way; what it yields waits for the reply."""
    connection = one.connect("executor")
    try:
        connection.request("POST", "/execute", json.dumps({"code": code}))
        yield lambda: json.loads(connection.getresponse().read())
    finally:
        connection.close()


def value(one, code, **more):
    got = run(one, code, **more)
    assert got["success"] and got["error"] is None, got
    return got["return_value"]


def refused(one, body, headers=None):
    reply = one.ask("executor", "POST", "/execute", body, {"Content-Type": "application/json"}
                    | (headers or {}))
    return reply.status, reply.json


# ---- the seed's two programs ----


def test_the_simple_query_of_the_seed(executing, home):
    got = run(executing, SIMPLE)
    assert got["success"], got
    assert got["stdout"] == "Found 17 lights\n"
    assert got["return_value"] == {
        "total_devices": 99, "lights": 17,
        "sample_lights": ["light.living_room_0", "light.garage_6", "light.office_12"]}
    assert [e["tool"] for e in home.log(kind="call")] == ["get_devices"]


def test_the_complex_analysis_of_the_seed(executing, home):
    got = run(executing, COMPLEX)
    assert got["success"], got
    assert re.fullmatch(r"Analyzing \d+ power sensors\n", got["stdout"])
    sensors = int(got["stdout"].split()[1])
    assert got["return_value"] == {"power_sensors": sensors, "data_points": 1000,
                                   "high_usage_events": 28, "patterns_found": 1}
    asked = [(e["tool"], json.loads(e["body"])) for e in home.log(kind="call")]
    assert asked[1][0] == "query_device_history"
    assert asked[1][1]["start_time"] == "-7d" and "fields" not in asked[1][1]
    assert asked[2] == ("detect_patterns", {"start_time": "-7d", "end_time": "now",
                                            "pattern_types": ["time-based"]})


# ---- return values ----


@pytest.mark.parametrize(("code", "wanted"), [
    ("1 + 1", 2),
    ("x = 5", None),
    ("_ = 10 * 5", 50),
    ("_ = 1\n'later'", "later"),
    ("try:\n    {'a': 1}\nexcept Exception as e:\n    {'error': str(e)}", {"a": 1}),
    ("try:\n    {'a': 1 / 0}\nexcept Exception as e:\n    {'error': str(e)}",
     {"error": "division by zero"}),
    ("if 1 > 2:\n    'yes'\nelse:\n    'no'", "no"),
    ("if 0:\n    1\n", None),
    ("try:\n    x = 1\nexcept ValueError:\n    2\nelse:\n    'else'", "else"),
    ("class C:\n    def __enter__(self): return 3\n    def __exit__(self, *a): pass\n"
     "with C() as c:\n    c * 2", 6),
    ("(1, {2})", [1, [2]]),
    ("{1: 'a', None: 2, 'b': (1.5, True)}", {"1": "a", "null": 2, "b": [1.5, True]}),
    ("float('nan')", None),
    ("import decimal\ndecimal.Decimal('1.5') * 2", 3.0),
    ("import datetime\ndatetime.datetime(2026, 12, 1, 8)", "2026-12-01T08:00:00"),
    ("'\\u00e4\\U0001f600'", "ä😀"),
    ("10 ** 20", 10 ** 20),
    ("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nawait f()", 7),
    ("import asyncio\nasync def f():\n    return 8\nasyncio.run(f())", 8),
    ("print", "<built-in function print>"),
])
def test_a_value_comes_back(executing, code, wanted):
    assert value(executing, code) == wanted


def test_a_value_that_is_too_large_is_an_error_that_says_so(executing):
    got = run(executing, "print('before')\n'x' * 2_000_000")
    assert not got["success"] and got["return_value"] is None
    assert got["stdout"] == "before\n"
    assert "return value" in got["error"] and "1048576" in got["error"], got["error"][:300]


@pytest.mark.parametrize(("context", "code", "wanted"), [
    ({"x": 5, "y": 3}, "x * y", 15),
    ({"n": 12345678901234567890}, "n + 1", 12345678901234567891),
    ({"f": 1.0, "i": 1}, "[type(f).__name__, type(i).__name__]", None),
    ({"s": "__import__('os').system('ls')"}, "s", "__import__('os').system('ls')"),
    ({"d": {"a": [[[1]]]}, "none": None}, "[d['a'][0][0][0], none]", [1, None]),
])
def test_a_context_becomes_variables(executing, context, code, wanted):
    got = run(executing, code.replace("type(f).__name__", "repr(f)").replace(
        "type(i).__name__", "repr(i)"), context=context)
    assert got["return_value"] == (wanted if wanted is not None else ["1.0", "1"]), got


# ---- what is refused before anything runs ----


def invalid(kind, loc, message, value=None):
    return 422, {"detail": [{"type": kind, "loc": loc, "msg": message, "input": value}]}


@pytest.mark.parametrize(("body", "wanted"), [
    ({}, invalid("missing", ["body", "code"], "Field required", {})),
    ({"code": 5}, invalid("string_type", ["body", "code"], "Input should be a valid string", 5)),
    ({"code": None}, invalid("string_type", ["body", "code"], "Input should be a valid string")),
    ({"code": "1", "context": [1]},
     invalid("dict_type", ["body", "context"], "Input should be a valid dictionary", [1])),
    ([1], invalid("model_attributes_type", ["body"],
                  "Input should be a valid dictionary or object to extract fields from", [1])),
    ({"code": "1", "context": {"__builtins__": 1}},
     invalid("value_error", ["body", "context"],
             "Value error, Context key '__builtins__' is reserved", {"__builtins__": 1})),
    ({"code": "1", "context": {"a": [[[[[1]]]]]}},
     invalid("value_error", ["body", "context"],
             "Value error, Context nesting exceeds allowed depth", {"a": [[[[[1]]]]]})),
    ({"code": "1", "context": {"a": "x" * 1_100_000}},
     invalid("value_error", ["body", "context"], "Value error, Context exceeds 1048576 bytes")),
])
def test_a_body_that_is_wrong_is_told_in_fastapis_form(executing, body, wanted):
    assert refused(executing, json.dumps(body).encode()) == wanted


@pytest.mark.parametrize(("body", "status", "told"), [
    (b'{"code": "1", "code": "2"}', 422, "json_invalid"),
    (b'{"code": "1\\u0000import os"}', 422, "json_invalid"),
    (b'{"code": "1", "context": {"x": 1e400}}', 422, "json_invalid"),
    (b'{"code": "1", "context": {"x": ' + b"[" * 70 + b"]" * 70 + b"}}", 422, "json_invalid"),
    (b'{"code": "1", "context": {"x": [[[[[1]]]]]}}', 422, "value_error"),
    (b'{"code": "1", "context": {"\\u005f_name__": 1}}', 422, "value_error"),
    (b'{"code": "len(k)", "context": {"k": "", ' +
     b",".join(b'"k%d":1' % i for i in range(90_000)) + b"}}", 200, '"return_value":0'),
    (b'{"code": "1", "context": {' + b",".join(b'"k%d":1' % i for i in range(120_000)) + b"}}",
     413, '{"detail":"More than 200000 values and keys'),
    (b'{"code": "1", "context": {"x": "' + b"x" * 1_100_000 + b'"}}', 422, "value_error"),
    (b'{"code": "' + b"x" * 2_000_000 + b'"}', 200, "Code payload is 2000000 bytes; limit is"),
], ids=lambda part: part[:30] if isinstance(part, (bytes, str)) else None)
def test_hostile_bodies(executing, body, status, told):
    reply = executing.ask("executor", "POST", "/execute", body)
    assert (reply.status, told in reply.text) == (status, True), (reply.status, reply.text[:300])


def test_an_empty_body_and_bad_json(executing):
    assert refused(executing, b"") == invalid("missing", ["body"], "Field required")
    status, got = refused(executing, b'{"code": }')
    assert status == 422 and got["detail"][0]["type"] == "json_invalid"
    assert got["detail"][0]["msg"].startswith("JSON decode error: Expecting value")


def test_paths_and_methods_have_the_same_form(executing):
    assert executing.get("executor", "/nothing").json == {"detail": "Not Found"}
    reply = executing.get("executor", "/execute")
    assert (reply.status, reply.json) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize(("code", "reason"), [
    ("", "Code payload is empty"),
    (" \n\t", "Code payload is empty"),
    ("#" * 10001, "Code payload is 10001 bytes; limit is 10000 bytes"),
    ("x = (", "Code failed to parse: "),
    ("[" + "1," * 4999 + "]", "Code is too complex (5003 AST nodes); limit is 5000"),
    ("import os", "Import of 'os' is not permitted"),
    ("import json, os.path as p", "Import of 'os' is not permitted"),
    ("from sys import exit", "Import of 'sys' is not permitted"),
    ("from . import data", "Relative imports are not permitted"),
    ("f = open", "Use of 'open' is not allowed in sandbox"),
    ("eval('1')", "Use of 'eval' is not allowed in sandbox"),
    ("().__class__", "Attribute '__class__' is not allowed in sandbox"),
    ("__builtins__['__import__']('os')", "Use of '__builtins__' is not allowed in sandbox"),
], ids=lambda text: text[:40])
def test_a_program_is_refused_before_it_runs(executing, code, reason):
    marked = code if not code.strip() or code.startswith("#") else "print('ran')\n" + code
    got = run(executing, marked if "nodes" not in reason else code)
    assert got["success"] is False and got["stdout"] == "" and got["return_value"] is None
    assert got["error"].startswith("Security validation failed: " + reason), got["error"]


@pytest.mark.parametrize("code", [
    "import re\nre.compile('a').match('a') is not None",
    "class D:\n    def open(self): return True\nD().open()",
    "import tools, data, automation, device, json, string, textwrap, statistics\nTrue",
    "text = 'import os; eval(1)'  # __class__\nlen(text) > 0",
])
def test_ordinary_python_passes(executing, code):
    assert value(executing, code) is True


def test_the_status_of_a_refusal_is_the_policys(make_service):
    one = make_service(policies=policies(validation={"status": 400}), patience_s=60).start()
    reply = ask(one, "import os")
    assert reply.status == 400 and reply.json["success"] is False
    assert reply.json["error"] == "Security validation failed: Import of 'os' is not permitted"


def test_a_program_cannot_pretend_that_it_was_refused(make_service):
    """It has the channel to its warden: what it says there of a refusal is not believed."""
    one = make_service(patience_s=60, policies=policies(
        imports={"allow": ["*"]}, validation={"names": [], "attributes": []}))
    got = run(one.start(), """
import os
print("ran", flush=True)
report = bytes(8) + bytes((1, 0, 0, 0))
os.write(3, bytes((0x62, 0, 0, 0)) + (12).to_bytes(4, "little") + report)
import time
time.sleep(20)
""")
    assert got["stdout"] == "ran\n"
    assert not (got["error"] or "").startswith("Security validation")


# ---- errors and limits keep what was printed ----


@pytest.mark.parametrize(("code", "error"), [
    ("print('a')\nraise ValueError('Test error')", "ValueError: Test error"),
    ("print('a')\nraise KeyError('k')", "KeyError: 'k'"),
    ("print('a')\nclass Odd(Exception): pass\nraise Odd", "Odd"),
    ("print('a')\nraise SystemExit(3)", "SystemExit: 3"),
    ("print('a')\nraise SystemExit('no data')", "SystemExit: no data"),
    ("print('a')\nraise SystemExit('')", "SystemExit"),
    ("print('a')\n1 / 0", "ZeroDivisionError: division by zero"),
])
def test_errors_are_told_with_their_class(executing, code, error):
    got = run(executing, code)
    assert (got["success"], got["stdout"], got["error"]) == (False, "a\n", error)
    if "SystemExit" not in error:
        assert got["stderr"].startswith("Traceback (most recent call last):\n")
        assert error.split(":")[0] in got["stderr"].splitlines()[-1]


@pytest.mark.parametrize("letter", ["x", "\u00e4", "\U0001f600"])
def test_a_long_message_is_told_as_far_as_it_goes(executing, letter):
    got = run(executing, f"raise ValueError('{letter}' * 200_000)")
    assert got["error"] == "ValueError: " + letter * 65536


def test_a_value_of_almost_the_limit_comes_back(executing):
    assert value(executing, "'x' * 1_048_574") == "x" * 1_048_574
    assert "1048576" in run(executing, "'x' * 1_048_575")["error"]


def test_time_and_memory_have_their_texts(make_service):
    one = make_service(patience_s=60, env={"EXECUTION_TIMEOUT": "8", "MAX_MEMORY_MB": "64"},
                       policies=policies(pool={"min": 1})).start()
    got = run(one, "print('a')\nwhile True: pass")
    assert (got["success"], got["stdout"], got["error"]) == (
        False, "a\n", "Execution exceeded 8s timeout")
    assert 7.9 <= got["execution_time"] < 60
    got = run(one, "print('a')\nd = []\nwhile True: d.append('x' * 1000000)")
    assert (got["success"], got["stdout"]) == (False, "a\n")
    assert got["error"] in ("Memory limit of 64 MB exceeded", "MemoryError")


# ---- tools ----


def test_every_tool_with_positional_and_keyword_arguments(executing, home):
    got = value(executing, """
import data, automation, device
a = await data.query_device_history("sensor.power", "-7d", end_time="now", fields=["value"])
b = await data.search_events()
c = await data.search_events(entity_id="light.a", limit=3)
d = await automation.detect_patterns("-7d", "now", ["time-based", "co-occurrence"])
e = await device.get_device_capabilities("light.living_room")
f = data.sync.get_devices()
[a["data_points"], list(a["data"][0]), b["count"], c["count"], len(d["patterns"]), e["actions"],
 f["count"]]
""")
    assert got == [1000, ["value"], 50, 3, 2, ["turn_on", "turn_off", "toggle"], 99]
    bodies = {e["tool"]: json.loads(e["body"]) for e in home.log(kind="call")}
    assert bodies["get_capabilities"] == {"entity_id": "light.living_room"}
    assert bodies["search_events"] == {"entity_id": "light.a", "start_time": "-24h",
                                       "end_time": "now", "limit": 3}
    assert bodies["get_devices"] == {}


def test_unknown_keywords_pass_through(executing, home):
    assert value(executing, "import data\nr = await data.get_devices(k=1)\nr['count']") == 99
    assert json.loads(home.log(kind="call")[0]["body"]) == {"k": 1}


def test_calls_at_once(executing, home):
    """As many as the policy permits; the others wait in order."""
    home.control(tool="search_events", mode="slow")
    with asking(executing, """
import asyncio, data
many = await asyncio.gather(*(data.search_events(limit=n + 1) for n in range(40)))
[m["count"] for m in many]
""") as reply:
        wait_for(lambda: home.get("/control/most")["inside"] == 16, 60, "16 calls")
        home.control(release=40)
        assert reply()["return_value"] == list(range(1, 41))
    assert home.get("/control/most")["most"] == 16


def test_a_slow_call_stops_neither_output_nor_others(executing, home):
    home.control(tool="get_devices", mode="slow")
    with asking(executing, """
import asyncio, data
slow = asyncio.create_task(data.get_devices())
await asyncio.sleep(0)
print((await data.search_events(limit=2))["count"])
(await slow)["count"]
""") as reply:
        home.wait(kind="call", tool="search_events", timeout_s=60)
        home.control(release=1)
        got = reply()
    assert (got["stdout"], got["return_value"]) == ("2\n", 99), got


def test_the_deadline_ends_calls_that_wait(make_service, home):
    one = make_service(patience_s=60, env=places(home.url) | {"EXECUTION_TIMEOUT": "6"},
                       policies=policies()).start()
    home.control(tool="get_devices", mode="slow")
    got = run(one, "import data\nprint('asked')\nawait data.get_devices()")
    assert (got["stdout"], got["error"]) == ("asked\n", "Execution exceeded 6s timeout")
    wait_for(lambda: [line for line in one.log().splitlines()
                      if "get_devices" in line and "cancelled" in line], 60, "it is logged")


@pytest.mark.parametrize(("manner", "error"), [
    ({"mode": "fail", "status": 500, "text": "boom"},
     "ToolError: MCP tool 'get_devices' failed: 500 - boom"),
    ({"mode": "fail", "status": 404, "text": ""}, "ToolError: MCP tool 'get_devices' failed: 404"),
    ({"mode": "reset"}, "ToolError: MCP tool 'get_devices' connection failed: "),
    ({"mode": "huge"}, "ToolError: "),
    ({"mode": "html"}, "ToolError: "),
    ({"mode": "redirect"}, "ToolError: "),
])
def test_a_tool_that_fails_raises(executing, home, manner, error):
    home.control(tool="get_devices", **manner)
    got = run(executing, "import data\nprint('a')\nawait data.get_devices()")
    assert not got["success"] and got["stdout"] == "a\n"
    assert got["error"].startswith(error), got["error"]
    assert "ToolError" in got["stderr"] and "worker" not in got["stderr"]


def test_a_tool_error_can_be_caught(executing, home):
    home.control(tool="get_devices", mode="fail", status=503, text="later")
    assert value(executing, """
import data
from tools import ToolError
try:
    await data.get_devices()
except ToolError as e:
    {"error": str(e)}
""") == {"error": "MCP tool 'get_devices' failed: 503 - later"}


def test_nobody_there_is_a_connection_that_failed(make_service):
    with closed_port() as port:
        one = make_service(patience_s=60, env=places(f"http://127.0.0.1:{port}"),
                           policies=policies()).start()
        got = run(one, "import data\nawait data.get_devices()")
    assert got["error"].startswith("ToolError: MCP tool 'get_devices' connection failed: ")


@pytest.mark.parametrize("code", [
    "import data\nawait data.query_device_history('a')",
    "import data\nawait data.query_device_history('a', 'b', 'c', 'd', 'e')",
])
def test_wrong_arguments_are_type_errors(executing, home, code):
    assert run(executing, code)["error"].startswith("TypeError: ")
    assert not home.log(kind="call")


def test_arguments_are_checked_before_anything_is_sent(executing, home):
    got = run(executing, "import data\nawait data.search_events(limit='many')")
    assert not got["success"] and "limit" in got["error"], got
    assert not home.log(kind="call")


def test_the_budget_of_calls(make_service, home):
    one = make_service(patience_s=60, env=places(home.url),
                       policies=policies(calls={"budget": 3})).start()
    got = run(one, """
import data
for n in range(5):
    await data.get_devices()
    print(n)
""")
    assert got["stdout"] == "0\n1\n2\n"
    assert got["error"] == "ToolError: MCP tool 'get_devices' call budget of 3 exceeded"
    assert len(home.log(kind="call")) == 3


def test_a_flood_of_calls_ends_the_program_with_the_reason(make_service, home):
    one = make_service(patience_s=60, env=places(home.url),
                       policies=policies(calls={"budget": 3})).start()
    got = run(one, """
import data
print("flood", flush=True)
while True:
    try:
        await data.get_devices()
    except Exception:
        pass
""")
    assert got["stdout"] == "flood\n" and got["success"] is False
    assert "host calls" in got["error"], got["error"]
    assert len(home.log(kind="call")) == 3


def test_a_policy_without_a_tool_has_it_not(make_service, home):
    one = make_service(patience_s=60, env=places(home.url), policies=policies(
        tools=["data.get_devices"])).start()
    assert value(one, "import data\nr = await data.get_devices()\nr['count']") == 99
    assert "AttributeError" in run(one, "import data\nawait data.search_events()")["error"]
    assert "Import of 'device'" in run(one, "import device")["error"]
    listed = one.get("executor", "/tools").json["modules"]
    assert [(m["name"], [f["name"] for f in m["functions"]]) for m in listed] == [
        ("data", ["get_devices"])]


def test_calls_are_logged(executing, home):
    connection_id = executing.post("executor", "/execute", {
        "code": "import data\nawait data.search_events(limit=7)"}).headers["X-Run-Id"]
    line = wait_for(lambda: [one for one in executing.log().splitlines()
                             if connection_id in one and "search_events" in one], 30, "the line")[0]
    assert "ok" in line and re.search(r"limit\W+7", line), line


def test_any_policy_with_tools_has_them(make_service, home):
    one = make_service(patience_s=60, env=places(home.url), policies={
        "default": {"image": SLIM, "warm": [], "tools": ["data"]}}).start()
    got = one.native("import data\nprint((await data.get_devices())['count'])").json
    assert got["stdout"] == "99\n", got


# ---- what programs find out about tools ----


def test_tools_can_be_found_and_read(executing):
    got = value(executing, """
import tools
[tools.list(), tools.search("capabilit"), tools.describe("data.get_devices"),
 [tools.read(path) for path in ("servers/data/get_devices.py",)]]
""")
    assert "data.get_devices" in json.dumps(got[0])
    assert "get_device_capabilities" in json.dumps(got[1])
    assert "count" in json.dumps(got[2])
    assert "def get_devices" in got[3][0]


def test_the_catalogue_over_http(executing):
    modules = executing.get("executor", "/tools").json["modules"]
    assert [m["name"] for m in modules] == ["data", "automation", "device"]
    history = next(f for f in modules[0]["functions"] if f["name"] == "query_device_history")
    assert [(p["name"], p["required"]) for p in history["parameters"]] == [
        ("entity_id", True), ("start_time", True), ("end_time", True), ("fields", False)]


# ---- no network, no credential ----

LOOK = """
import gc, os, pathlib, re, socket
seen = [f"{k}={v}" for k, v in os.environ.items()]
for top in ("/work", "/tmp", "/proc/self", "/etc", "/dev/shm"):
    for path in pathlib.Path(top).rglob("*"):
        try:
            if path.is_file() and path.stat().st_size < 1_000_000:
                seen.append(path.read_bytes().decode("latin-1"))
        except OSError:
            pass
seen += [o for o in gc.get_objects() if isinstance(o, str)]
for o in gc.get_objects():
    if isinstance(o, dict):
        seen += [v for v in list(o.values()) + list(o) if isinstance(v, str)]
maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
with open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        where, rights = line.split()[:2]
        if "w" in rights and "stack" not in line:
            low, high = (int(n, 16) for n in where.split("-"))
            try:
                memory.seek(low)
                seen.append(memory.read(min(high - low, 1 << 24)).decode("latin-1"))
            except OSError:
                pass
print(len([text for text in seen for found in re.finditer(part_a, text)
           if text.startswith(part_b, found.end())]))
print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
for host, port in [("8.8.8.8", 53), ("127.0.0.1", HOME), ("169.254.169.254", 80)]:
    try:
        socket.create_connection((host, port), 2).close()
        print("reached", host)
    except OSError as e:
        print(type(e).__name__)
import data
print((await data.get_devices())["headers"]["authorization"] is not None)
"""


def test_a_container_has_no_network_and_no_credential(make_service, home):
    one = make_service(patience_s=60, env=places(home.url) | {
        "HOME_TOKEN": SECRET, "EXECUTOR_API_TOKEN": TOKEN}, policies=policies(
            imports={"allow": ["*"]}, validation={"names": [], "attributes": [], "bytes": 0}))
    one.write()
    definitions = one.home / "policies/tools.yaml"
    definitions.write_text(definitions.read_text().replace(
        "    url: ${DATA_API_URL", "    headers: {Authorization: \"Bearer ${HOME_TOKEN}\"}\n"
        "    url: ${DATA_API_URL", 1))
    settings = {"tools": {"file": str(one.home / "tools.yaml")}}
    (one.home / "tools.yaml").write_text(definitions.read_text())
    one.settings.update(settings)
    one.start()
    home.control(tool="get_devices", mode="echo")
    code = LOOK.replace("HOME", str(home.port)).replace(
        "part_a", repr(SECRET[:9])).replace("part_b", repr(SECRET[9:]))
    reply = one.ask("executor", "POST", "/execute", json.dumps({"code": code}).encode(),
                    {"X-Executor-Token": TOKEN})
    got = reply.json
    assert got["success"], got
    lines = got["stdout"].splitlines()
    # The echo carries the credential back on purpose: it comes after everything was looked at.
    assert lines[0] == "0", got
    assert lines[1] == "['lo']"
    assert not [line for line in lines if line.startswith("reached")], lines
    assert lines[-1] == "True", got
    assert SECRET not in one.log() and TOKEN not in one.log()


# ---- who may ask ----


@pytest.fixture(scope="module")
def guarded(homes):
    one = services.Service(homes / "guarded", patience_s=60, env={"EXECUTOR_API_TOKEN": TOKEN},
                           policies=policies())
    try:
        yield one.start()
    finally:
        one.remove()


@pytest.mark.parametrize("headers", [{}, {"X-Executor-Token": "nope"}, {"X-Executor-Token": ""},
                                     {"X-Executor-Token": TOKEN + "x"}])
@pytest.mark.parametrize("body", [b'{"code": "1"}', b"{", b"x" * 3_000_000])
def test_without_the_token_nothing_is_looked_at(guarded, headers, body):
    assert refused(guarded, body, headers) == (
        401, {"detail": "Invalid or missing executor token"})


def test_with_the_token(guarded):
    reply = guarded.ask("executor", "POST", "/execute", b'{"code": "41 + 1"}',
                        {"X-Executor-Token": TOKEN})
    assert reply.json["return_value"] == 42, reply.text
    assert guarded.get("executor", "/tools").status == 401
    assert guarded.get("executor", "/health").status == 200


HEAD = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SMUGGLED = b'POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{"code": "1"}'


@pytest.mark.parametrize("rest", [
    b"Content-Length: 13\r\n\r\n{\"code\": \"1\"}",
    b"Transfer-Encoding: chunked\r\n\r\nd\r\n{\"code\": \"1\"}\r\n0\r\n\r\n",
    b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    b"Expect: 100-continue\r\nContent-Length: 13\r\n\r\n",
    b"Content-Length: 99999999999\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"X-Executor-Token: \r\nX-Executor-Token: " + TOKEN.encode() + b"\r\nContent-Length: 0\r\n\r\n",
], ids=["length", "chunked", "request", "expect", "huge", "garbage", "twice"])
def test_a_refused_body_is_no_request(guarded, rest):
    got = guarded.raw("executor", HEAD + rest + NEXT)
    replies = re.findall(rb"HTTP/1.1 (\d+)", got)
    assert replies[0] in (b"401", b"400", b"413"), got
    assert set(replies[1:]) <= {b"200", b"400"} and got.count(b"return_value") == 0, got
    assert got.count(b'"healthy"') <= 1


# ---- health and figures ----


def test_whoever_leaves_leaves_nothing_behind(make_service, home):
    # The first one waits for the start of the third.
    one = make_service(patience_s=60, env=places(home.url) | {"EXECUTION_TIMEOUT": "120"},
                       policies=policies(calls={"time": "120s"})).start()
    home.control(tool="get_devices", mode="slow")
    code = "import data\nprint('here', flush=True)\nawait data.get_devices()"
    gone = [one.connect("executor") for _ in range(3)]
    for connection in gone:
        connection.request("POST", "/execute", json.dumps({"code": code}))
    home.wait(3, tool="get_devices")
    assert samples(one)["code_executions_active", None] == 3
    for connection in gone:
        connection.close()
    wait_for(lambda: samples(one)["code_executions_active", None] == 0)


def test_many_at_once_and_a_reload_between(executing, home):
    code = "import data\n(await data.get_devices())['count']"
    body = json.dumps({"code": code})
    before = executing.get("executor", "/tools").text
    many = [executing.connect("executor") for _ in range(50)]
    for connection in many:
        connection.request("POST", "/execute", body)
    for _ in range(5):
        os.kill(executing.process.pid, signal.SIGHUP)
    replies = [connection.getresponse() for connection in many]
    statuses = [(r.status, json.loads(r.read())) for r in replies]
    for connection in many:
        connection.close()
    assert {status for status, _ in statuses} <= {200, 503}
    good = [got for status, got in statuses if status == 200]
    assert good and all(got["return_value"] == 99 for got in good), good
    assert executing.get("executor", "/tools").text == before
    wait_for(lambda: samples(executing)["code_executions_active", None] == 0)


def test_health(executing):
    reply = executing.get("executor", "/health")
    assert reply.text == ('{"status":"healthy","service":"ai-code-executor","version":"1.0.0",'
                          '"mcp_initialized":true}')


def test_a_dead_source_shows_in_health(make_service):
    one = make_service(patience_s=60, policies=policies())
    one.write()
    path = one.home / "tools.yaml"
    with closed_port() as port:
        path.write_text((one.home / "policies/tools.yaml").read_text() +
                        f"\n  - name: far\n    mcp: http://127.0.0.1:{port}/mcp\n")
        one.settings.update({"tools": {"file": str(path)}})
        one.start()
        assert one.get("executor", "/health").json["mcp_initialized"] is False
        assert value(one, "import data\n1") == 1


def samples(one):
    text = one.get("executor", "/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {(s.name, s.labels.get("status") or s.labels.get("le")): s.value
            for family in text_string_to_metric_families(text.text) for s in family.samples}


def test_figures_are_those_of_the_contract(make_service):
    one = make_service(patience_s=60, env={"EXECUTION_TIMEOUT": "8"}, policies=policies()).start()
    families = {f.name: (f.type, f.documentation) for f in text_string_to_metric_families(
        one.get("executor", "/metrics").text)}
    assert {name: kind for name, (kind, _) in families.items()} == {
        "code_executions": "counter", "code_execution_duration_seconds": "histogram",
        "code_execution_memory_mb": "histogram", "code_executions_active": "gauge"}
    assert all(text for _, text in families.values())
    for code in ("1", "1 / 0", "import os", "while True: pass"):
        run(one, code)
    got = samples(one)
    assert {status: got["code_executions_total", status] for status in
            ("success", "failure", "security_blocked", "timeout")} == {
                "success": 1, "failure": 1, "security_blocked": 1, "timeout": 1}
    assert got["code_executions_active", None] == 0
    assert got["code_execution_duration_seconds_count", None] == 4
    assert got["code_execution_duration_seconds_bucket", "+Inf"] == 4
    assert got["code_execution_duration_seconds_sum", None] > 7.9
    assert got["code_execution_memory_mb_count", None] == 4
