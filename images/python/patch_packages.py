"""Makes pandas and matplotlib do later what few programs need: python3 patch_packages.py DIRECTORY

DIRECTORY holds the installed packages. Every edit must match exactly, so that a new version stops
the build instead of being patched half.

pandas 2 imports pyarrow whenever it is installed, which is a third of the memory and a fifth of the
time of the import, although few programs use Arrow types. It sees the same pyarrow, later.

pyplot.savefig draws the figure a second time, for a window that shows it. The canvas without one
now waits until somebody asks for its pixels, which nearly halves the time of a plot.
"""

import pathlib
import re
import sys
from importlib import metadata

LAZY_MODULE = '''\
"""Stand-ins for pyarrow and pyarrow.compute that load the library at the first use."""

import importlib
import sys
import types


class _Lazy(types.ModuleType):
    def __getattr__(self, name):
        real = importlib.import_module(self.__name__)
        self.__dict__.update(real.__dict__)  # from here on as fast as the real one
        return getattr(real, name)


def lazy_function(name):
    """pyarrow.compute.<name>, for tables that are made at import time."""

    def call(*args, **kwargs):
        return getattr(pc, name)(*args, **kwargs)

    call.__name__ = name
    return call


def import_lib():
    """Imports pandas._libs.lib, whose compiled code looks for pyarrow, in the same way."""
    if "pyarrow" in sys.modules:
        return
    sys.modules["pyarrow"] = pa
    try:
        importlib.import_module("pandas._libs.lib")
    finally:
        del sys.modules["pyarrow"]


pa = _Lazy("pyarrow")
pc = _Lazy("pyarrow.compute")
'''

IMPORT_ARROW = r"^    import pyarrow as pa$"
IMPORT_BOTH = r"^    import pyarrow as pa\n    import pyarrow\.compute as pc$"
LAZY_BOTH = "    from pandas.compat._lazy_pyarrow import pa, pc"

# file, pattern, replacement, number of matches
PANDAS = [
    ("compat/pyarrow.py", IMPORT_ARROW, "    import importlib.util\n"
     "    if importlib.util.find_spec('pyarrow') is None:\n        raise ImportError", 1),
    ("compat/pyarrow.py", r"Version\(pa\.__version__\)", "Version('{pyarrow}')", 1),
    ("core/dtypes/dtypes.py", r"^(if not pa_version_under10p1:\n)    import pyarrow as pa$",
     r"\1    from pandas.compat._lazy_pyarrow import pa", 1),
    ("core/arrays/arrow/accessors.py", IMPORT_BOTH, LAZY_BOTH, 1),
    ("core/arrays/string_arrow.py", IMPORT_BOTH, LAZY_BOTH, 1),
    ("core/arrays/_arrow_string_mixins.py", IMPORT_BOTH, LAZY_BOTH, 1),
    ("core/arrays/arrow/array.py", IMPORT_BOTH, LAZY_BOTH + ", lazy_function", 1),
    ("core/arrays/arrow/array.py", r'^(        "\w+": )pc\.(\w+),$', r'\1lazy_function("\2"),', 16),
    ("_libs/__init__.py", r"^from pandas\._libs\.interval import Interval$",
     "from pandas.compat._lazy_pyarrow import import_lib\n\nimport_lib()\n\\g<0>", 1),
    # Lists of types for pandas' own tests.
    ("_testing/__init__.py", r"^if not pa_version_under10p1:$", "if False:", 1),
]  # fmt: skip


# pyplot.draw() and the end of savefig() come here; whoever reads pixels gets them drawn before.
DRAW_IDLE = '''\
    _is_due = False

    def draw_idle(self, *args, **kwargs):
        # docstring inherited
        self._is_due = True

    def _draw_if_due(self):
        if self._is_due:
            self.draw()

    def draw(self):
        # docstring inherited
        self._is_due = False
        self.renderer'''

MATPLOTLIB = [
    ("backends/backend_agg.py",
     r"^    def draw\(self\):\n        # docstring inherited\n        self\.renderer",
     DRAW_IDLE, 1),
    ("backends/backend_agg.py", r"^    def get_renderer\(self\):\n",
     r"\g<0>        self._draw_if_due()\n", 1),
    ("backends/backend_agg.py", r"^        return self\.renderer\.(tostring_argb|buffer_rgba)\(\)$",
     r"        self._draw_if_due()\n\g<0>", 2),
]  # fmt: skip

EDITS = {"pandas": PANDAS, "matplotlib": MATPLOTLIB}


def main():
    packages = pathlib.Path(sys.argv[1])
    versions = {d.metadata["Name"]: d.version for d in metadata.distributions(path=[str(packages)])}
    for package, edits in EDITS.items():
        for name, pattern, replacement, expected in edits:
            path = packages / package / name
            text, count = re.subn(
                pattern,
                replacement.replace("{pyarrow}", versions["pyarrow"]),
                path.read_text(encoding="utf-8"),
                flags=re.MULTILINE,
            )
            if count != expected:
                sys.exit(f"{package} {versions[package]}: {count} instead of {expected} edits "
                         f"in {name}")
            path.write_text(text, encoding="utf-8")
    (packages / "pandas/compat/_lazy_pyarrow.py").write_text(LAZY_MODULE, encoding="utf-8")


if __name__ == "__main__":
    main()
