"""Values as JSON, without a container: the encoder by itself."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from worker import tracebacks, value


def decoded(thing: object) -> Any:
    data = value.encode(thing)
    assert len(data) <= value.BYTES_MAX
    return json.loads(data, parse_constant=lambda name: pytest.fail(name))


class Colour(enum.IntEnum):
    RED = 3


class Text(str):
    def __str__(self) -> str:
        return self


class Point(collections.namedtuple("Point", "x y")):
    pass


class OddText(str):
    def __len__(self) -> int:
        raise RuntimeError


class OddlyShown:
    def __repr__(self) -> str:
        return OddText("odd")


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


class Lying(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError


class Wordy:
    def __repr__(self) -> str:
        return "r" * 1000


class Faceless:
    @property
    def __class__(self) -> Any:
        raise RuntimeError


class Homeless:
    __module__ = 5  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("thing", "wanted"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("inf"), None),
        (float("nan"), None),
        ("é\0\n", "é\0\n"),
        ("\ud800x", "\ufffdx"),
        ("\ud83c\udf89", "🎉"),
        (b"x", "b'x'"),
        ([1, [2]], [1, [2]]),
        ((1,), [1]),
        ({1}, [1]),
        ({"a": 1, 2: 3, None: 4, True: 5, (6,): 7}, {"a": 1, "2": 3, "null": 4, "true": 5, "(6,)": 7}),
        (Colour.RED, 3),
        (Text("x"), "x"),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aa"), {"a": 2}),
        (1j, "1j"),
        (range(3), "range(0, 3)"),
        (OddlyShown(), "odd"),
        (Broken(), "<Broken: repr failed with RuntimeError>"),
        ([Broken()], ["<Broken: repr failed with RuntimeError>"]),
        (10**5000, "<int: repr failed with ValueError>"),
        (Lying(a=1), "{'a': 1}"),
    ],
    ids=range(27),
)  # fmt: skip
def test_value(thing: object, wanted: object) -> None:
    assert decoded(thing) == wanted


def test_circular_value_becomes_its_repr() -> None:
    thing: list[object] = []
    thing.append(thing)
    assert decoded(thing) == "[[...]]"


def test_deep_value_becomes_its_repr() -> None:
    thing: list[object] = []
    for _ in range(100):
        thing = [thing]
    assert decoded(thing) == "[" * 101 + "]" * 101


@pytest.mark.parametrize("thing", ["x" * 2_000_000, ["x" * 1000] * 2000, [0] * 200_000])
def test_large_value_becomes_the_beginning_of_its_repr(thing: object) -> None:
    text = decoded(thing)
    assert text == repr(thing)[: value.REPR_MAX] + "..."


@pytest.mark.parametrize(
    "make",
    [
        lambda: ["y" * 1000] * 200_000,
        lambda: [{"y" * 1000: 1}] * 200_000,
        lambda: [10**299] * 500_000,
        lambda: {n: "" for n in range(500_000)},
        lambda: [Wordy()] * 200_000,
    ],
    ids=["texts", "keys", "integers", "numbered", "reprs"],
)
def test_what_is_too_large_is_refused_before_it_fills_the_memory(
    make: Callable[[], object],
) -> None:
    thing = make()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large: over 1048576 bytes of JSON"):
            value.encode(thing, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [Faceless, Lying, Homeless])
def test_an_object_that_fails_is_its_own_repr_and_spoils_nothing_around_it(
    kind: Callable[[], object],
) -> None:
    odd = kind()
    assert decoded({"a": [1, odd]}) == {"a": [1, repr(odd)]}


def test_very_deep_value_does_not_break() -> None:
    thing: list[object] = []
    for _ in range(100_000):
        thing = [thing]
    assert decoded(thing) == "<list: repr failed with RecursionError>"


def test_clean_keeps_what_is_text() -> None:
    assert tracebacks.clean("a🎉") == "a🎉"
    assert tracebacks.clean("\udcff") == "\ufffd"


@pytest.mark.parametrize(
    ("thing", "wanted"),
    [
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(1), "datetime.timedelta(days=1)"),
        ({datetime.date(2026, 1, 2): 1}, {"2026-01-02": 1}),
        ({1.5: 1, decimal.Decimal("2.5"): 2}, {"1.5": 1, "2.5": 2}),
        (decimal.Decimal("1.10"), 1.1),
        (decimal.Decimal("5"), 5),
        (decimal.Decimal("1E+20"), 10**20),
        (decimal.Decimal("NaN"), None),
        (decimal.Decimal("sNaN"), None),
        (decimal.Decimal("Infinity"), None),
        (decimal.Decimal("1E+999999"), "1E+999999"),
        (decimal.Decimal("0E+999999"), "0E+999999"),
        (fractions.Fraction(1, 3), "Fraction(1, 3)"),
    ],
    ids=range(15),
)
def test_types_of_the_standard_library(thing: object, wanted: object) -> None:
    assert decoded(thing) == wanted
