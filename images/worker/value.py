"""The value of a program's last expression as JSON.

JSON values stay what they are; NaN and the infinities become null; tuples and sets become lists,
scalars of numpy and pandas numbers, anything else its repr. What is circular, too deep or too large
is sent as the repr of the whole, cut.
"""

from __future__ import annotations

import json

from .tracebacks import clean

DEPTH_MAX = 60  # readers of the replies stop at 64
DIGITS_MAX = 300  # beyond it an integer is no number to most readers
ITEMS_MAX = 100_000
BYTES_MAX = 1 << 20
REPR_MAX = 10_000


class TooMuch(Exception):
    """No JSON of reasonable size."""


class Encoder:
    """Turns one value into what json.dumps takes."""

    def __init__(self) -> None:
        self.items = 0

    def plain(self, value: object, depth: int = 0) -> object:
        self.items += 1
        if depth > DEPTH_MAX or self.items > ITEMS_MAX:
            raise TooMuch
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if abs(value) < 10**DIGITS_MAX else represent(value)  # type: ignore
        if kind is float:
            return value if _is_finite(value) else None  # type: ignore[arg-type]
        if kind is str:
            return clean(value)  # type: ignore[arg-type]
        if isinstance(value, dict):
            return {self.key(key): self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.plain(item, depth + 1) for item in value]
        return self.other(value, depth)

    def key(self, value: object) -> str:
        if type(value) is str:
            return clean(value)
        if value is None or type(value) in (bool, int):
            return json.dumps(value)
        return represent(value)

    def other(self, value: object, depth: int) -> object:
        """Subclasses of the plain types, scalars of libraries, objects."""
        if isinstance(value, str):
            return self.plain(str.__str__(value), depth)
        if isinstance(value, int):
            return self.plain(int.__int__(value), depth)
        if isinstance(value, float):
            return self.plain(float.__float__(value), depth)
        if _is_scalar(value):
            return self.plain(value.item(), depth + 1)  # type: ignore[attr-defined]
        return represent(value)


def _is_finite(number: float) -> bool:
    return number - number == 0


def _is_scalar(value: object) -> bool:
    """A numpy scalar, or what follows its ways; asked of the type, which no instance can fake."""
    kind = type(value)
    is_library = (kind.__module__ or "").partition(".")[0] == "numpy"
    return is_library and hasattr(kind, "item") and getattr(value, "ndim", None) == 0


def represent(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: repr failed with {type(error).__name__}>"
    return clean(text if len(text) <= REPR_MAX else text[:REPR_MAX] + "...")


def encode(value: object) -> bytes:
    try:
        data = json.dumps(Encoder().plain(value), allow_nan=False).encode()
    except Exception:
        data = b""
    if not data or len(data) > BYTES_MAX:
        data = json.dumps(represent(value)).encode()
    return data
