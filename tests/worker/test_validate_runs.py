"""Validation within a run: refused before anything of the program runs, and nobody can feign it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import frames
import rules
from conftest import MakeBox

Run = Callable[..., frames.Result]

EXECUTOR = {"validation": rules.of_policy("executor"), "value": "last_expression", "await": True}
FEW = {"validation": rules.meta({"imports": {"block": ["os"]}})}


def check_refused(result: frames.Result, reason: str) -> None:
    assert (result.end, result.exit_code, result.signal) == ("blocked", 1, 0)
    assert json.loads(result.fault) == {"type": "SecurityError", "message": reason, "traceback": ""}
    assert (result.out, result.err, result.value) == ("", "", b"")


def test_a_refused_program_does_not_run(run: Run) -> None:
    code = "print('here')\nopen('trace', 'w').close()"
    result = run(code, meta=EXECUTOR, flags=frames.CHECK | frames.GATHER)
    check_refused(result, "Use of 'open' is not allowed in sandbox")
    assert result.files == {}


def test_a_program_that_passes_runs(run: Run) -> None:
    code = "import json\nprint(json.dumps([1]))\n{'a': 1}"
    result = run(code, meta=EXECUTOR, flags=frames.CHECK)
    assert (result.end, result.exit_code, result.out) == ("normal", 0, "[1]\n")
    assert json.loads(result.value) == {"a": 1}
    result = run("import sys\nsys.exit(3)", meta=FEW, flags=frames.CHECK)
    assert (result.end, result.exit_code) == ("normal", 3)


def test_top_level_await_passes(run: Run) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\nasyncio.run(asyncio.sleep(0))\n7"
    result = run(code, meta=EXECUTOR, flags=frames.CHECK)
    assert (result.end, result.value) == ("normal", b"7"), result.err


def test_tool_modules_may_be_imported(run: Run) -> None:
    tools = {"workspace": "/tmp/mcp_workspace", "modules": [{"name": "data", "doc": "", "functions": []}]}
    code = "try:\n    import data\nexcept ImportError: pass\nprint('ran')"
    check_refused(run(code, meta=EXECUTOR, flags=frames.CHECK), "Import of 'data' is not permitted")
    result = run(code, meta={**EXECUTOR, "tools": tools}, flags=frames.CHECK)
    assert (result.end, result.out) == ("normal", "ran\n")


def test_a_syntax_error_is_refused_or_the_programs_own_as_the_rules_say(run: Run) -> None:
    check_refused(run("x = (", meta=EXECUTOR, flags=frames.CHECK), "Code failed to parse: '(' was never closed")
    result = run("x = (", meta=FEW, flags=frames.CHECK)
    assert (result.end, result.exit_code) == ("normal", 1)
    assert json.loads(result.fault)["type"] == "SyntaxError"
    assert 'File "<string>", line 1\n    x = (\n' in result.err and "validate" not in result.err


FEIGNED = """
import sys, struct
os = sys.modules["os"]
if {by_class}:
    raise sys.modules["_oneshot.ending"].Refused("no")
os.write(3, bytes((0x46, 0, 0, 0)) + struct.pack("<I", 2) + b"{{}}")
os.write(3, bytes((0x62, 0, 0, 0)) + struct.pack("<IIII", 12, 1, 0, 1))
os._exit(1)
"""


@pytest.mark.parametrize("meta", [FEW, {}], ids=["checked", "unchecked"])
@pytest.mark.parametrize("by_class", [True, False])
def test_a_program_that_runs_cannot_feign_a_refusal(
    run: Run, meta: dict[str, object], by_class: bool
) -> None:
    result = run(FEIGNED.format(by_class=by_class), meta=meta, flags=frames.CHECK if meta else 0)
    assert (result.end, result.exit_code) == ("normal", 1)


def test_a_warning_of_the_parser_is_shown_once(run: Run) -> None:
    result = run("x = 1if 1 else 2", meta=FEW, flags=frames.CHECK)
    assert (result.end, result.err.count("invalid decimal literal")) == ("normal", 1)


@pytest.mark.parametrize(
    "code",
    ["x" + "+x" * 200_000, "-" * 1_000_000 + "1", "if x: 1\n" + "elif x: 1\n" * 100_000, "[" * 1_000_000,
     "9" * 1_000_000, "\0", "x = 1\n" * 500_000],
    ids="sum unary elif brackets digits nul long".split(),
)  # fmt: skip
def test_hostile_texts_are_verdicts_and_no_crashes(run: Run, code: str) -> None:
    result = run(code, meta=EXECUTOR, flags=frames.CHECK)
    check_refused(result, json.loads(result.fault)["message"])
    result = run(code, meta=FEW, flags=frames.CHECK, timeout_ms=60_000)
    assert result.signal == 0 or result.end in ("timeout", "oom"), "not by a crash"


def test_in_a_kept_worker_each_run_is_checked_and_variables_stay(make: MakeBox) -> None:
    box = make()
    flags = frames.CHECK | frames.KEEP
    assert box.run("a = 1\nimport sys\nsys.setrecursionlimit(10**8)", meta=FEW, flags=flags).end == "normal"
    check_refused(box.run("a = 2\nimport os", meta=FEW, flags=flags), "Import of 'os' is not permitted")
    result = box.run("x" + "+x" * 300_000, meta=FEW, flags=flags)
    check_refused(result, "Code failed to parse: too many levels of nesting")
    assert result.is_kept
    assert box.run("print(a)", meta=FEW, flags=flags).out == "1\n"
    assert box.run("import os\nprint(os.sep)", flags=frames.KEEP).out == "/\n"
