"""Shows exceptions as CPython would have, had the program been its main script.

Nothing here may fail: exceptions are the program's own objects, and some are hostile.
"""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

HEADER = "Traceback (most recent call last):\n"
MESSAGE_MAX = 64 * 1024  # characters of a message and of a traceback in a FAULT
TRACEBACK_MAX = 128 * 1024


def strip(error: BaseException, names: dict[str, object]) -> None:
    """
    Drops the frames of the worker, and those of asyncio that lie between it and the program: what
    comes before the first frame whose globals are the program's.
    """
    link = error.__traceback__
    while link is not None and link.tb_frame.f_globals is not names:
        link = link.tb_next
    error.__traceback__ = link


def text_of(thing: object) -> str:
    try:
        return str(thing)
    except BaseException:
        return f"<unprintable {type(thing).__name__} object>"


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
        return f"{HEADER}{getattr(kind, '__name__', 'Exception')}: <unprintable>\n"
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
    text = format_error(type(error), error, error.__traceback__)
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
    sys.last_traceback = error.__traceback__
    if sys.excepthook is sys.__excepthook__:
        return show(error)
    text = describe(error)
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit:
        pass
    except BaseException as broken:
        broken.__traceback__ = broken.__traceback__ and broken.__traceback__.tb_next
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
    text = format_error(kind, details.exc_value, details.exc_traceback)  # type: ignore[attr-defined]
    show_text(f"Exception in thread {text_of(name)}:\n{text}")


def type_name(kind: type) -> str:
    module = kind.__module__
    if module in ("__main__", "builtins"):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"


def fault(error: BaseException, text: str) -> bytes:
    """JSON for the front: {type, message, traceback}."""
    try:
        name = type_name(type(error))
    except BaseException:
        name = "Exception"
    if len(text) > TRACEBACK_MAX:
        half = TRACEBACK_MAX // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    content = {"type": name, "message": text_of(error)[:MESSAGE_MAX], "traceback": text}
    return json.dumps({key: clean(part) for key, part in content.items()}).encode()


def clean(text: str) -> str:
    """Lone surrogates become U+FFFD: they are no text in UTF-8, nor in the JSON of most readers."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
