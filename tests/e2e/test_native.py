"""The native dialect, port 8000: every field of a request and a reply, the stream, the state."""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path

import pytest
import test_metrics_format
from service import wait_for

KEYS = ["id", "outcome", "exit_code", "signal", "stdout", "stderr", "truncated", "result", "error",
        "files", "usage", "timings", "container", "omitted", "not_enforced"]


def printed(reply):
    assert reply.status == 200, reply.text
    assert reply.json["outcome"] == "ok", reply.text
    return reply.json["stdout"]


# ---- the reply ----


def test_the_reply_has_every_key_in_order(service):
    reply = service.native("print(1)")
    got = reply.json
    assert list(got) == KEYS
    assert (got["outcome"], got["exit_code"], got["signal"]) == ("ok", 0, None)
    assert (got["stdout"], got["stderr"]) == ("1\n", "")
    assert got["truncated"] == {"stdout": False, "stderr": False}
    assert (got["result"], got["error"], got["files"], got["omitted"]) == (None, None, [], [])
    assert isinstance(got["not_enforced"], list)
    assert list(got["usage"]) == ["wall_ms", "cpu_ms", "memory_peak_bytes"]
    assert got["usage"]["wall_ms"] > 0 and got["usage"]["cpu_ms"] > 0
    assert list(got["timings"]) == ["queue_ms", "take_ms", "run_ms", "collect_ms"]
    assert all(ms >= 0 for ms in got["timings"].values())
    container = got["container"]
    assert {"id", "image", "policy", "policy_hash", "warm"} <= container.keys()
    assert re.fullmatch("sha256:[0-9a-f]{64}", container["image"])
    assert container["policy"] == "default" and isinstance(container["warm"], bool)
    assert re.fullmatch("[0-9a-f]{64}", container["policy_hash"])


def test_the_headers_name_the_run(service):
    reply = service.native("print(1)")
    assert reply.headers["X-Run-Id"] == reply.json["id"]
    assert reply.headers["X-Container-Id"] == reply.json["container"]["id"]
    assert re.fullmatch(r"[0-9a-f]{64}", reply.headers["X-Container-Id"])
    timing = reply.headers["Server-Timing"]
    assert re.fullmatch(", ".join(rf"{s};dur=\d+\.\d\d\d" for s in
                                  ("queue", "take", "run", "collect")), timing)


def test_every_run_has_a_container_of_its_own(service):
    code = ("import os\nprint(os.path.exists('/tmp/mark'), os.listdir('.'))\n"
            "open('/tmp/mark', 'w')\nopen('mark', 'w')")
    replies = [service.native(code) for _ in range(3)]
    assert [printed(r) for r in replies] == ["False []\n"] * 3
    assert len({r.json["container"]["id"] for r in replies}) == 3
    assert len({r.json["id"] for r in replies}) == 3


def test_a_traceback_names_main_py(service):
    error = service.native("def f():\n    raise KeyError('k')\n\nf()").json["error"]
    assert list(error) == ["type", "message", "traceback"]
    assert (error["type"], error["message"]) == ("KeyError", "'k'")
    assert error["traceback"] == (
        'Traceback (most recent call last):\n'
        '  File "main.py", line 4, in <module>\n    f()\n'
        '  File "main.py", line 2, in f\n    raise KeyError(\'k\')\n'
        "KeyError: 'k'\n")


# ---- the request ----


def test_stdin_and_arguments(service):
    code = "import sys\nprint(sys.argv[1:], sys.stdin.read())"
    assert printed(service.native(code, stdin="é\nline", args=["a b", "", "--x", "é"])) == (
        "['a b', '', '--x', 'é'] é\nline\n")
    assert printed(service.native(code)) == "[] \n"
    long = "x" * 1_000_000
    assert printed(service.native("import sys\nprint(len(sys.stdin.read()))", stdin=long)) == (
        "1000000\n")


def test_a_program_need_not_read_its_stdin(service):
    assert printed(service.native("print('unread')", stdin="y" * 2_000_000)) == "unread\n"


