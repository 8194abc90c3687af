"""How a program ends: exit statuses as CPython has them, and the report to the warden."""

from __future__ import annotations

import os
import sys

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import Calls

DEADLINE_SIGNAL = 24  # SIGXCPU: from the warden at the time limit, from the kernel at RLIMIT_CPU
SIGINT = 2

NO_FLUSH = 120  # CPython's exit status when standard output cannot be written


class Refused(Exception):
    """Validation refuses the program, and says why: nothing of it has run."""


class Parked:
    """Threads of the worker's own that stand still and are none of the program's."""

    threads = 0


class Ending:
    """What became of the program's main module."""

    def __init__(self) -> None:
        self.exit_code = 0
        self.errno = 0
        self.is_no_memory = False
        self.is_interrupted = False
        self.is_blocked = False

    def failed(self, error: BaseException) -> None:
        """An exception ended it, and has been shown."""
        self.exit_code = 1
        try:
            self.look_at(error)
        except BaseException:
            pass  # its attributes may be the program's own code

    def look_at(self, error: BaseException) -> None:
        self.is_interrupted = isinstance(error, KeyboardInterrupt)
        seen: set[int] = set()
        link: BaseException | None = error
        # A library may wrap the cause: what says that a limit was hit can stand further down.
        while link is not None and id(link) not in seen and len(seen) < 100:
            seen.add(id(link))
            if isinstance(link, OSError) and not self.errno and isinstance(link.errno, int):
                self.errno = link.errno & 0x7FFFFFFF
            self.is_no_memory |= isinstance(link, MemoryError)
            link = link.__cause__ or link.__context__


def exit_status(error: SystemExit) -> tuple[int, object]:
    """Exit status of a SystemExit, and the object that is to be printed (None: nothing)."""
    try:
        code = error.code
        if code is None:
            return 0, None
        if isinstance(code, int):
            number = int.__int__(code)
            return (number & 0xFF if -(2**63) <= number < 2**63 else 0xFF), None
        return 1, code
    except BaseException:
        return 1, error  # `code` is the program's own


def flush() -> bool:
    """Flushes standard output and error; False when output is lost."""
    is_good = True
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException:
            is_good = is_good and stream not in (sys.stdout, sys.__stdout__)
    return is_good


def flush_files() -> None:
    """Files that the program left open: CPython would write their buffers when it finalises."""
    import gc
    import io

    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    # What was there before the run is frozen and not among these objects.
    for thing in gc.get_objects():
        try:
            if issubclass(type(thing), kinds) and not thing.closed:
                thing.flush()
        except BaseException:
            continue


def forget(names: dict[str, object]) -> None:
    """
    Drops the main module's variables in the order in which CPython does: files are closed, __del__
    methods run. Not while other threads live on, which would stumble over what is gone.
    """
    import _thread

    if _thread._count() > Parked.threads:
        return
    for name in ("last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
    for is_private in (True, False):
        for name in list(names):
            if name == "__builtins__" or (is_private and (name[:1] != "_" or name[1:2] == "_")):
                continue
            try:
                names[name] = None
            except BaseException:
                continue


def shut_down() -> None:
    """What CPython does first when it ends: non-daemon threads are joined, atexit handlers run."""
    import atexit
    import threading

    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        try:
            step()
        except BaseException as error:
            report_ignored(error, step)


def join_threads() -> None:
    """
    Where the interpreter lives on for another run: waits for the threads that this run started, but
    not for those of pools, which wait for work until the interpreter ends.
    """
    import threading

    pools = sys.modules.get("concurrent.futures.thread")
    pooled = getattr(pools, "_threads_queues", ())
    for thread in threading.enumerate():
        if thread is threading.main_thread() or thread.daemon or thread in pooled:
            continue
        try:
            thread.join()
        except BaseException as error:
            report_ignored(error, thread)
            return


def report_ignored(error: BaseException, where: object) -> None:
    from . import tracebacks

    try:
        name = getattr(where, "__qualname__", None) or repr(where)
        tracebacks.show_text(f"Exception ignored in: {name}\n")
        tracebacks.show(error)
    except BaseException:
        pass


def finish(
    channel: wire.Wire,
    ending: Ending,
    names: dict[str, object],
    is_kept: bool,
    calls: Calls | None = None,
) -> None:
    """
    The end of a run, without finalising the interpreter: that takes 140 ms with pandas loaded, and
    the warden stops or kills the process anyway. Whoever was forked off by the program and ran into
    its end is an ordinary process and leaves in the ordinary way.
    """
    if os.getpid() != channel.pid:
        sys.exit(ending.exit_code)
    if is_kept:
        join_threads()
        if calls is not None:
            calls.close()
    else:
        shut_down()
        is_flushed = flush()
        forget(names)
    flush_files()
    if not flush() or not (is_kept or is_flushed):
        ending.exit_code = NO_FLUSH
    if ending.is_interrupted and not is_kept:
        die_of_interrupt()
    report = wire.end_report(
        ending.exit_code, ending.errno, ending.is_blocked, ending.is_no_memory
    )
    try:
        channel.send(wire.END, report)
    except wire.Lost:
        os._exit(ending.exit_code)


def die_of_interrupt() -> None:
    import _signal  # type: ignore[import-not-found]

    _signal.signal(SIGINT, _signal.SIG_DFL)
    os.kill(os.getpid(), SIGINT)


def install_deadline(channel: wire.Wire) -> None:
    """At the time limit the output so far is flushed; a program may put its own handler instead."""
    import _signal

    def on_deadline(signum: int, frame: object) -> None:
        if os.getpid() != channel.pid:
            _signal.signal(signum, _signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        flush()
        try:
            channel.send(wire.END, wire.end_report(128 + signum, 0, False, False))
        except wire.Lost:
            os._exit(128 + signum)
        while True:
            _signal.pause()

    _signal.signal(DEADLINE_SIGNAL, on_deadline)
