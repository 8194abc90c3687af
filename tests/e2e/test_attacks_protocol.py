"""Attacks on the protocol and on the reply: forged frames, hostile values, hostile text."""

from __future__ import annotations

import json

import pytest
from arena import Arena, Row, strict

WIRE = """
import json, os, struct
def frame(kind, data=b'', flags=0, ident=0, size=None):
    size = len(data) if size is None else size
    return struct.pack('<BBHI', kind, flags, ident, size) + data
def tell(*frames): os.write(3, b''.join(frames))
VALUE, FAULT, CALL, UP, END = 0x45, 0x46, 0x47, 0x61, 0x62
def end(code): return frame(END, struct.pack('<III', code, 0, 0))
"""


def result_is(wanted):
    def check(reply):
        assert reply["result"] == wanted, str(reply["result"])[:300]

    return check


def no_result(reply):
    assert reply["result"] is None, str(reply["result"])[:300]


def result_has(word):
    def check(reply):
        assert word in json.dumps(reply["result"]), str(reply["result"])[:300]

    return check


VALUE = {"result": "last_expression"}
RESULT = "b'\\x4e\\0\\0\\0\\x38\\0\\0\\0' + bytes(56)"

FORGED = [
    Row("forge_docker_frame", "import os\nos.write(1, b'\\2\\0\\0\\0\\0\\0\\0\\5hello')\nprint()",
        out="\2\0\0\0\0\0\0\5hello\n"),
    Row("forge_docker_frame_huge", "import os\n"
        "os.write(1, b'\\1\\0\\0\\0\\xff\\xff\\xff\\xff' * 9)",
        out="\1\0\0\0\ufffd\ufffd\ufffd\ufffd" * 9),
    Row("forge_docker_type", "import os\nos.write(2, b'\\7\\0\\0\\0\\0\\0\\0\\1x')\n"
        "raise SystemExit(3)",
        "code_error", exit_code=3, err="\7"),
    Row("forge_result_on_stdout", f"import os\nos.write(1, {RESULT})\nraise SystemExit(5)",
        "code_error", exit_code=5),
    Row("forge_result_on_stderr", f"import os\nos.write(2, {RESULT})\nraise SystemExit(5)",
        "code_error", exit_code=5),
    Row("forge_ready", "print('oneshot1' * 3)\nraise SystemExit(6)", "code_error", exit_code=6,
        out="oneshot1" * 3 + "\n"),
    Row("forge_result_on_the_channel", WIRE + f"tell({RESULT})\nwhile True: pass", "code_error"),
    *(
        Row(f"forge_kind_{kind:#x}", WIRE + f"tell(frame({kind}, bytes(64)))\nwhile True: pass",
            "code_error")
        for kind in (0x00, 0x01, 0x08, 0x21, 0x41, 0x43, 0x49, 0x4A, 0x4D, 0x7F, 0xFF)
    ),
    Row("forge_length", WIRE + "tell(frame(VALUE, size=0xffffffff))\n"
        "while True: pass", "code_error"),
    Row("forge_half_a_frame", WIRE + "tell(frame(VALUE, b'x', size=9))\nraise SystemExit(4)",
        "code_error"),
    Row("forge_end_then_go_on", WIRE + "tell(end(0))\nprint('x' * 100)\nwhile True: pass",
        ("ok", "code_error")),
    Row("forge_end_of_failure", WIRE + "print('before')\ntell(end(300))\nraise SystemExit(2)",
        ("code_error", "ok"), out="before\n"),
    Row("forge_many_ends", WIRE + "tell(*[end(7)] * 2000)\nwhile True: pass", "code_error"),
    Row("forge_value_no_json", WIRE + "tell(frame(VALUE, b'1], \"outcome\": \"ok\"'))\n5",
        more=VALUE, check=no_result),
    Row("forge_value_nan", WIRE + "tell(frame(VALUE, b'[NaN, Infinity]'))", check=no_result),
    Row("forge_value_utf8", WIRE + "tell(frame(VALUE, b'\"\\xff\\xfe\"'))", check=no_result),
    Row("forge_value_nul", WIRE + "tell(frame(VALUE, b'\"a\\0b\"'))", check=no_result),
    Row("forge_value_two", WIRE + "tell(frame(VALUE, b'{}{}'))", check=no_result),
    Row("forge_value_name_twice", WIRE + "tell(frame(VALUE, b'{\"a\": 1, \"a\": 2}'))",
        check=no_result),
    Row("forge_value_deep", WIRE + "tell(frame(VALUE, b'[' * 30000 + b']' * 30000))",
        check=no_result),
    Row("forge_value_endless",
        WIRE + "while True: tell(frame(VALUE, b'x' * 65536, flags=1))",
        ("code_error", "timeout", "ok"), timeout=3, check=no_result),
    Row("forge_fault_no_json", WIRE + "tell(frame(FAULT, b'{\"type\": '))\nraise SystemExit(3)",
        "code_error", exit_code=3),
    Row("forge_fault_of_success", WIRE + "tell(frame(FAULT, b'{}'))\nprint('fine')", out="fine\n",
        check=lambda r: r["error"] is None or pytest.fail("an error")),
    Row("forge_fault_array", WIRE + "tell(frame(FAULT, b'[1]'))\nraise SystemExit(3)",
        "code_error", exit_code=3),
    Row("forge_fault_injects", WIRE + "tell(frame(FAULT, json.dumps({'type': 'A\\r\\nX: y', "
        "'message': "
        "'m', 'traceback': 't', 'outcome': 'ok'}).encode()))\nraise SystemExit(3)",
        "code_error", exit_code=3),
    Row("forge_call", WIRE + "tell(frame(CALL, b'{\"tool\": \"db_query\"}', ident=1))\nprint('x')",
        ("ok", "code_error")),
    Row("forge_calls_flood", WIRE + "for _ in range(20000): tell(frame(CALL, b'x' * 500))",
        "code_error"),
    Row("forge_everywhere",
        f"import os\nfor fd in range(256):\n    try: os.write(fd, {RESULT})\n"
        "    except OSError: pass\nprint('end')\nraise SystemExit(9)",
        "code_error"),
    Row("channel_closed", "import os\nos.close(3)\nprint('x')\nraise SystemExit(4)", "code_error",
        exit_code=4, out="x\n"),
    Row("channel_replaced", "import os\nos.dup2(os.open('/dev/null', 1), 3)\nraise SystemExit(4)",
        "code_error", exit_code=4),
    Row("channel_held_by_child",
        "import os, time\nfd = os.dup(3)\nif os.fork() == 0:\n    while True: time.sleep(9)\n"
        "os.close(3)\nraise SystemExit(4)",
        "code_error", exit_code=4),
    Row("channel_not_read", "import socket\ns = socket.socket(fileno=3)\ns.shutdown(0)\n"
        "s.shutdown(1)\n"
        "while True: pass", ("code_error", "timeout"), timeout=3),
    Row("forge_step", WIRE + "tell(*[frame(0x48, b'x' * 999)] * 500)\nprint('x')", out="x\n"),
    Row("forge_steps_endless", WIRE + "while True: tell(frame(0x48, b'x' * 65536))", "code_error"),
    Row("answers_are_not_taken",
        WIRE + "for n in range(1000): tell(frame(CALL, b'x', ident=n))\nprint('x')", out="x\n",
        more={"stdin": "y" * 500_000}),
]