def test_the_value_of_the_last_expression(service):
    wanted = {
        "1 + 1": 2, "x = [1, (2, 'é')]\nx": [1, [2, "é"]], "print('p')\n{'k': None}": {"k": None},
        "x = 1": None, "float('nan')": None, "None": None,
    }
    for code, value in wanted.items():
        assert service.native(code, result="last_expression").json["result"] == value, code
    assert service.native("1 + 1", result="none").json["result"] is None
    assert service.native("1 + 1").json["stdout"] == ""


def test_await_outside_of_a_function(service):
    code = "import asyncio\nprint(await asyncio.sleep(0, 'slept'))\n"
    assert printed(service.native(code)) == "slept\n"
    valued = service.native("import asyncio\nawait asyncio.sleep(0, 5)", result="last_expression")
    assert valued.json["result"] == 5


def test_markdown_is_read_only_when_asked_for(service):
    code = "```python\nprint('m')\n```"
    assert printed(service.native(code, input_format="auto")) == "m\n"
    assert service.native(code, input_format="raw").json["error"]["type"] == "SyntaxError"
    assert service.native(code).json["error"]["type"] == "SyntaxError"


def test_files_in_and_out(service):
    files = [{"path": "t.txt", "text": "té"}, {"path": "d/b.bin", "data": "AAEC/w=="},
             {"path": "kept.txt", "text": "k"}]
    reply = service.native(
        "import os\nprint(open('t.txt').read(), list(open('d/b.bin', 'rb').read()))\n"
        "open('t.txt', 'a').write('!')\nos.makedirs('out/in')\n"
        "open('out/in/x.png', 'wb').write(b'p')\n"
        "open('empty.json', 'w')\nopen('snippet.py', 'w').write('s')", files=files)
    assert printed(reply) == "té [0, 1, 2, 255]\n"
    got = {f["path"]: (f["size"], f["type"], base64.b64decode(f["data"]))
           for f in reply.json["files"]}
    assert got == {
        "empty.json": (0, "application/json", b""),
        "out/in/x.png": (1, "image/png", b"p"),
        "snippet.py": (1, "application/octet-stream", b"s"),
        "t.txt": (4, "text/plain", "té!".encode()),
    }
    assert [f["path"] for f in reply.json["files"]] == sorted(got)


def test_figures(service):
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.figure()\nplt.plot([2, 1])\n"
    plain = service.native(code)
    assert (printed(plain), plain.json["files"]) == ("", [])
    reply = service.native(code, capture_figures=True)
    assert printed(reply) == ""
    assert [f["path"] for f in reply.json["files"]] == ["figure_1.png", "figure_2.png"]
    assert base64.b64decode(reply.json["files"][0]["data"]).startswith(b"\x89PNG")


def test_timeout_is_the_requests(service):
    service.wait_parked("default")
    reply = service.native("import time\nprint('a')\ntime.sleep(60)", timeout=6.5).json
    assert (reply["outcome"], reply["stdout"]) == ("timeout", "a\n")
    assert reply["error"]["message"] == "time limit of 6.5 s exceeded"
    assert 6400 < reply["usage"]["wall_ms"]


def test_memory_is_the_requests(tuned):
    code = "kept = bytearray(b'x' * (50 << 20))\nprint(len(kept) >> 20)"
    small, large = "64MiB", 192 << 20
    # Until the parked interpreter was measured the limit is a generous guess.
    wait_for(lambda: tuned.pool("default")["footprint_bytes"], 120)
    tuned.native("print(1)")
    assert tuned.native(code, memory=small).json["outcome"] == "oom"
    reply = tuned.native(code, memory=large)
    assert printed(reply) == "50\n"
    assert reply.json["container"]["memory_bytes"] == large
    assert reply.json["usage"]["memory_peak_bytes"] > 50 << 20
    plain = tuned.native("print(1)").json["container"]
    assert plain["memory_bytes"] == 128 << 20


def test_another_policy(service):
    reply = service.native("print(1)", policy="large")
    assert reply.json["container"]["policy"] == "large"
    assert printed(reply) == "1\n"


def test_the_order_of_both_streams_on_request(service):
    code = ("import sys\nfor i in range(3):\n    print('o', i, flush=True)\n"
            "    print('e', i, file=sys.stderr, flush=True)\n")
    reply = service.native(code, log=True).json
    assert list(reply) == [*KEYS, "log"]
    for stream in ("stdout", "stderr"):
        texts = [e["text"] for e in reply["log"] if e["stream"] == stream]
        assert "".join(texts) == reply[stream]
    times = [entry["t_ms"] for entry in reply["log"]]
    assert times == sorted(times) and times[0] >= 0


