"""What happens to what a program prints: order, caps, floods, readers that do not read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

import engine
import frames
from box import StreamEnded
from conftest import MakeBox

Run = Callable[..., frames.Result]


def test_streams_keep_their_order(make: MakeBox) -> None:
    """Each line is written once the one before has been seen: an answer on the channel says so."""
    box = make()
    box.start("""
import os, sys
for n in range(20):
    print(n)
    os.read(3, 8)
    print(n, file=sys.stderr)
    os.read(3, 8)
""")
    told: list[tuple[int, bytes]] = []
    deadline = time.monotonic() + engine.DEADLINE_S
    while len(told) < 40:
        kind, _, _, data = box.next(deadline)
        if kind in (frames.STDOUT, frames.STDERR):
            told.append((kind, data))
            box.send(frames.frame(frames.REPLY))
    wanted = [(kind, b"%d\n" % n) for n in range(20) for kind in (frames.STDOUT, frames.STDERR)]
    assert told == wanted
    assert box.wait().exit_code == 0


def test_output_is_live(make: MakeBox) -> None:
    box = make()
    box.start("print('first')\nimport time\ntime.sleep(60)")
    box.wait_for(frames.STDOUT, b"first")


def test_all_output_stands_before_ended(run: Run) -> None:
    code = "import os, sys\nos.write(1, b'x' * 60000)\nos.write(2, b'y' * 60000)\nos._exit(0)"
    result = run(code)
    assert (len(result.stdout), len(result.stderr)) == (60000, 60000)
    kinds = [kind for kind, _ in result.order]
    assert max(n for n, k in enumerate(kinds) if k in (frames.STDOUT, frames.STDERR)) < kinds.index(
        frames.ENDED
    )


def test_large_output_is_complete(run: Run) -> None:
    code = "import sys\nfor n in range(200_000): print(n)"
    wanted = "".join(f"{n}\n" for n in range(200_000)).encode()
    result = run(code, output_soft=4 << 20)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(wanted).digest()
    assert result.stdout_bytes == len(wanted) and not result.is_stdout_cut


@pytest.mark.parametrize(("extra", "is_cut"), [(-1, False), (0, False), (1, True)])
def test_soft_cap_is_exact(run: Run, extra: int, is_cut: bool) -> None:
    size = 100_000 + extra
    result = run(f"import sys\nsys.stdout.write('x' * {size})", output_soft=100_000)
    assert result.stdout_bytes == size
    assert len(result.stdout) == min(size, 100_000)
    assert (result.is_stdout_cut, result.is_stderr_cut, result.end) == (is_cut, False, "normal")


def test_soft_cap_holds_for_each_stream_by_itself(run: Run) -> None:
    code = "import sys\nprint('a' * 5000)\nprint('b' * 50, file=sys.stderr)\nsys.exit(3)"
    result = run(code, output_soft=1000)
    assert (len(result.stdout), len(result.stderr)) == (1000, 51)
    assert (result.is_stdout_cut, result.is_stderr_cut) == (True, False)
    assert (result.end, result.exit_code) == ("normal", 3)


def test_no_output_is_wanted(run: Run) -> None:
    result = run("print('x')", output_soft=0)
    assert (result.stdout, result.stdout_bytes, result.is_stdout_cut) == (b"", 2, True)


@pytest.mark.parametrize(("extra", "end"), [(0, "normal"), (1, "output")])
def test_hard_cap_is_exact(run: Run, extra: int, end: str) -> None:
    code = (
        "import os\nos.write(1, b'x' * 30000)\nos.write(2, b'y' * 30000)\n"
        f"os.write(1, b'z' * {extra})"
    )
    result = run(code, output_soft=1000, output_hard=60_000)
    assert result.end == end
    assert result.stdout_bytes + result.stderr_bytes >= 60_000 + extra


def test_flood_ends_at_the_hard_cap(run: Run) -> None:
    code = "import os\nblock = b'x' * 65536\nwhile True: os.write(1, block)"
    result = run(code, output_soft=100_000, output_hard=20_000_000)
    assert (result.end, len(result.stdout), result.is_stdout_cut) == ("output", 100_000, True)
    assert result.elapsed_s < 60.0


def test_tiny_writes_are_counted(run: Run) -> None:
    code = "import os\nfor _ in range(20000): os.write(2, b'x')"
    result = run(code)
    assert result.stderr == b"x" * 20000


def test_grandchild_prints_too(run: Run) -> None:
    result = run("import subprocess\nsubprocess.run(['sh', '-c', 'echo a; echo b >&2'])")
    assert (result.out, result.err) == ("a\n", "b\n")


@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("print('grüße 🎉')", "grüße 🎉\n".encode()),
        ("print('\\udcff|\\ud800')", b"\\udcff|\\ud800\n"),
        ("import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\n')", b"\xff\xfe\n"),
        ("print('a\\0b')", b"a\0b\n"),
        ("import sys\nsys.stderr.write('\\ud800')", b""),
    ],
)
def test_odd_text_never_fails(run: Run, code: str, stdout: bytes) -> None:
    result = run(code)
    assert (result.stdout, result.exit_code) == (stdout, 0)


# ---- readers that do not read ----

FLOOD = "import os\nblock = b'x' * 65536\nwhile True: os.write(1, block)"


def test_slow_reader_slows_the_program_and_loses_nothing(make: MakeBox) -> None:
    box = make()
    box.start(
        "import os\nfor n in range(400): os.write(1, b'%08d' % n * 4096)", output_soft=64 << 20
    )
    box.wait_for(frames.STARTED)
    box.wait_quiet()
    result = box.wait()
    assert result.stdout == b"".join(b"%08d" % n * 4096 for n in range(400))
    assert result.exit_code == 0


def test_deadline_holds_although_nobody_reads(make: MakeBox) -> None:
    box = make()
    box.start(FLOOD, timeout_ms=500, grace_ms=300, output_soft=1 << 40, output_hard=1 << 41)
    box.wait_for(frames.STDOUT)
    # The engine, its pipes and the warden's queue fill up; then only the deadline can end it.
    box.wait_alone()
    result = box.wait()
    assert result.end == "timeout" and result.wall_us < 45_000_000


def test_cancel_is_obeyed_although_nobody_reads(make: MakeBox) -> None:
    box = make()
    box.start(FLOOD, output_soft=1 << 40, output_hard=1 << 41)
    box.wait_for(frames.STDOUT)
    box.wait_quiet()
    box.send(frames.frame(frames.CANCEL))
    box.wait_alone()
    assert box.wait().end == "cancelled"


def test_closed_stream_ends_the_container_although_nobody_read(make: MakeBox) -> None:
    box = make()
    box.start(FLOOD, output_soft=1 << 40, output_hard=1 << 41)
    box.wait_for(frames.STDOUT)
    box.stream.close()
    assert box.wait_exit() in (0, 137)


def test_end_of_stream_parked_ends_the_container(make: MakeBox) -> None:
    box = make()
    box.stream.close()
    assert box.wait_exit() == 0


def test_nothing_follows_the_result(make: MakeBox) -> None:
    box = make()
    box.run("import threading, time\nthreading.Thread(target=lambda: [print('late') or "
            "time.sleep(0.001) for _ in range(100000)], daemon=True).start()")  # fmt: skip
    with pytest.raises(TimeoutError):
        box.next(time.monotonic() + 0.5)


def test_stream_ends_when_the_container_is_killed(make: MakeBox) -> None:
    box = make()
    box.start("import time\ntime.sleep(60)")
    box.wait_for(frames.STARTED)
    engine.call("POST", f"/containers/{box.id}/kill")
    with pytest.raises(StreamEnded):
        box.wait()
