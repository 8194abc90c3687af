"""The worker's life: up, warm, run, report; and again where the container is kept."""

from __future__ import annotations

import os
import sys

from . import ending, job, plots, rehearsal, wire
from .warm import Warmer

IDLE_S = 0.01  # so long a job may come before the imports begin

# Every job needs these. They are imported behind UP, and before a program could see them half done.
ALWAYS = ("json", "linecache", "threading", "traceback")


def take_settings() -> tuple[str, list[str]]:
    """The keeper's settings; programs do not see them."""
    work_dir = os.environ.get("ONESHOT_WORK") or "/work"
    names = os.environ.get("ONESHOT_WARM", "").split(",")
    for name in [name for name in os.environ if name.startswith("ONESHOT_")]:
        del os.environ[name]
    return work_dir, [name.strip() for name in names if name.strip()]


def wait_a_moment(channel: wire.Wire, seconds: float = IDLE_S) -> bool:
    """True as soon as a job comes."""
    import select

    return bool(select.select([channel.fd], [], [], seconds)[0])


def prepare_streams() -> None:
    # Line by line, so that output is live and stdout and stderr keep their order. Lone surrogates
    # are written as \udcff: never an exception, and nothing that would have to be repaired.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    for fd in (wire.FD, wire.STDIN_FD):
        os.set_inheritable(fd, False)


def main() -> None:
    work_dir, names = take_settings()
    channel = wire.Wire()
    prepare_streams()
    ending.install_deadline(channel)
    channel.send(wire.UP)
    for name in ALWAYS:
        __import__(name)
    from . import program

    plots.prepare_environment()
    warmer = Warmer(names)
    if not wait_a_moment(channel):
        rehearsal.run()
        if names and not wait_a_moment(channel, 0):
            warmer.start()
    session = program.Session(channel, work_dir)
    while True:
        try:
            current = job.receive(channel, warmer.ask)
        except wire.Lost:
            os._exit(0)
        warmer.hold()
        session.run(current)
        channel.takes_descriptors = True