WORKER = [
    Row("exit_at_once", "import os\nprint('lost?', end='')\nos._exit(0)", ("ok", "code_error")),
    Row("exit_with_status", "import os\nos._exit(77)", "code_error", exit_code=77),
    Row("stdout_none", "import sys\nsys.stdout = None\nprint('x')\n1 / 0", "code_error",
        err="ZeroDivisionError"),
    Row("stdout_raises",
        "import sys\nclass S:\n    def write(self, t): raise KeyboardInterrupt\n"
        "    def flush(self): raise SystemExit(0)\nsys.stdout = sys.stderr = S()\n1 / 0",
        "code_error"),
    Row("stdout_full", "import sys\nsys.stdout = open('/dev/full', 'w')\nprint('x')", "code_error",
        exit_code=120),
    Row("stdout_deleted", "import sys\ndel sys.stdout, sys.stderr, sys.excepthook\n1 / 0",
        "code_error"),
    Row("poison_json_module",
        "import json, json.encoder\njson.dumps = lambda *a, **k: '}{'\n"
        "json.JSONEncoder.encode = json.JSONEncoder.iterencode = None\n[1, 2]",
        more=VALUE, check=no_result),
    Row("poison_builtins",
        "import builtins\nfor n in ('isinstance', 'len', 'type', 'open', 'print', 'getattr', 'str',"
        " 'repr', 'bytes', 'min', 'range'):\n    setattr(builtins, n, lambda *a, **k: 1 / 0)\n"
        "1 / 0",
        "code_error"),
    Row("poison_traceback",
        "import traceback, linecache\ntraceback.TracebackException = None\nlinecache.cache = 7\n"
        "1 / 0",
        "code_error"),
    Row("poison_worker",
        "import sys\nfor name, module in list(sys.modules.items()):\n"
        "    if 'oneshot' in name: vars(module).clear()\nprint('cleared')",
        ("ok", "code_error")),
    Row("poison_modules", "import sys\nsys.modules.clear()\n1 / 0", "code_error"),
    Row("trace_everything",
        "import sys\ndef t(*a): raise MemoryError('mine')\nsys.settrace(t)\nsys.setprofile(t)\n"
        "1 / 0",
        "code_error"),
    Row("recursion_limit_tiny", "import sys\nsys.setrecursionlimit(12)\n1 / 0", "code_error"),
    Row("import_hook_spins",
        "import sys\nclass F:\n    def find_spec(*a):\n        while True: pass\n"
        "sys.meta_path.insert(0, F())\n1 / 0", ("code_error", "timeout"), timeout=3),
    Row("excepthook_spins",
        "import sys\ndef hook(*a):\n    while True: pass\nsys.excepthook = hook\n1 / 0",
        "timeout", timeout=3),
    Row("exception_str_spins",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        "timeout", timeout=3),
    Row("gc_reaches_the_channel",
        "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Wire':\n"
        "        o.send(0x62, bytes(12)); o.fd = 1\nraise SystemExit(8)",
        ("ok", "code_error")),
]

