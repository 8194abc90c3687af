"""The value of a program's last expression as JSON, and the arguments of its calls.

JSON values stay what they are; NaN and the infinities become null; tuples and sets become lists,
Decimals and scalars of numpy and pandas numbers, arrays nested lists, dates ISO 8601 texts,
DataFrames lists of records, a Series a dict; anything else its repr. What is circular, too deep or
too large is sent as the repr of the whole, cut; where a limit is given, too large is an error.
"""

from __future__ import annotations

import json

from . import science
from .tracebacks import clean

DEPTH_MAX = 60  # readers of the replies stop at 64
DIGITS_MAX = 300  # beyond it an integer is no number to most readers
ITEMS_MAX = 100_000
BYTES_MAX = 1 << 20
ITEM_BYTES = 2  # of JSON that an item takes at least, with its comma or its brackets
SMALL_BITS = 64  # integers of fewer are not worth a look at their size
REPR_MAX = 10_000


class TooMuch(Exception):
    """No JSON of reasonable size."""


class TooDeep(Exception):
    """Or circular."""


class NoJSON(Exception):
    """Where an argument must have some."""


class Encoder:
    """
    Turns one value into what json.dumps takes. A small value may hold the same large text many
    times over, so the bytes of the JSON are counted, at least so many, before they are made.
    """

    def __init__(
        self, items_max: int = ITEMS_MAX, bytes_max: int = BYTES_MAX, is_strict: bool = False
    ) -> None:
        self.items_left = items_max
        self.bytes_left = bytes_max
        self.is_strict = is_strict  # what has no JSON is a TypeError

    def count(self, items: int, size: int) -> None:
        self.items_left -= items
        self.bytes_left -= size
        if self.items_left < 0 or self.bytes_left < 0:
            raise TooMuch

    def text(self, text: str) -> str:
        self.count(0, len(text))
        return clean(text)

    def plain(self, value: object, depth: int = 0) -> object:
        self.count(1, ITEM_BYTES)
        if depth > DEPTH_MAX:
            raise TooDeep
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self.integer(value)  # type: ignore[arg-type]
        if kind is float:
            return value if _is_finite(value) else None  # type: ignore[arg-type]
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]
        try:
            return self.compound(value, depth)
        except (TooMuch, TooDeep, NoJSON, MemoryError):
            raise
        except Exception:
            return self.represent(value)  # its own methods failed, or it changed meanwhile

    def integer(self, value: int) -> object:
        bits = value.bit_length()
        if bits < SMALL_BITS:
            return value
        self.count(0, min(bits, 4 * DIGITS_MAX) // 4)
        return value if abs(value) < 10**DIGITS_MAX else self.represent(value)

    def compound(self, value: object, depth: int) -> object:
        if isinstance(value, dict):
            return {self.key(key): self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.plain(item, depth + 1) for item in value]
        return self.other(value, depth)

    def key(self, value: object) -> str:
        if type(value) is str:
            return self.text(value)
        if value is None or type(value) in (bool, int):
            return self.text(json.dumps(value))
        plain = science.plain_of(value)
        if plain is value or not isinstance(plain, (str, bool, int, float)):
            return self.text(represent(value))
        return self.key(plain)

    def other(self, value: object, depth: int) -> object:
        """Subclasses of the plain types, types of libraries, objects."""
        if isinstance(value, str):
            return self.plain(str.__str__(value), depth)
        if isinstance(value, int):
            return self.plain(int.__int__(value), depth)
        if isinstance(value, float):
            return self.plain(float.__float__(value), depth)
        if science.bytes_of(value) > self.bytes_left:
            raise TooMuch
        plain = science.plain_of(value)
        if type(plain) is science.Records:
            return [self.plain(record, depth + 1) for record in plain]
        return self.represent(value) if plain is value else self.plain(plain, depth)

    def represent(self, value: object) -> str:
        if self.is_strict:
            raise NoJSON(f"{type(value).__name__} is no JSON value")
        return self.text(represent(value))


def _is_finite(number: float) -> bool:
    return number - number == 0


def represent(value: object) -> str:
    try:
        text = str.__str__(repr(value))  # which may be of the program's own class
    except Exception as error:
        return f"<{type(value).__name__}: repr failed with {type(error).__name__}>"
    return clean(text if len(text) <= REPR_MAX else text[:REPR_MAX] + "...")


def encode(value: object, limit: int = 0) -> bytes:
    """`limit` bytes, if not 0: more is a ValueError."""
    if limit:
        return encode_whole(value, limit)
    try:
        data = dumps(Encoder().plain(value))
    except Exception:
        data = b""
    if not data or len(data) > BYTES_MAX:
        data = dumps(represent(value))
    return data


def encode_whole(value: object, limit: int) -> bytes:
    try:
        # Beyond the limit as well, so that the error can say how large what is not huge would be.
        data = dumps(Encoder(items_max=limit, bytes_max=limit + BYTES_MAX).plain(value))
    except TooMuch:
        raise ValueError(f"the return value is too large: over {limit} bytes of JSON") from None
    except Exception:
        data = dumps(represent(value))
    if len(data) > limit:
        text = f"the return value is too large: {len(data)} bytes of JSON; limit is {limit} bytes"
        raise ValueError(text)
    return data


def encode_args(args: dict[str, object], limit: int) -> bytes:
    """Of a call. TooMuch, or a TypeError, for what is no JSON."""
    try:
        return dumps(Encoder(bytes_max=limit, is_strict=True).plain(args))
    except NoJSON as error:
        raise TypeError(str(error)) from None


def dumps(plain: object) -> bytes:
    return json.dumps(plain, allow_nan=False).encode()
