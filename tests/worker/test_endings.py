"""How runs end: exit statuses, exceptions, signals, deadlines, cancellation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]


@pytest.mark.parametrize(
    ("code", "status", "stderr"),
    [
        ("import sys\nsys.exit()", 0, ""),
        ("import sys\nsys.exit(0)", 0, ""),
        ("import sys\nsys.exit(3)", 3, ""),
        ("import sys\nsys.exit(256 + 7)", 7, ""),
        ("import sys\nsys.exit(-1)", 255, ""),
        ("import sys\nsys.exit(2 ** 80)", 255, ""),
        ("import sys\nsys.exit(True)", 1, ""),
        ("class N(int):\n    def __and__(s, o): 1 / 0\nraise SystemExit(N(3))", 3, ""),
        ("import sys\nsys.exit('why')", 1, "why\n"),
        ("import sys\nsys.exit([1])", 1, "[1]\n"),
        ("raise SystemExit", 0, ""),
        ("exit(4)", 4, ""),
        ("quit()", 0, ""),
        ("class A:\n    def __str__(s): 1 / 0\nraise SystemExit(A())", 1, "<unprintable A object>\n"),
        ("import os\nos._exit(9)", 9, ""),
        ("import os\nos._exit(0)", 0, ""),
        ("import sys\ntry:\n    sys.exit(5)\nfinally:\n    print('x', file=sys.stderr)", 5, "x\n"),
        ("import atexit, sys\natexit.register(sys.exit, 8)\n", 0, None),
        ("import sys\nsys.stdout.close()", 0, ""),
        ("import os\nos.close(1)\nprint('lost')", 120, None),
    ],
)  # fmt: skip
def test_exit_status(run: Run, code: str, status: int, stderr: str | None) -> None:
    result = run(code)
    assert (result.end, result.exit_code, result.signal) == ("normal", status, 0)
    if stderr is not None:
        assert result.err == stderr


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("import os\nos.kill(os.getpid(), 9)", 9),
        ("import os\nos.kill(os.getpid(), 15)", 15),
        ("import os\nos.abort()", 6),
        ("import ctypes\nctypes.string_at(0)", 11),
        ("raise KeyboardInterrupt", 2),
    ],
)
def test_signal_that_ended_it(run: Run, code: str, number: int) -> None:
    result = run(code)
    assert (result.end, result.signal, result.exit_code) == ("normal", number, 0)


def test_output_before_a_crash_is_kept(run: Run) -> None:
    result = run("import os\nprint('before')\nos.kill(os.getpid(), 9)")
    assert (result.out, result.signal) == ("before\n", 9)


def test_keyboard_interrupt_shows_its_traceback(run: Run) -> None:
    assert run("raise KeyboardInterrupt").err.endswith("\nKeyboardInterrupt\n")


# ---- deadlines ----

SOON_S = 60.0  # at once, on a machine that is busy with other things


def timed_out(run: Run, code: str, **options: int) -> frames.Result:
    """With as much time as this machine needs to come to the program's first line."""
    for timeout_ms in (1000, 6000, 36_000):
        result = run(code, timeout_ms=timeout_ms, **options)
        if result.out:
            break
    return result


def test_first_stage_flushes_what_was_printed(run: Run) -> None:
    code = "import time\nprint('line')\nprint('part', end='')\nwhile True: time.sleep(99)"
    result = timed_out(run, code, grace_ms=90_000)
    assert (result.end, result.out) == ("timeout", "line\npart")
    assert 0.95 < result.elapsed_s < SOON_S, "the first stage ends it, long before the second"


def test_first_stage_ends_a_busy_loop(run: Run) -> None:
    result = run("while True: pass", timeout_ms=300, grace_ms=90_000)
    assert result.end == "timeout" and result.elapsed_s < SOON_S


def test_second_stage_ends_what_does_not_listen(run: Run) -> None:
    code = (
        "import signal, time\nfor n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "print('deaf')\nwhile True: time.sleep(99)"
    )
    result = timed_out(run, code, grace_ms=300)
    assert (result.end, result.out) == ("timeout", "deaf\n")
    assert 1.25 < result.elapsed_s < SOON_S


def test_second_stage_ends_a_long_call_in_c(run: Run) -> None:
    result = run("10 ** 10 ** 9", timeout_ms=200, grace_ms=200)
    assert result.end == "timeout" and result.elapsed_s < SOON_S


def test_deadline_takes_the_children_along(make: MakeBox) -> None:
    box = make()
    result = box.run("import os\nos.system('sleep 100')", timeout_ms=300, grace_ms=200)
    assert result.end == "timeout" and result.elapsed_s < SOON_S


def test_no_time_at_all_is_a_timeout(run: Run) -> None:
    result = run("print(1)\nimport time\ntime.sleep(99)", timeout_ms=0, grace_ms=500)
    assert result.end == "timeout" and result.elapsed_s < SOON_S


def test_files_written_before_a_timeout_come_back(run: Run) -> None:
    code = "open('a', 'w').write('x')\nprint('x')\nimport time\ntime.sleep(99)"
    result = timed_out(run, code, flags=frames.GATHER)
    assert (result.end, result.files) == ("timeout", {"a": b"x"})


