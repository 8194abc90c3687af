"""Values of the scientific libraries as JSON."""

from __future__ import annotations

import json

import pytest

from conftest import MakeBox

SETTING = """
import numpy as np, pandas as pd
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, float("nan")]})
TIMES = pd.to_datetime(["2026-01-02", "2026-01-03 04:05:06.5"], format="mixed")
class Frame(pd.DataFrame): pass
class Lying: __class__ = pd.DataFrame
"""

CASES = [
    ("np.int8(-3)", -3),
    ("np.uint64(2**64 - 1)", 2**64 - 1),
    ("np.float32(0.5)", 0.5),
    ("np.float64('nan')", None),
    ("np.bool_(True)", True),
    ("np.str_('x')", "x"),
    ("np.array(5)", 5),
    ("np.arange(4).reshape(2, 2)", [[0, 1], [2, 3]]),
    ("np.array([1.5, np.inf])", [1.5, None]),
    ("np.array(['a', None, (1, 2)], dtype=object)", ["a", None, [1, 2]]),
    ("np.array([])", []),
    ("np.datetime64('2026-01-02T03:04:05')", "2026-01-02T03:04:05"),
    ("np.datetime64('NaT')", None),
    ("np.array(['2026-01-02', 'NaT'], dtype='M8[D]')", ["2026-01-02", None]),
    ("np.timedelta64(1500, 'ms')", 1.5),
    ("np.timedelta64('NaT')", None),
    ("np.complex128(1j)", "1j"),
    ("{np.int64(3): np.float64(1.5)}", {"3": 1.5}),
    ("{'a': [np.int64(1), {np.bool_(False)}]}", {"a": [1, [False]]}),
    ("np.ma.masked_array([1, 2], [0, 1])", [1, None]),
    ("FRAME", [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": None, "c": None}]),
    ("FRAME.a", {"0": 1, "1": 2}),
    ("FRAME.set_index('b').a", {"x": 1, "null": 2}),
    ("pd.Series([1, 2], index=[7, 7])", [1, 2]),
    ("pd.Series([1.5], index=TIMES[:1])", {"2026-01-02T00:00:00": 1.5}),
    ("pd.DataFrame()", []),
    ("pd.DataFrame({'t': TIMES})", [{"t": "2026-01-02T00:00:00"}, {"t": "2026-01-03T04:05:06.500000"}]),
    ("pd.DataFrame([[1, 2]], columns=['x', 'x'])", [{"x": 1, "x.1": 2}]),
    ("pd.DataFrame([[1, 2, 3, 4]], columns=['x', 'x', 'x.1', 'x'])", [{"x": 1, "x.2": 2, "x.1": 3, "x.3": 4}]),
    ("dict(zip(*np.unique([1.5, 2, 1.5], return_counts=True)))", {"1.5": 2, "2.0": 1}),
    ("pd.DataFrame([[1, 2]], columns=[0, 1])", [{"0": 1, "1": 2}]),
    ("FRAME.describe().loc['mean']", {"a": 1.5, "c": 0.5}),
    ("FRAME.groupby('a').size()", {"1": 1, "2": 1}),
    ("pd.Index([1, 2])", [1, 2]),
    ("TIMES", ["2026-01-02T00:00:00", "2026-01-03T04:05:06.500000"]),
    ("pd.Timestamp('2026-01-02', tz='UTC')", "2026-01-02T00:00:00+00:00"),
    ("pd.NaT", None),
    ("pd.NA", None),
    ("pd.Timedelta('90s')", 90.0),
    ("pd.Period('2026-01')", "2026-01"),
    ("pd.array([1, None], dtype='Int64')", [1, None]),
    ("pd.Categorical(['a', 'b'])", ["a", "b"]),
    ("pd.Series(['a'], dtype='category')", {"0": "a"}),
    ("[{'frame': FRAME.head(1)}]", [{"frame": [{"a": 1, "b": "x", "c": 0.5}]}]),
    ("pd.Interval(0, 1)", "Interval(0, 1, closed='right')"),
    ("Frame({'a': [1]})", [{"a": 1}]),
    ("np.longdouble(1)", 1.0),
    ("np.array([np.longdouble(1.5)])", [1.5]),
    ("np.clongdouble(1j)", "np.clongdouble('1j')"),
    ("FRAME.columns", ["a", "b", "c"]),
    ("np.array([[1, 2]], dtype='m8[s]')", [[1.0, 2.0]]),
]  # fmt: skip


def test_values_of_libraries(science: MakeBox) -> None:
    code = SETTING + "[\n" + "".join(f"{thing},\n" for thing, _ in CASES) + "]"
    result = science().run(code, meta={"value": "last_expression"})
    assert (result.exit_code, result.err) == (0, "")
    found = json.loads(result.value, parse_constant=pytest.fail)
    wrong = [
        (thing, value, wanted) for (thing, wanted), value in zip(CASES, found) if value != wanted
    ]
    assert wrong == [] and len(found) == len(CASES)


def test_what_only_says_that_it_is_one_becomes_its_repr(science: MakeBox) -> None:
    result = science().run(SETTING + "Lying()", meta={"value": "last_expression"})
    assert json.loads(result.value).startswith("<__main__.Lying object")


@pytest.mark.parametrize("thing", ["np.zeros(10**6)", "pd.DataFrame({'a': range(10**6)})"])
def test_large_ones_are_refused_or_shown_in_short(science: MakeBox, thing: str) -> None:
    box = science()
    code = SETTING + thing
    result = box.run(code, meta={"value": "branch", "value_max": 1000}, flags=1)
    fault = json.loads(result.fault)
    assert (result.exit_code, fault["type"]) == (1, "ValueError")
    assert fault["message"] == "the return value is too large: over 1000 bytes of JSON"
    result = box.run(f"x = {thing}\nprint(repr(x))\nx", meta={"value": "last_expression"})
    assert json.loads(result.value) == result.out[:-1]


@pytest.mark.parametrize(
    "thing",
    [
        "pd.DataFrame({'a': ['y' * 2000] * 200_000})",
        "pd.DataFrame({'a': np.zeros(10**6, dtype='int8')})",
        "pd.Series(np.zeros(10**6, dtype='int8'))",
    ],
)
def test_large_ones_are_refused_before_they_fill_the_memory(science: MakeBox, thing: str) -> None:
    code = f"""{SETTING}
import resource
thing = {thing}
used = int(open("/proc/self/statm").read().split()[5]) * 4096
resource.setrlimit(resource.RLIMIT_DATA, (used + (96 << 20), -1))
thing"""
    result = science().run(code, meta={"value": "branch", "value_max": 1 << 20}, flags=1)
    fault = json.loads(result.fault)
    assert fault["message"] == "the return value is too large: over 1048576 bytes of JSON"
