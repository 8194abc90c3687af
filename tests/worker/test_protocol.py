"""The stream and the control channel: what the front may rely on, whatever the program does."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable

import pytest

import engine
import frames
from box import StreamEnded
from conftest import MakeBox

Run = Callable[..., frames.Result]
KEEP = frames.KEEP


def test_frames_come_in_their_order(run: Run) -> None:
    result = run("print(1)\n2", meta={"value": "last_expression"})
    kinds = [kind for kind, _ in result.order]
    assert kinds == [frames.STARTED, frames.STDOUT, frames.VALUE, frames.ENDED, frames.RESULT]


@pytest.mark.parametrize(
    "data",
    [
        frames.frame(0x77),
        frames.frame(frames.META, b"{}"),
        frames.frame(frames.GO),
        frames.frame(frames.JOB, b"short"),
        frames.frame(frames.JOB, b"\xff" * 52),
        frames.job() + frames.job(),
        frames.job() + frames.frame(frames.DATA, b"x"),
        frames.job() + frames.frame(frames.ENTRY, b"x"),
        frames.job() + frames.entry("a", b"12")[:-10] + frames.frame(frames.GO),
        frames.job() + frames.parts(frames.META, b" " * ((8 << 20) + 1)),
        frames.job() + frames.parts(frames.CODE, b" " * ((10 << 20) + 1)),
        struct.pack("<BBHI", frames.JOB, 0, 0, 65537),
        b"\xff" * 4096,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=range(14),
)
def test_breach_by_the_front_ends_the_container(make: MakeBox, data: bytes) -> None:
    box = make()
    try:
        box.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert box.wait_exit() in (0, 1)


def test_second_job_during_a_run_ends_the_container(make: MakeBox) -> None:
    box = make()
    box.start("import time\ntime.sleep(60)")
    box.wait_for(frames.STARTED)
    box.send(frames.job())
    assert box.wait_exit() == 0


def test_job_may_come_byte_by_byte(make: MakeBox) -> None:
    box = make()
    data = frames.job() + frames.frame(frames.META, b'{"filename": "<string>"}')
    data += frames.frame(frames.CODE, b"print(", frames.MORE) + frames.frame(frames.CODE, b"7)")
    data += frames.entry("f", b"x") + frames.frame(frames.GO)
    for at in range(len(data)):
        box.send(data[at : at + 1])
    box.sent = time.monotonic()
    assert box.wait().out == "7\n"


def test_large_code_arrives_whole(run: Run) -> None:
    code = "x = '" + "y" * (9 << 20) + "'\nprint(len(x))"
    assert run(code).out == f"{9 << 20}\n"


def test_frames_of_a_relay_that_there_is_not_end_the_container(make: MakeBox) -> None:
    box = make()
    box.send(frames.frame(frames.RELAY_DATA, b"x", ident=5))
    assert box.wait_exit() == 0


def test_late_frames_after_the_result_are_ignored(make: MakeBox) -> None:
    box = make()
    assert box.run("pass", flags=KEEP).end == "normal"
    for kind in (frames.CANCEL, frames.REPLY, frames.STDIN):
        box.send(frames.frame(kind, b""))
    assert box.run("print(2)", flags=KEEP).out == "2\n"


# ---- what a program may do with its end of the control channel ----

SEND = """
import os, struct
def send(kind, data=b'', flags=0, ident=0):
    os.write(3, struct.pack('<BBHI', kind, flags, ident, len(data)) + data)
