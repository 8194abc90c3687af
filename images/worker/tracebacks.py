"""Shows exceptions as CPython would have, had the program been its main script.

Nothing here may fail: exceptions are the program's own objects, and some are hostile.
"""

from __future__ import annotations

import sys
from json.encoder import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

HEADER = "Traceback (most recent call last):\n"
# Characters in a FAULT. In JSON each has 6 bytes at most; the warden and the front take 2 MiB.
NAME_MAX, MESSAGE_MAX, TRACEBACK_MAX = 1024, 64 * 1024, 96 * 1024

# Beside what an exception's own class, or the metaclass of that, makes of them.
TRACE = BaseException.__dict__["__traceback__"]
TYPE_NAME = type.__dict__["__name__"]


def strip(error: BaseException, names: dict[str, object]) -> None:
    """
    Drops the frames of the worker, and those of asyncio that lie between it and the program: what
    comes before the first frame whose globals are the program's.
    """
    link = TRACE.__get__(error)
    while link is not None and link.tb_frame.f_globals is not names:
        link = link.tb_next
    TRACE.__set__(error, link)
    try:
        drop_own_frames(error)
    except BaseException:
        pass


def drop_own_frames(error: BaseException) -> None:
    """Those of this package behind the program's: of the exception and all that it is linked to."""
    todo, seen = [error], set()
    while todo:
        error = todo.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        trace = TRACE.__get__(error)
        if trace is not None:
            TRACE.__set__(error, without_own(trace))
        parts = (error.__cause__, error.__context__, *getattr(error, "exceptions", ()))
        todo += [part for part in parts if isinstance(part, BaseException)]


def without_own(link: TracebackType | None) -> TracebackType | None:
    kept = []
    while link is not None:
        if link.tb_frame.f_globals.get("__package__") != __package__:
            kept.append(link)
        link = link.tb_next
    for before, after in zip(kept, [*kept[1:], None]):
        before.tb_next = after
    return kept[0] if kept else None


def text_of(thing: object) -> str:
    try:
        return str.__str__(str(thing))  # which may be of the program's own class
    except BaseException:
        return f"<unprintable {TYPE_NAME.__get__(type(thing))} object>"


def show_text(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
    except BaseException:
        pass


def format_error(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> str:
    import traceback

    try:
        parts = traceback.TracebackException(kind, error, trace, compact=True).format()  # type: ignore[arg-type]
        text = "".join(parts)
    except BaseException:
        return f"{HEADER}{TYPE_NAME.__get__(kind)}: <unprintable>\n"
    # A program that does not compile has no frame, and CPython shows none; the header is promised.
    return text if trace is not None else HEADER + text


def suggested(text: str, error: BaseException) -> str:
    """
    Adds "Did you mean: 'sqrt'?" where CPython 3.11 itself, but not its traceback module, has it:
    the interpreter is asked to show the exception into a string.
    """
    import io

    if not isinstance(error, (NameError, AttributeError)):
        return text
    shown, stderr = io.StringIO(), sys.stderr
    sys.stderr = shown
    try:
        sys.__excepthook__(type(error), error, None)
    finally:
        sys.stderr = stderr
    for line in reversed(shown.getvalue().splitlines()):
        message, found, _ = line.rpartition(". Did you mean: ")
        if not found:
            continue
        before, at, after = text.rpartition(message + "\n")
        return f"{before}{line}\n{after}" if at else text
    return text


def describe(error: BaseException) -> str:
    text = format_error(type(error), error, TRACE.__get__(error))
    try:
        return suggested(text, error)
    except BaseException:
        return text


def show(error: BaseException) -> str:
    text = describe(error)
    show_text(text)
    return text


def report(error: BaseException) -> str:
    """Shows the exception that ended the program, by its own excepthook where it has set one."""
    sys.last_type, sys.last_value = type(error), error
    sys.last_traceback = TRACE.__get__(error)
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        show_text("sys.excepthook is missing\n")
    if hook is None or hook is sys.__excepthook__:
        return show(error)
    text = describe(error)
    try:
        hook(type(error), error, TRACE.__get__(error))
    except SystemExit:
        pass
    except BaseException as broken:
        trace = TRACE.__get__(broken)
        TRACE.__set__(broken, trace and trace.tb_next)
        show_text("Error in sys.excepthook:\n")
        show(broken)
        show_text("\nOriginal exception was:\n" + text)
    return text


def show_of_thread(details: object) -> None:
    """threading.excepthook: CPython's own shows no source lines of a program without a file."""
    kind = details.exc_type  # type: ignore[attr-defined]
    if kind is SystemExit:
        return
    thread = details.thread  # type: ignore[attr-defined]
    name = thread.name if thread is not None else "<unknown>"
    error, trace = details.exc_value, details.exc_traceback  # type: ignore[attr-defined]
    try:
        drop_own_frames(error)
    except BaseException:
        pass
    text = format_error(kind, error, trace)
    show_text(f"Exception in thread {text_of(name)}:\n{text}")


def type_name(kind: type) -> str:
    module = kind.__module__
    if module in ("__main__", "builtins"):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"


def name_of(error: BaseException) -> str:
    try:
        return text_of(type_name(type(error)))
    except BaseException:
        return "Exception"


def fault(error: BaseException, text: str) -> bytes:
    """JSON for the front: {type, message, traceback}."""
    if len(text) > TRACEBACK_MAX:
        half = TRACEBACK_MAX // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    return fault_of(name_of(error), text_of(error), text)


def fault_of(name: str, message: str, text: str) -> bytes:
    # As it is: escapes of up to twelve bytes a character would be more than the warden lets pass.
    name, message = quoted(name[:NAME_MAX]), quoted(message[:MESSAGE_MAX])
    return f'{{"type":{name},"message":{message},"traceback":{quoted(text)}}}'.encode()


def quoted(text: str) -> str:
    """As json.dumps does it, of which a program may have broken parts."""
    return encode_basestring(clean(text))


def clean(text: str) -> str:
    """Lone surrogates become U+FFFD: they are no text in UTF-8, nor in the JSON of most readers."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