HOSTILE_VALUES = [
    Row("result_repr_loop",
        "class A:\n    def __repr__(self):\n        while True: pass\nA()", "timeout", timeout=3,
        more=VALUE, check=no_result),
    Row("result_repr_raises", "class A:\n    def __repr__(self): raise SystemExit(3)\nA()",
        ("ok", "code_error"), more=VALUE),
    Row("result_repr_no_text", "class A:\n    def __repr__(self): return 5\nA()",
        more=VALUE, check=result_has("repr failed")),
    Row("result_circular", "x = [1]\nx.append(x)\nx", more=VALUE, check=result_has("[...]")),
    Row("result_deep", "x = []\nfor _ in range(100_000): x = [x]\nx",
        ("ok", "code_error"), more=VALUE),
    Row("result_huge_string", "'x' * (64 << 20)", more=VALUE,
        check=lambda r: len(r["result"]) < 2 << 20 or pytest.fail("not cut")),
    Row("result_huge_list", "list(range(3_000_000))", more=VALUE,
        check=lambda r: len(r["result"]) < 2 << 20 or pytest.fail("not cut")),
    Row("result_huge_int", "1 << 1_000_000", more=VALUE),
    Row("result_nan", "[float('nan'), float('inf'), 1.5]", more=VALUE,
        check=result_is([None, None, 1.5])),
    Row("result_bad_strings", "['\\ud800', 'a\\0b', '\\u202e', b'\\xff']", more=VALUE,
        check=result_has("a\\u0000b")),
    Row("result_html", "'</script><script>alert(1)</script>'", more=VALUE,
        check=result_is("</script><script>alert(1)</script>")),
    Row("result_lies_about_itself",
        "class A(dict):\n    def items(self): return 1 / 0\n    __class__ = int\nA(a=1)",
        ("ok", "code_error"), more=VALUE),
    Row("result_items_endless",
        "class A(dict):\n    def items(self):\n        while True: yield 'a', 1\nA(a=1)",
        ("ok", "timeout"), timeout=3, more=VALUE),
]