def test_the_environment_is_the_policys_and_the_requests(tuned):
    reply = tuned.native("import json, os\nprint(json.dumps(dict(os.environ)))",
                         env={"ALLOWED": "é = 1"})
    env = json.loads(printed(reply))
    assert (env["ALLOWED"], env["FROM_POLICY"], env["PASSED_ON"]) == ("é = 1", "p", "yes")
    assert not {"SECRET_TOKEN", "INFLUX_TOKEN", "SANDBOX_MAX_FILES"} & env.keys()
    assert "ALLOWED" not in json.loads(printed(
        tuned.native("import json, os\nprint(json.dumps(dict(os.environ)))")))
    refused = tuned.native("1", env={"FROM_POLICY": "mine"})
    assert refused.status == 400
    assert refused.json["detail"] == "'env.FROM_POLICY' is not allowed by policy 'default'"


def test_inputs_over_the_policys_limits_are_413(tuned):
    files = [{"path": str(i), "text": ""} for i in range(4)]
    reply = tuned.native("1", files=files)
    assert (reply.status, reply.json["detail"]) == (413, "'files' has more than 3 items")
    reply = tuned.native("1", files=[{"path": "a", "text": "x" * 65537}])
    assert (reply.status, reply.json["detail"]) == (413, "'files' are over 65536 bytes together")
    reply = tuned.native("1", stdin="x" * 65537)
    assert (reply.status, reply.json["detail"]) == (413, "'stdin' is over 65536 bytes")
    reply = tuned.native("1", args=["a"] * 300)
    assert (reply.status, reply.json["detail"]) == (413, "'args' is too large")


def test_files_of_tmp_have_their_whole_path(tuned):
    reply = tuned.native("open('/tmp/a.csv', 'w').write('1')\nopen('a.csv', 'w').write('2')").json
    assert {f["path"]: base64.b64decode(f["data"]) for f in reply["files"]} == {
        "/tmp/a.csv": b"1", "a.csv": b"2"}


def test_what_is_left_out_is_named(service):
    reply = service.native(
        "import os\nfor i in range(21): open(f'{i:02}', 'w').write('x')\n"
        "os.symlink('/etc', 'link')")
    omitted = {o["path"]: o["reason"] for o in reply.json["omitted"]}
    assert len(reply.json["files"]) == 20
    assert omitted == {"20": "too_many", "link": "not_regular"}
    assert all(o["size"] >= 0 for o in reply.json["omitted"])


def test_unknown_fields_and_queries_are_ignored(service):
    reply = service.patiently("native", "/v1/runs?wait=1&x", {
        "code": "print(1)", "packages": [], "user": {"a": 1}, "files": None, "env": None})
    assert printed(reply) == "1\n"


def test_a_trace_goes_into_history(service):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    service.wait_parked("default")
    reply = service.post("native", "/v1/runs", {"code": "print(1)"}, {"traceparent": trace})
    run = json.loads(wait_for(lambda: service.run("history", "--json", reply.json["id"]).stdout))
    assert (run["traceparent"], run["container"]["id"]) == (trace, reply.json["container"]["id"])


# ---- the stream ----


class Events:
    """Server-sent events as they come."""

    def __init__(self, service, body, headers=None):
        self.connection = service.connect("native")
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"} | (
            headers or {})
        self.connection.request("POST", "/v1/runs", json.dumps(body), headers)
        self.reply = self.connection.getresponse()

    def __iter__(self):
        while name := self.reply.readline():
            data, blank = self.reply.readline(), self.reply.readline()
            assert name.startswith(b"event: ") and data.startswith(b"data: ") and blank == b"\n"
            yield name[7:-1].decode(), json.loads(data[6:])

    def close(self):
        self.reply.close()
        self.connection.close()


@pytest.fixture
def parked(service):
    """A stream tells of a wait in vain, which a busy machine may cause, where it should run."""
    service.wait_parked("default")
    return service