"""


def test_forged_value_and_end_concern_the_own_run_only(run: Run) -> None:
    code = (
        SEND + "send(0x45, b'\"mine\"')\nsend(0x62, struct.pack('<iiI', 5, 0, 0))\nprint('after')"
    )
    result = run(code)
    assert (result.end, result.exit_code, result.value) == ("normal", 5, b'"mine"')


@pytest.mark.parametrize(
    "code",
    [
        "send(0x41, b'oneshot1')",
        "send(0x4e, b'\\0' * 52)",
        "send(0x43, b'forged')",
        "send(0x49)",
        "send(0x4a, b'\\0' * 20)",
        "send(0x21, b'host:1')",
        "send(0x62, b'short')",
        "send(0x62, struct.pack('<iiI', 256, 0, 0))",
        "send(0x62, struct.pack('<iiI', 0, 0, 8))",
        "send(0x61)",
        "os.write(3, b'\\xff' * 100000)",
        "while True: send(0x46, b'x' * 65536)",
        "while True: send(0x45, b'x' * 65536)",
    ],
)
def test_forged_frames_end_the_run_as_an_error_of_the_program(run: Run, code: str) -> None:
    result = run(SEND + "print('known')\n" + code + "\nimport time\ntime.sleep(60)")
    assert (result.end, result.signal, result.out) == ("normal", 9, "known\n")
    assert b"forged" not in result.stdout
    assert len(result.value) <= 17 << 20 and len(result.fault) <= 2 << 20


def test_calls_are_carried_with_their_number_and_answered(make: MakeBox) -> None:
    box = make()
    box.start(SEND + "send(0x47, b'{}', ident=300)\nhead = os.read(3, 8)\n"
              "print(struct.unpack('<BBHI', head), os.read(3, 100))")  # fmt: skip
    deadline = time.monotonic() + engine.DEADLINE_S
    while True:
        kind, _, ident, data = box.next(deadline)
        if kind == frames.CALL:
            break
    assert (ident, data) == (300, b"{}")
    box.send(frames.frame(frames.REPLY, b"answer", ident=300))
    assert box.wait().out == "(9, 0, 300, 6) b'answer'\n"


def test_what_was_printed_stands_before_the_call(make: MakeBox) -> None:
    """Later output may come earlier than a frame, earlier output never later."""
    result = make().run(SEND + "for n in range(50):\n    print(n)\n    send(0x48, b'%d' % n)")
    printed, steps = b"", []
    for kind, data in result.order:
        if kind == frames.STDOUT:
            printed += data
        elif kind == frames.STEP:
            assert data in printed.split()
            steps.append(int(data))
    assert steps == list(range(50))


def test_answers_that_nobody_reads_do_not_stop_the_deadline(make: MakeBox) -> None:
    box = make()
    box.start("import time\ntime.sleep(60)", timeout_ms=700, grace_ms=100)
    box.wait_for(frames.STARTED)
    box.stream.socket.settimeout(0.2)
    try:
        for _ in range(200):
            box.send(frames.frame(frames.REPLY, b"x" * 65536))
    except TimeoutError:
        pass  # the warden has stopped reading
    assert box.wait().end == "timeout"


# ---- one stream, several runs ----


def test_kept_worker_serves_another_run_with_its_variables(make: MakeBox) -> None:
    box = make()
    result = box.run("x = 41\nprint('one')", flags=KEEP)
    assert (result.out, result.is_kept) == ("one\n", True)
    result = box.run("print(x + 1)", flags=KEEP)
    assert (result.out, result.stdout_bytes, result.is_kept) == ("42\n", 3, True)
    result = box.run("print(x)")
    assert (result.out, result.is_kept) == ("41\n", False)
    with pytest.raises((TimeoutError, StreamEnded)):
        box.start("print(x)")
        box.wait(within=1.0)


def test_failed_run_keeps_the_session(make: MakeBox) -> None:
    box = make()
    assert box.run("y = 3\n1 / 0", flags=KEEP).exit_code == 1
    assert box.run("import sys\nprint(y)\nsys.exit(2)", flags=KEEP).exit_code == 2
    assert box.run("print(y)", flags=KEEP).out == "3\n"


def test_kept_worker_loses_its_other_processes(make: MakeBox) -> None:
    box = make()
    code = "import subprocess\np = subprocess.Popen(['sleep', '100'])\nprint(p.pid)"
    assert box.run(code, flags=KEEP).exit_code == 0
    assert box.run("print(p.wait())", flags=KEEP).out == "-9\n"
    assert len(box.processes()) == 2


def test_kept_worker_threads_are_joined_and_pools_are_not(make: MakeBox) -> None:
    box = make()
    code = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
pool.submit(abs, 1).result()
def late():
    time.sleep(0.2)
    print('joined')
threading.Thread(target=late).start()
"""
    assert box.run(code, flags=KEEP).out == "joined\n"
    assert box.run("print(pool.submit(abs, -3).result())", flags=KEEP).out == "3\n"


def test_output_between_runs_belongs_to_no_run(make: MakeBox) -> None:
    box = make()
    code = """
import os, subprocess, threading, time
def late():
    first.wait()  # the end of the run takes all other processes along
    time.sleep(0.5)
    os.write(1, b'stale')
    subprocess.Popen(['sleep', '99'])
first = subprocess.Popen(['sleep', '88'])
threading.Thread(target=late, daemon=True).start()
"""
    assert box.run(code, flags=KEEP).exit_code == 0
    box.wait_until(lambda: "sleep 99" in box.processes())
    result = box.run("print('mine')", flags=KEEP)
    assert (result.out, result.stdout_bytes) == ("mine\n", 5)


