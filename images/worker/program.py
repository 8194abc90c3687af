"""Compiles and executes the user's program as the module __main__ of this process."""

from __future__ import annotations

import _ast
import builtins
import os
import sys

from . import ending, plots, tracebacks, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calls import Calls
    from .job import Job

AST_ONLY = 0x400
TOP_LEVEL_AWAIT = 0x2000
IS_COROUTINE = 0x80  # co_flags

# No identifier: the value of the last expression is kept here, where no program sees it.
VALUE = "<value>"

MAIN_DIR = "/tmp/.oneshot"


class MainModule(type(sys)):  # type: ignore[misc]
    """
    The program as a module. It has no file, but who asks the module (not the program its own
    variable __file__) is given one: multiprocessing's spawned processes import it from there, and
    inspect finds the source of classes.
    """

    source = ""

    @property
    def __file__(self) -> str:
        path = os.path.join(MAIN_DIR, "main.py")
        os.makedirs(MAIN_DIR, exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(MainModule.source)
        return path

    @__file__.setter
    def __file__(self, value: str) -> None:
        self.__dict__["__file__"] = value


MainModule.__name__ = MainModule.__qualname__ = "module"
MainModule.__module__ = "builtins"


def source_of(job: Job) -> str:
    text = job.code.decode().removeprefix("\ufeff")
    if job.is_extracted:
        from . import extract

        text = extract.program(text, TOP_LEVEL_AWAIT if job.may_await else 0)
    return text


def parse(source: str, filename: str, flags: int) -> _ast.Module:
    tree = compile(source, filename, "exec", flags | AST_ONLY, dont_inherit=True)
    assert isinstance(tree, _ast.Module)
    return tree


def keep_value(tree: _ast.Module, in_branches: bool) -> None:
    """
    Where the last statement is an expression it is assigned to VALUE. With `in_branches` the last
    statement may be a block: then the last of whichever of its branches runs.
    """
    blocks: list[list[_ast.stmt]] = [tree.body]
    while blocks:
        block = blocks.pop()
        last = block[-1] if block else None
        if isinstance(last, _ast.Expr):
            fields = ("lineno", "col_offset", "end_lineno", "end_col_offset")
            place = {name: getattr(last, name) for name in fields}
            target = _ast.Name(id=VALUE, ctx=_ast.Store(), **place)
            block[-1] = _ast.Assign(targets=[target], value=last.value, **place)
        elif in_branches and last is not None:
            blocks += branches(last)


def branches(block: _ast.stmt) -> list[list[_ast.stmt]]:
    if isinstance(block, (_ast.With, _ast.AsyncWith)):
        return [block.body]
    if isinstance(block, _ast.If):
        return [block.body, block.orelse]
    if isinstance(block, (_ast.Try, _ast.TryStar)):
        return [block.orelse or block.body, *(handler.body for handler in block.handlers)]
    if isinstance(block, _ast.Match):
        return [case.body for case in block.cases]
    return []


def validated(source: str, job: Job, work_dir: str) -> _ast.Module:
    """The program's tree, for the validator has to make one; raises Refused."""
    from . import validate

    rules = validate.Rules(job.validation, validate.modules_of(job.tools), work_dir)
    flags = TOP_LEVEL_AWAIT if job.may_await else 0
    return validate.check(source, job.filename, flags, rules)


def execute(
    source: str, job: Job, names: dict[str, object], tree: _ast.Module | None = None
) -> None:
    flags = TOP_LEVEL_AWAIT if job.may_await else 0
    if job.wants_value:
        tree = tree or parse(source, job.filename, flags)
        keep_value(tree, job.takes_branch)
    code = compile(tree or source, job.filename, "exec", flags, dont_inherit=True)
    if not code.co_flags & IS_COROUTINE:
        exec(code, names)
        return
    from . import awaiting

    tree = parse(source, job.filename, flags)
    keep_value(tree, job.takes_branch)
    awaiting.execute(code, tree, job.filename, names)


def keep_source(filename: str, source: str) -> None:
    """Tracebacks, warnings and inspect show the program's lines although it has no file."""
    import io
    import linecache

    lines = io.StringIO(source, newline=None).readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    linecache.cache[filename] = (len(source), None, lines, filename)
    MainModule.source = source


def seed_random() -> None:
    """What was imported before the job was known must not draw the same numbers in every container
    that a snapshot may one day be resumed to."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None  # type: ignore[attr-defined]


class Session:
    """The runs of one worker: one, unless the front keeps it; then the variables stay."""

    def __init__(self, channel: wire.Wire, work_dir: str) -> None:
        self.channel = channel
        self.work_dir = work_dir
        self.main = MainModule("__main__")
        self.main.__dict__["__builtins__"] = builtins
        self.calls: Calls | None = None
        self.runs = 0
        os.register_at_fork(after_in_child=self._forget_channel)

    def _forget_channel(self) -> None:
        # A child of the program has no business on the channel.
        if self.channel.is_same_descriptor():
            os.close(self.channel.fd)

    def prepare(self, job: Job) -> None:
        sys.argv = [job.filename, *job.args]
        os.environ.update(job.env)
        if self.runs == 0:
            sys.modules["__main__"] = self.main
            sys.path.insert(0, self.work_dir)
            threading = sys.modules["threading"]
            threading.excepthook = tracebacks.show_of_thread  # type: ignore[attr-defined]
        else:
            # Files came in behind the import system's back.
            import importlib

            importlib.invalidate_caches()
        if not job.filename.startswith("<"):
            self.main.__dict__["__file__"] = os.path.join(self.work_dir, job.filename)
        seed_random()

    def open_stdin(self, job: Job) -> None:
        fd = wire.STDIN_FD if self.runs == 0 else self.channel.descriptor
        self.channel.descriptor = None
        if job.has_stdin and fd is not None:
            os.dup2(fd, 0)
        elif self.runs > 0:
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
        if fd is not None:
            os.close(fd)
        if job.has_stdin or self.runs > 0:
            stream = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
            stream.buffer.raw.name = "<stdin>"  # type: ignore[attr-defined]
            sys.stdin = sys.__stdin__ = stream  # type: ignore[misc]

    def run(self, job: Job) -> None:
        result = ending.Ending()
        self.open_stdin(job)
        self.prepare(job)
        self.runs += 1
        plots.arm(job.wants_figures)
        try:
            source = source_of(job)
            keep_source(job.filename, source)
            tree = self.validate(source, job)
            self.offer(job)
            execute(source, job, self.main.__dict__, tree)
            self.send_value(job)
        except ending.Refused as refusal:
            self.refuse(refusal, result)
        except SystemExit as error:
            self.leave(error, result)
        except BaseException as error:
            self.fail(error, result)
        self.main.__dict__.pop(VALUE, None)
        # A child that the program has forked off comes by as well: the figures are the parent's.
        if job.wants_figures and not result.is_blocked and os.getpid() == self.channel.pid:
            plots.save_all()
        ending.finish(self.channel, result, self.main.__dict__, job.is_kept, self.calls)

    def offer(self, job: Job) -> None:
        """What the program finds besides Python: variables, tools."""
        self.main.__dict__.update(job.context)
        if self.calls is None and not job.tools:
            return
        from . import calls, tools

        if self.calls is None:
            self.calls = calls.Calls(self.channel)
        self.calls.open()
        tools.install(job.tools, self.calls)

    def validate(self, source: str, job: Job) -> _ast.Module | None:
        """The program's tree where it is checked; behind CHECKED a refusal is not believed."""
        if job.validation is None:
            return None
        tree = validated(source, job, self.work_dir)
        self.channel.send(wire.CHECKED)
        return tree

    def refuse(self, refusal: ending.Refused, result: ending.Ending) -> None:
        result.exit_code, result.is_blocked = 1, True
        self.tell(wire.FAULT, tracebacks.fault_of("SecurityError", str(refusal), ""))

    def send_value(self, job: Job) -> None:
        if not job.wants_value:
            return
        from . import value

        names = self.main.__dict__
        thing = names.get(VALUE, names.get("_") if job.takes_branch else None)
        self.tell(wire.VALUE, value.encode(thing, job.value_max))

    def leave(self, error: SystemExit, result: ending.Ending) -> None:
        result.exit_code, shown = ending.exit_status(error)
        if shown is None:
            return
        text = tracebacks.text_of(shown)
        tracebacks.show_text(text + "\n")
        self.tell(wire.FAULT, tracebacks.fault_of(tracebacks.name_of(error), text, ""))

    def fail(self, error: BaseException, result: ending.Ending) -> None:
        tracebacks.strip(error, self.main.__dict__)
        text = tracebacks.report(error)
        result.failed(error)
        self.tell(wire.FAULT, tracebacks.fault(error, text))

    def tell(self, kind: int, data: bytes) -> None:
        try:
            self.channel.send_parts(kind, data)
        except wire.Lost:
            pass  # how it ends without the channel is decided once, in ending.finish