def test_a_run_is_streamed(parked):
    code = ("import sys\nprint('one', flush=True)\nprint('two', file=sys.stderr, flush=True)\n"
            "open('f.txt', 'w').write('file')\n7")
    events = Events(parked, {"code": code, "result": "last_expression"})
    assert events.reply.status == 200
    assert events.reply.headers["Content-Type"] == "text/event-stream"
    assert events.reply.headers["Cache-Control"] == "no-store"
    run = events.reply.headers["X-Run-Id"]
    got = list(events)
    events.close()
    assert [name for name, _ in got[:2]] == ["queued", "started"]
    assert all(data == {"id": run} for _, data in got[:2])
    assert [name for name, _ in got[-2:]] == ["file", "result"]
    for stream, text in (("stdout", "one\n"), ("stderr", "two\n")):
        assert "".join(data["text"] for name, data in got if name == stream) == text
    assert got[-2][1] == {"path": "f.txt", "size": 4, "type": "text/plain", "data": "ZmlsZQ=="}
    result = got[-1][1]
    assert list(result) == KEYS
    assert (result["id"], result["outcome"], result["result"]) == (run, "ok", 7)
    assert (result["stdout"], result["stderr"]) == ("one\n", "two\n")
    assert result["files"] == [{"path": "f.txt", "size": 4, "type": "text/plain"}]


def test_a_character_that_never_ends_is_streamed(parked):
    code = "import sys\nsys.stdout.buffer.write(b'a\\xe2\\x82')\nsys.stderr.buffer.write(b'\\xc3')"
    events = Events(parked, {"code": code})
    got = list(events)
    events.close()
    for stream, text in (("stdout", "a\ufffd"), ("stderr", "\ufffd")):
        assert "".join(data["text"] for name, data in got if name == stream) == text
        assert got[-1][1][stream] == text


def test_stream_true_is_the_same_as_the_header(parked):
    events = Events(parked, {"code": "print(1)", "stream": True}, {"Accept": "*/*"})
    assert events.reply.headers["Content-Type"] == "text/event-stream"
    assert list(events)[-1][1]["stdout"] == "1\n"
    events.close()


def test_output_is_streamed_while_the_program_runs(parked):
    events = Events(parked, {"code": "import time\nprint('now')\ntime.sleep(1000)"})
    for name, data in events:
        if name == "stdout":
            assert data == {"text": "now\n"}
            break
    else:
        pytest.fail("the run ended first")
    events.close()


def test_a_character_may_come_in_pieces(parked):
    code = ("import os, time\nfor byte in '🐍é'.encode():\n    os.write(1, bytes([byte]))\n"
            "    time.sleep(0.05)\nos.write(1, b'\\xff')")
    events = Events(parked, {"code": code})
    got = list(events)
    events.close()
    text = "".join(data["text"] for name, data in got if name == "stdout")
    assert text == got[-1][1]["stdout"] == "🐍é\ufffd"


def unsent(connection):
    """Bytes that the service has sent and this end's kernel has not yet taken."""
    here, there = (f"{address[1]:04X}" for address in
                   (connection.sock.getsockname(), connection.sock.getpeername()))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (local[-4:], remote[-4:]) == (there, here):
            return int(queues.split(":")[0], 16)
    pytest.fail("there is no such connection")


@pytest.mark.parametrize("at", ["silence", "output", "a reply that is stuck"])
def test_closing_the_stream_cancels_the_run(parked, at):
    """Whether the service finds the client gone while it waits, or by what it cannot send."""
    events = Events(parked, {"code": "print('here')\nimport time\ntime.sleep(1000)"
                              if at == "silence" else "while True: print('here')"})
    run = events.reply.headers["X-Run-Id"]
    stream = iter(events)
    while next(stream)[0] != "stdout":
        pass
    if at == "a reply that is stuck":
        seen = [0]
        wait_for(lambda: seen.append(unsent(events.connection)) or seen[-1] == seen[-2] > 0)
    events.close()
    told = wait_for(lambda: parked.run("history", "--json", run).stdout)
    assert json.loads(told)["outcome"] == "cancelled"


def test_a_bad_request_for_a_stream_is_a_plain_problem(service):
    events = Events(service, {"code": 1})
    assert events.reply.status == 400
    assert events.reply.headers["Content-Type"] == "application/problem+json"
    events.close()