def test_files_are_sent_once_over_a_session(make: MakeBox) -> None:
    box = make()
    flags = KEEP | frames.GATHER | frames.TMP
    first = box.run("open('a', 'w').write('1')\nopen('/tmp/t.csv', 'w').write('2')", flags=flags)
    assert (first.files, first.tmp_files) == ({"a": b"1"}, {"t.csv": b"2"})
    second = box.run("open('b', 'w').write('3')", flags=flags)
    assert (second.files, second.tmp_files) == ({"b": b"3"}, {})
    third = box.run("open('a', 'w').write('4')", flags=flags, files=frames.entry("c", b"5"))
    assert third.files == {"a": b"4"}


def test_each_run_of_a_session_has_its_own_standard_input(make: MakeBox) -> None:
    box = make()
    code = "import sys\nprint(repr(sys.stdin.read()))"
    assert box.run(code, flags=KEEP, stdin=b"first").out == "'first'\n"
    assert box.run(code, flags=KEEP).out == "''\n"
    assert box.run(code, flags=KEEP, stdin=b"third").out == "'third'\n"


def test_input_module_of_a_later_run_is_found(make: MakeBox) -> None:
    box = make()
    box.run("import sys", flags=KEEP)
    result = box.run(
        "import helper\nprint(helper.x)", flags=KEEP, files=frames.entry("helper.py", b"x = 1")
    )
    assert result.out == "1\n"


def test_limit_ends_the_session(make: MakeBox) -> None:
    box = make()
    result = box.run("import time\ntime.sleep(60)", flags=KEEP, timeout_ms=300)
    assert (result.end, result.is_kept) == ("timeout", False)
    assert len(box.processes()) <= 2
    box.send(frames.job())
    assert box.wait_exit() == 0


def test_forged_frames_between_runs_are_dropped(make: MakeBox) -> None:
    box = make()
    code = """
import subprocess, threading, time
def forge():
    first.wait()  # the end of the run takes all other processes along
    time.sleep(0.5)
    send(0x45, b'"old"')
    send(0x62, struct.pack('<iiI', 9, 0, 0))
    subprocess.Popen(['sleep', '99'])
first = subprocess.Popen(['sleep', '88'])
threading.Thread(target=forge, daemon=True).start()
"""
    assert box.run(SEND + code, flags=KEEP).is_kept
    box.wait_until(lambda: "sleep 99" in box.processes())
    result = box.run("print(first.poll())", flags=KEEP)
    assert (result.out, result.exit_code, result.value) == ("-9\n", 0, b"")


def test_worker_that_dies_parked_ends_the_container(make: MakeBox) -> None:
    box = make()
    code = """
import os, subprocess, threading, time
def leave():
    first.wait()
    time.sleep(0.5)
    os._exit(1)
first = subprocess.Popen(['sleep', '88'])
threading.Thread(target=leave, daemon=True).start()
"""
    assert box.run(code, flags=KEEP).is_kept
    assert box.wait_exit() == 1


def test_worker_that_dies_at_the_end_of_a_run_is_not_said_to_be_kept(make: MakeBox) -> None:
    box = make()
    code = """
import os, subprocess, threading
first = subprocess.Popen(['sleep', '88'])
threading.Thread(target=lambda: (first.wait(), os._exit(1)), daemon=True).start()
"""
    result = box.run(code, flags=KEEP)
    assert result.exit_code == 0 and (not result.is_kept or box.wait_exit() == 1)


def test_meta_is_optional_and_unknown_keys_are_ignored(run: Run, make: MakeBox) -> None:
    assert run("print(1)", meta={"later": [1, 2], "argv": None}).out == "1\n"
    box = make()
    box.send(frames.job() + frames.frame(frames.CODE, b"print(2)") + frames.frame(frames.GO))
    box.sent = time.monotonic()
    assert box.wait().out == "2\n"


def test_fault_is_json_in_one_piece(run: Run) -> None:
    fault = json.loads(run("raise ValueError('x' * 300_000)").fault)
    assert len(fault["message"]) == 65536 and fault["type"] == "ValueError"
