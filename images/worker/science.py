"""Types of the standard library and of numpy and pandas, as the plain ones that are meant by them.

No library is imported for it: what is not loaded has made no value.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED_BYTES = 5  # of a member such as "":1 and its comma
EXPONENT_MAX = 300  # of a Decimal that is written as a number


def _class(module: str, name: str) -> type:
    """`type(None)`, of which no value comes here, where the module is not loaded."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else type(None)


def is_of(value: object, module: str, *names: str) -> bool:
    return isinstance(value, tuple(_class(module, name) for name in names))


def bytes_of(value: object) -> int:
    """Of the JSON, at least so many: asked before plain_of makes all of its items."""
    if is_of(value, "pandas", "DataFrame"):
        return NAMED_BYTES * int(value.size)  # type: ignore[attr-defined]
    if is_of(value, "pandas", "Series") and value.index.is_unique:  # type: ignore[attr-defined]
        return NAMED_BYTES * int(value.size)  # type: ignore[attr-defined]
    if is_of(value, "numpy", "ndarray") or is_of(value, "pandas", "Series", "Index"):
        return 2 * int(value.size)  # type: ignore[attr-defined]
    return 0


def plain_of(value: object) -> object:
    """A plain value, perhaps of others that are not; `value` itself where nothing is known."""
    root = (type(value).__module__ or "").partition(".")[0]
    if is_of(value, "decimal", "Decimal"):
        return of_decimal(value)
    if is_of(value, "pandas", "DataFrame", "Series", "Index", "Timedelta") or root == "pandas":
        return of_pandas(value)
    if is_of(value, "numpy", "ndarray", "generic"):
        return of_numpy(value)
    if is_of(value, "datetime", "date", "time"):  # a datetime is a date
        return value.isoformat()  # type: ignore[attr-defined]
    return value


def of_decimal(value: object) -> object:
    if not value.is_finite():  # type: ignore[attr-defined]
        return None
    if abs(value.adjusted()) > EXPONENT_MAX:  # type: ignore[attr-defined]
        return str(value)
    is_whole = value.as_tuple().exponent >= 0  # type: ignore[attr-defined]
    return int(value) if is_whole else float(value)  # type: ignore[call-overload]


def of_numpy(value: object) -> object:
    numpy = sys.modules["numpy"]
    kind = value.dtype.kind  # type: ignore[attr-defined]
    if kind == "M":
        texts = numpy.array(value.astype(str), dtype=object)  # type: ignore[attr-defined]
        texts[numpy.isnat(value)] = None
        return texts.tolist()
    if kind == "m":
        return (value / numpy.timedelta64(1, "s")).tolist()  # type: ignore[operator]
    plain = value.tolist()  # type: ignore[attr-defined]
    # Some scalars have no Python type and are their own item.
    if isinstance(plain, numpy.floating):
        return float(plain)
    return value if isinstance(plain, numpy.generic) else plain


def unique(names: list[object]) -> list[object]:
    """Columns of one name would leave one value: the others are called as read_csv calls them."""
    taken = set(names)
    if len(taken) == len(names):
        return names
    seen: set[object] = set()
    found: list[object] = []
    for name in names:
        other, number = name, 0
        while other in seen or (number and other in taken):
            number += 1
            other = f"{name}.{number}"
        seen.add(other)
        found.append(other)
    return found


class Records:
    """Rows of a DataFrame, made one by one: who counts them stops before they fill the memory."""

    def __init__(self, frame: object) -> None:
        self.frame = frame

    def __iter__(self) -> Iterator[dict[object, object]]:
        names = unique(list(self.frame.columns))  # type: ignore[attr-defined]
        for row in self.frame.itertuples(index=False, name=None):  # type: ignore[attr-defined]
            yield dict(zip(names, row))


def of_pandas(value: object) -> object:
    pandas = sys.modules["pandas"]
    if value is pandas.NA or value is pandas.NaT:
        return None
    if isinstance(value, pandas.DataFrame):
        return Records(value)
    if isinstance(value, pandas.Series):
        return dict(zip(value.index, value)) if value.index.is_unique else list(value)
    if isinstance(value, (pandas.Index, pandas.api.extensions.ExtensionArray)):
        return list(value)
    if isinstance(value, pandas.Timestamp):
        return value.isoformat()
    if isinstance(value, pandas.Timedelta):
        return value.total_seconds()
    if isinstance(value, pandas.Period):
        return str(value)
    return value
