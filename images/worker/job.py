"""What the front asks for: the META and CODE of one run."""

from __future__ import annotations

from . import wire

TYPE_CHECKING = False  # typing itself is not imported: it takes longer than all of this
if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """One run's options. Texts are as the front sent them, checked there."""

    def __init__(self, meta: dict[object, object], code: bytes, is_kept: bool) -> None:
        self.code = code
        self.is_kept = is_kept
        self.filename = str(meta.get("filename") or "<string>")
        self.args = [str(word) for word in _list(meta.get("argv"))]
        self.env = {str(name): str(value) for name, value in _dict(meta.get("env")).items()}
        self.wants_value = meta.get("value") in ("last_expression", "branch")
        self.takes_branch = meta.get("value") == "branch"
        self.value_max = _number(meta.get("value_max"))
        self.context = {str(name): value for name, value in _dict(meta.get("context")).items()}
        self.validation = meta.get("validation")  # rules, or None: nothing is checked
        self.tools = _dict(meta.get("tools"))
        self.wants_figures = bool(meta.get("figures"))
        self.is_extracted = bool(meta.get("extract"))
        self.may_await = bool(meta.get("await"))
        self.has_stdin = bool(meta.get("stdin"))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[object, object]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def receive(channel: wire.Wire, on_first: Callable[[], None]) -> Job:
    """Blocks until a whole job is there; calls `on_first` as soon as its first frame is."""
    meta, code = bytearray(), bytearray()
    is_first = True
    while True:
        kind, flags, _, data = channel.receive()
        if kind == wire.REPLY:
            continue  # it crossed the end of the run that asked
        if is_first:
            on_first()
            is_first = False
        if kind == wire.META:
            meta += data
        elif kind == wire.CODE:
            code += data
        elif kind == wire.GO:
            import json

            parsed = json.loads(meta) if meta else {}
            # GO with MORE: another run may follow, the interpreter is not shut down.
            return Job(_dict(parsed), bytes(code), bool(flags & wire.MORE))
