"""Limits of the kernel, and that each is named only when it was both met and the cause of failure."""

from __future__ import annotations

from collections.abc import Callable

import frames
from conftest import MakeBox

Run = Callable[..., frames.Result]

EAT = "x = []\nwhile True: x.append(bytearray(1 << 20))"


def test_memory_bomb_is_an_oom(make: MakeBox) -> None:
    result = make(memory=96 << 20).run("print('before')\n" + EAT)
    assert (result.end, result.signal, result.out) == ("oom", 9, "before\n")
    assert result.has_peak and 40 << 20 < result.peak <= 96 << 20


def test_files_written_before_an_oom_come_back(make: MakeBox) -> None:
    code = "open('a', 'w').write('x')\n" + EAT
    assert make(memory=96 << 20).run(code, flags=frames.GATHER).files == {"a": b"x"}


def test_child_killed_for_memory_is_no_oom_when_the_program_copes(make: MakeBox) -> None:
    code = f"""
import os, sys
pid = os.fork()
if pid == 0:
    exec({EAT!r})
status = os.waitpid(pid, 0)[1]
print(os.waitstatus_to_exitcode(status))
sys.exit(int(os.environ['STATUS']))
"""
    result = make(memory=96 << 20).run(code, meta={"env": {"STATUS": "0"}})
    assert (result.end, result.exit_code, result.out) == ("normal", 0, "-9\n")
    result = make(memory=96 << 20).run(code, meta={"env": {"STATUS": "4"}})
    assert (result.end, result.exit_code) == ("oom", 4)


def test_warden_survives_when_the_worker_makes_itself_a_worse_choice(make: MakeBox) -> None:
    code = "open('/proc/self/oom_score_adj', 'w').write('0')\n" + EAT
    assert make(memory=96 << 20).run(code).end == "oom"


def test_absurd_allocation_is_an_error_of_the_program(run: Run) -> None:
    result = run("bytearray(1 << 62)")
    assert (result.end, result.exit_code) == ("normal", 1)
    assert result.err.endswith("MemoryError\n")


def test_peak_is_what_the_program_added(run: Run) -> None:
    result = run("x = bytearray(50 << 20)\nx[::4096] = b'x' * len(x[::4096])\ndel x")
    assert result.has_peak and 49 << 20 < result.peak < 70 << 20
    assert run("print(1)").peak < 8 << 20


def test_cpu_time_counts_all_processes(run: Run) -> None:
    code = """
import os, time
def burn():
    until = time.process_time() + 0.3  # of the process, whose worker ran before the program
    while time.process_time() < until: pass
if os.fork() == 0:
    burn(); os._exit(0)
burn(); os.wait()
"""
    result = run(code)
    assert 550_000 < result.cpu_us < 3_000_000
    assert run("import time\ntime.sleep(0.5)").cpu_us < 400_000


def test_fork_bomb_is_the_process_limit(make: MakeBox) -> None:
    result = make(pids=24).run("import os\nwhile True: os.fork()")
    assert (result.end, result.exit_code) == ("pids", 1)
    assert "BlockingIOError" in result.err


def test_thread_bomb_is_the_process_limit(make: MakeBox) -> None:
    code = (
        "import threading, time\nwhile True: "
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    result = make(pids=24).run(code)
    assert (result.end, result.exit_code) == ("pids", 1)


def test_process_limit_that_was_handled_is_no_failure(make: MakeBox) -> None:
    code = """
import os
n = 0
try:
    while True:
        if os.fork() == 0:
            import time; time.sleep(60)
        n += 1
except BlockingIOError:
    print('full', n > 5)
"""
    result = make(pids=24).run(code)
    assert (result.end, result.exit_code, result.out) == ("normal", 0, "full True\n")


def test_full_disk_is_named(make: MakeBox) -> None:
    result = make(tmpfs={"work": "1m"}).run("open('big', 'wb').write(b'x' * (4 << 20))")
    assert (result.end, result.exit_code) == ("disk", 1)
    assert "No space left on device" in result.err


def test_full_tmp_is_named(make: MakeBox) -> None:
    code = "open('/tmp/big', 'wb', buffering=0).write(b'x' * (4 << 20))\nopen('/tmp/b2', 'w').write('x' * 9999)"
    assert make(tmpfs={"tmp": "1m"}).run(code).end == "disk"


def test_out_of_inodes_is_named(make: MakeBox) -> None:
    code = "for n in range(5000): open(str(n), 'w').close()"
    result = make(tmpfs={"inodes": "200"}).run(code, flags=frames.GATHER)
    assert (result.end, len(result.files)) == ("disk", 100)


def test_full_disk_that_was_handled_is_no_failure(make: MakeBox) -> None:
    code = "try: open('big', 'wb').write(b'x' * (4 << 20))\nexcept OSError as e: print(e.errno)"
    result = make(tmpfs={"work": "1m"}).run(code)
    assert (result.end, result.exit_code, result.out) == ("normal", 0, "28\n")


def test_space_error_without_a_full_disk_is_the_programs_own(run: Run) -> None:
    result = run("raise OSError(28, 'No space left on device')")
    assert (result.end, result.exit_code) == ("normal", 1)


def test_file_size_limit_is_named(make: MakeBox) -> None:
    result = make(fsize=100_000).run("open('big', 'wb').write(b'x' * 200_000)")
    assert (result.end, result.exit_code) == ("disk", 1)
    assert "File too large" in result.err


def test_failure_of_another_kind_names_no_limit(make: MakeBox) -> None:
    result = make(tmpfs={"work": "1m"}).run("raise ValueError('x')")
    assert (result.end, result.exit_code) == ("normal", 1)


def test_deep_recursion_is_an_error_of_the_program(run: Run) -> None:
    result = run("def f(): f()\nf()")
    assert (result.end, result.exit_code) == ("normal", 1)
    assert "[Previous line repeated " in result.err
    assert result.err.endswith("RecursionError: maximum recursion depth exceeded\n")


def test_stack_overflow_is_a_signal(run: Run) -> None:
    code = "import sys\nsys.setrecursionlimit(10**8)\nclass A: pass\nA.__repr__ = lambda s: repr([s])\nrepr(A())"
    result = run(code)
    assert (result.end, result.signal) == ("normal", 11)