def test_a_stream_that_got_no_container_says_so(make_service):
    service = make_service(policies={"default": {"image": "oneshot/there-is-none"}}).launch()
    wait_for(lambda: "policy 'default': image" in service.log(), 60)
    events = Events(service, {"code": "print(1)"})
    (first, _), (last, result) = list(events)
    events.close()
    assert (first, last) == ("queued", "result")
    assert result["outcome"] == "infra"
    assert result["error"] == {"type": "infra", "message": "the policy's image is not available",
                               "traceback": None}


# ---- what the service says of itself ----


def metrics(service):
    reply = service.get("native", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return test_metrics_format.check_text(reply.text)


def runs(service, outcome, dialect="native"):
    return sum(s.value for s in metrics(service)["oneshot_runs"].samples
               if s.labels["outcome"] == outcome and s.labels["dialect"] == dialect)


def test_metrics_count_what_happened(make_service):
    """A run is counted behind its reply: where others run it may be theirs."""
    slim = {"image": "oneshot/python-slim", "warm": []}
    service = make_service(policies=dict.fromkeys(("default", "aiq", "telemetry"), slim),
                           patience_s=60).start()
    service.native("1/0")
    service.aiq("print(1)")
    wait_for(lambda: (runs(service, "code_error"), runs(service, "ok", "aiq")) == (1, 1))
    families = metrics(service)
    stages = {s.labels["stage"] for s in families["oneshot_run_stage_seconds"].samples}
    assert stages >= {"queue", "take", "run", "collect"}
    assert {"oneshot_pool_containers", "oneshot_engine_calls", "oneshot_engine_errors"} <= (
        families.keys())


def test_policies_are_listed(service):
    reply = service.get("native", "/v1/policies").json["policies"]
    policies = {p["name"]: p for p in reply}
    assert {"aiq", "default", "large", "telemetry"} <= policies.keys()
    assert [p["name"] for p in reply] == sorted(policies)
    default = policies["default"]
    assert (default["timeout_default"], default["timeout_max"]) == (30, 30)
    assert (default["memory"], default["cpus"], default["pids"]) == (512 << 20, 1, 64)
    assert (default["network"], default["image"]) == ("none", "oneshot/python:latest")
    assert policies["telemetry"]["timeout_default"] == 120
    ran = service.native("print(1)").json["container"]
    assert ran["policy_hash"] == default["hash"]


def test_pools_are_listed(service):
    service.native("print(1)")
    reply = service.get("native", "/v1/pools").json
    assert reply["engine_up"] is True
    pools = {p["policy"]: p for p in reply["pools"]}
    wanted = {"parked", "starting", "running", "waiting", "hit_rate", "refill_per_minute"}
    assert all(wanted <= pool.keys() for pool in pools.values())
    default = pools["default"]
    assert default["hits"] + default["misses"] > 0
    assert 0 <= default["hit_rate"] <= 1


def test_health_and_ready(service):
    health = service.get("native", "/health")
    assert (health.status, health.json["status"], health.json["keeper"]) == (200, "ok", True)
    assert health.json["front"]["confined_by"] in ("uid", "seccomp")
    ready = service.get("native", "/ready")
    assert (ready.status, ready.json["status"]) == (200, "ready")


def test_not_ready_is_503_with_a_hint_while_it_lives(make_service):
    nowhere = {"engine": {"host": "unix:///nowhere/docker.sock"}}
    service = make_service(settings=nowhere).launch()
    ready = wait_for(lambda: refused(service), 60)
    assert ready.headers["Retry-After"] == "1"
    assert ready.headers["Content-Type"] == "application/problem+json"
    assert ready.json["detail"] == "the container engine does not answer"
    assert service.get("native", "/health").status == 200
    assert service.get("native", "/v1/pools").json["engine_up"] is False
    assert metrics(service)["oneshot_build_info"]


def refused(service):
    reply = service.get("native", "/ready")
    return reply if reply.status == 503 and "engine" in reply.text else None


def test_many_at_once_are_not_mixed_up(service):
    """Each gets its own answer, whatever dialect it speaks."""
    answers: dict[int, str] = {}

    def one(i):
        asked = (service.aiq, service.telemetry, service.native)[i % 3]
        got = asked(f"print('answer', {i})").json
        answers[i] = got.get("stdout") or got.get("std_out")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {i: f"answer {i}\n" for i in range(12)}