def test_late_end_report_does_not_count(run: Run) -> None:
    """A program that catches the deadline and leaves with status 0 was ended all the same."""
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGXCPU, lambda *a: sys.exit(0))\n"
        "time.sleep(60)"
    )
    result = run(code, timeout_ms=1000, grace_ms=90_000)
    assert result.end == "timeout" and result.elapsed_s < SOON_S


def test_cancel_ends_at_once(make: MakeBox) -> None:
    box = make()
    box.start("print('on')\nimport time\ntime.sleep(600)")
    box.wait_for(frames.STDOUT, b"on")
    box.send(frames.frame(frames.CANCEL))
    assert box.wait(SOON_S).end == "cancelled"


def test_cancel_before_go_runs_nothing(make: MakeBox) -> None:
    box = make()
    box.sent = time.monotonic()
    box.send(frames.job() + frames.frame(frames.CODE, b"print(1)") + frames.frame(frames.CANCEL))
    result = box.wait()
    assert (result.end, result.out) == ("cancelled", "")


# ---- what is left running ----

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open('beat', 'a').write('x')
            time.sleep(0.01)
    os._exit(0)
os.wait()
while not os.path.exists('beat'): time.sleep(0.001)
print('parent is done')
"""


def test_daemon_is_not_waited_for(run: Run) -> None:
    result = run(DAEMON, flags=frames.GATHER)
    assert (result.end, result.exit_code, result.out) == ("normal", 0, "parent is done\n")
    assert result.elapsed_s < SOON_S and "beat" in result.files


def test_daemon_that_holds_the_output_is_not_waited_for(run: Run) -> None:
    result = run("import subprocess\nsubprocess.Popen(['sleep', '100'])\nprint('x')")
    assert (result.out, result.exit_code) == ("x\n", 0) and result.elapsed_s < SOON_S


def test_zombies_do_not_matter(run: Run) -> None:
    code = "import os\nfor _ in range(40):\n    if os.fork() == 0: os._exit(0)\nprint('made')\n"
    assert run(code).out == "made\n"


def test_orphans_are_reaped_while_the_program_runs(run: Run) -> None:
    code = """
import os, subprocess, time
for _ in range(200):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    states = []
    for name in os.listdir('/proc'):
        try: states += [open(f'/proc/{name}/stat').read().rsplit(')')[1].split()[0]] * name.isdigit()
        except OSError: pass
    if 'Z' not in states: break
print(states.count('Z'))
"""
    assert run(code).out == "0\n"


def test_forked_child_may_run_into_the_end_of_the_program(run: Run) -> None:
    code = "import os, sys\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\nelse: print('c')"
    result = run(code)
    assert sorted(result.out.split()) == ["0", "c"] and result.exit_code == 0


def test_exception_in_a_forked_child_is_its_own(run: Run) -> None:
    code = "import os\npid = os.fork()\nif pid == 0: 1 / 0\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    result = run(code)
    assert (result.out, result.exit_code, result.fault) == ("1\n", 0, b"")
    assert "ZeroDivisionError" in result.err


def test_program_that_closes_all_descriptors_still_ends_truly(run: Run) -> None:
    result = run("import os, sys\nprint('x')\nos.closerange(3, 200)\nsys.exit(6)")
    assert (result.end, result.exit_code, result.out) == ("normal", 6, "x\n")


def test_program_that_reuses_the_channels_descriptor_still_ends_truly(run: Run) -> None:
    code = "import os\nos.close(3)\nf = open('a', 'w+')\nassert f.fileno() == 3\nos._exit is None\n"
    result = run(code + "import sys\nsys.exit(7)", flags=frames.GATHER)
    assert (result.exit_code, result.files) == (7, {"a": b""})


# ---- what is told of an exception ----


def test_fault_names_the_exception(run: Run) -> None:
    result = run("class MyError(Exception): pass\nraise MyError('because')")
    fault = json.loads(result.fault)
    assert fault == {"type": "MyError", "message": "because", "traceback": result.err}
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("import sys\nsys.exit('no data')", "SystemExit", "no data"),
        ("class Done(SystemExit): pass\nraise Done(['a', 1])", "Done", "['a', 1]"),
    ],
)
def test_exit_with_a_message_is_a_fault(run: Run, code: str, name: str, message: str) -> None:
    result = run(code)
    assert (result.exit_code, result.err) == (1, message + "\n")
    assert json.loads(result.fault) == {"type": name, "message": message, "traceback": ""}


@pytest.mark.parametrize("code", ["raise SystemExit", "raise SystemExit(0)", "raise SystemExit(3)"])
def test_exit_with_a_number_is_no_fault(run: Run, code: str) -> None:
    assert run(code).fault == b""


def test_fault_of_a_library_has_its_module(run: Run) -> None:
    fault = json.loads(run("import json\njson.loads('{')").fault)
    assert fault["type"] == "json.decoder.JSONDecodeError"


def test_no_fault_without_an_exception(run: Run) -> None:
    assert run("import sys\nsys.exit(1)").fault == b""