TEXT = [
    Row("binary_output", "import os\nos.write(1, bytes(range(256)))",
        out=bytes(range(256)).decode(errors="replace")),
    Row("split_utf8",
        "import os, time\nfor byte in '\\u20ac\\U0001f600'.encode():\n"
        "    os.write(1, bytes([byte]))\n"
        "    time.sleep(0.02)", out="\u20ac\U0001f600"),
    Row("lone_surrogate_output", "print('\\ud800x')", out="\\ud800x\n"),
    Row("nul_output", "print('a\\0b')", out="a\0b\n"),
    Row("log_injection",
        "import sys\nclass E(Exception): pass\n"
        "E.__name__ = E.__qualname__ = 'x\\r\\n2026-01-01T00:00:00.000Z error keeper: "
        "\\x1b[2J\\u202e'\n"
        "sys.stderr.write('\\r\\n2026-01-01 front: forged\\x1b]0;x\\7')\n"
        "raise E('\\r\\nX-Evil: 1')",
        "code_error", exit_code=1),
    Row("header_injection_name", "open('a\\r\\nX-Evil: 1', 'w').close()"),
    Row("html_script_output", "print('<script>alert(1)</script>')",
        out="<script>alert(1)</script>\n"),
    Row("exact_cap_output", f"import os\nleft = {10 << 20}\n"
        "while left: left -= os.write(1, b'x' * min(left, 65536))\nraise SystemExit(3)",
        "code_error", exit_code=3,
        check=lambda r: not r["truncated"]["stdout"] and len(r["stdout"]) == 10 << 20
        or pytest.fail("cut")),
    Row("cap_and_one", f"import os\nleft = {(10 << 20) + 1}\n"
        "while left: left -= os.write(1, b'x' * min(left, 65536))\nraise SystemExit(3)",
        "code_error", exit_code=3,
        check=lambda r: r["truncated"]["stdout"] and len(r["stdout"]) <= 10 << 20
        or pytest.fail("not cut")),
    *(
        Row(f"exit_code_{code}", f"raise SystemExit({code})", "code_error" if code else "ok",
            exit_code=code & 255)
        for code in (0, 1, 2, 120, 124, 125, 126, 127, 128, 137, 139, 143, 255, -1)
    ),
    Row("traceback_of_hostile_source", "\n" * 60_000 + "x = '" + "é" * 30_000 + "'; 1 / 0",
        "code_error", err="line 60001"),
    Row("hostile_args", "import sys, os\nprint(sys.argv[1:], os.path.exists('pwned'))",
        out="['; touch pwned', '$(touch pwned)', '--', '\\n']  False\n".replace("  ", " "),
        more={"args": ["; touch pwned", "$(touch pwned)", "--", "\n"]}),
]

ROWS = FORGED + WORKER + HOSTILE_VALUES + TEXT


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_attack(arena: Arena, row: Row) -> None:
    row.verify(arena.reply(row))


@pytest.mark.parametrize("body", [
    pytest.param(b'{"code": "print(1)\\u0000 evil"}', id="nul_in_code"),
    pytest.param(b'{"code": "print(1)\0"}', id="raw_nul_in_code"),
    pytest.param(b'{"code": "print(\'\\ud800\')"}', id="lone_surrogate_code"),
    pytest.param(b'{"code": "print(\'\xff\')"}', id="invalid_utf8_code"),
    pytest.param(b'{"code": "1", "code": "2"}', id="code_twice"),
    pytest.param(b'{"code": "1", "files": [{"path": "../x", "text": ""}]}', id="input_traversal"),
    pytest.param(b'{"code": "1", "files": [{"path": "/etc/x", "text": ""}]}', id="input_absolute"),
    pytest.param(b'{"code": "1", "env": {"LD_PRELOAD": "/work/x.so"}}', id="env_not_allowed"),
    pytest.param(b'{"code": "1", "env": {"A=B": "x"}}', id="env_hostile_name"),
    pytest.param(b'{"code": "1", "policy": "../../etc/passwd"}', id="policy_traversal"),
    pytest.param(b'{"code": "1", "memory": 1e300}', id="memory_absurd"),
    pytest.param(b'{"code": "1", "HostConfig": {"Privileged": true}, "timeout": "x"}',
                 id="create_body_fields"),
])  # fmt: skip
def test_request_is_refused_before_anything_runs(service, body: bytes) -> None:
    reply = service.ask("native", "POST", "/v1/runs", body, {"Content-Type": "application/json"})
    assert 400 <= reply.status < 500, reply.text
    assert strict(reply.body)["status"] == reply.status
    assert "X-Container-Id" not in reply.headers
