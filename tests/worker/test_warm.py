"""Libraries imported ahead: there when they are done, invisible and out of the way when not."""

from __future__ import annotations

import time

import pytest

import box as boxes
import frames
from conftest import MakeBox

WARM = "numpy,pandas,matplotlib"

PROBE = """
import sys, threading, gc, warnings
def begun():
    return [n for n, m in sys.modules.items()
            if getattr(m.__dict__.get('__spec__'), '_initializing', False)]
assert begun() == [], begun()
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert gc.isenabled() and round(sys.getswitchinterval(), 6) == 0.005
assert [type(f).__module__ for f in sys.meta_path if 'oneshot' in type(f).__module__] == []
"""

USE = """
import numpy as np, pandas as pd
frame = pd.DataFrame({'a': [1, 2, 3], 'b': list('xyz')})
assert frame.a.sum() == 6 and np.arange(4).sum() == 6
assert 'mean' in str(frame.describe())
assert begun() == [], begun()
"""

# Moments after READY at which the container is taken: before, in the middle of, and after imports.
MOMENTS = [0.0, 0.015, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.9]


def taken(science: MakeBox, moment: float) -> boxes.Box:
    box = science(warm=WARM)
    time.sleep(moment)
    return box


@pytest.mark.parametrize("moment", MOMENTS)
def test_program_sees_nothing_half_imported(science: MakeBox, moment: float) -> None:
    result = taken(science, moment).run(PROBE + "print('ok')")
    assert (result.out, result.err) == ("ok\n", "")


@pytest.mark.parametrize("moment", MOMENTS)
def test_import_of_what_is_held_goes_on(science: MakeBox, moment: float) -> None:
    result = taken(science, moment).run(PROBE + USE + "print('ok')")
    assert (result.out, result.err) == ("ok\n", "")


@pytest.mark.parametrize("moment", MOMENTS[::2])
def test_import_of_another_library_that_needs_it_goes_on(science: MakeBox, moment: float) -> None:
    code = "import seaborn, scipy.stats\nprint(seaborn.__name__, scipy.stats.norm.cdf(0))"
    result = taken(science, moment).run(PROBE + code)
    assert (result.out, result.err) == ("seaborn 0.5\n", "")


FORKS = {
    "fork": """
import os
if os.fork() == 0:
    import pandas
    print(pandas.Series([4]).sum(), flush=True)
    os._exit(0)
print(os.wait()[1])
""",
    # Their own hooks take locks before a fork that an import may need.
    "hooks": """
import logging, concurrent.futures.thread, random, os
if os.fork() == 0:
    import pandas
    print(pandas.Series([4]).sum(), flush=True)
    os._exit(0)
print(os.wait()[1])
""",
    "pool": """
import multiprocessing
def work(n):
    import pandas
    return int(pandas.Series([n]).sum())
with multiprocessing.Pool(1) as pool: print(*pool.map(work, [4, 0]))
""",
    "preexec": """
import logging, subprocess
subprocess.run(['echo', '4'], preexec_fn=lambda: None)
import pandas
print(pandas.Series([0]).sum())
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", FORKS)
def test_fork_waits_for_what_is_held(science: MakeBox, name: str, moment: float) -> None:
    result = taken(science, moment).run(PROBE + FORKS[name])
    assert sorted(result.out.split()) == ["0", "4"], (result.end, result.err)


@pytest.mark.parametrize("moment", MOMENTS)
def test_end_of_a_program_is_the_same(science: MakeBox, moment: float) -> None:
    code = "class A:\n    def __del__(self): print('deleted')\na = A()\nf = open('x', 'w')\nf.write('kept')"
    result = taken(science, moment).run(code, flags=frames.GATHER)
    assert (result.out, result.files) == ("deleted\n", {"x": b"kept"})


@pytest.mark.parametrize("moment", MOMENTS[::2])
def test_threads_may_import_it_at_once(science: MakeBox, moment: float) -> None:
    # Whole packages: halves of one from two threads fail in CPython by themselves.
    code = PROBE + """
from concurrent.futures import ThreadPoolExecutor
import importlib
names = ['pandas', 'numpy', 'matplotlib.pyplot', 'pandas', 'matplotlib', 'dateutil']
with ThreadPoolExecutor(6) as pool: found = list(pool.map(importlib.import_module, names))
assert [m.__name__ for m in found] == names and begun() == []
print(found[0].DataFrame({'a': [1]}).a.sum(), found[2].get_backend().lower())
"""  # fmt: skip
    result = taken(science, moment).run(code)
    assert (result.out, result.err) == ("1 agg\n", "")


@pytest.mark.parametrize("moment", MOMENTS[::3])
def test_filters_of_warnings_survive(science: MakeBox, moment: float) -> None:
    code = """
import warnings
before = [f for f in warnings.filters if 'numpy' not in str(f)]
warnings.filterwarnings('ignore', message='mine')
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import pandas, matplotlib.pyplot
mine = [f for f in warnings.filters if f[1] and f[1].pattern == 'mine']
print(len(mine), warnings.filters[0][0] if mine else None)
warnings.warn('mine'); warnings.warn('shown')
print(before == [f for f in __import__('warnings').filters if 'numpy' not in str(f) and f not in mine
                 and f in before])
"""
    result = taken(science, moment).run(code)
    assert result.out == "1 ignore\nTrue\n"
    assert "UserWarning: shown" in result.err and "UserWarning: mine" not in result.err


def test_deadline_holds_while_a_program_waits_for_an_import(science: MakeBox) -> None:
    result = taken(science, 0.03).run("import pandas, matplotlib.pyplot, seaborn\nwhile True: pass",
                                      timeout_ms=1500, grace_ms=90_000)  # fmt: skip
    assert result.end == "timeout" and result.elapsed_s < 80.0


def finished(science: MakeBox) -> boxes.Box:
    """A container that has imported everything."""
    box = science(warm=WARM)
    box.wait_quiet()
    return box


def test_finished_imports_are_there(science: MakeBox) -> None:
    code = PROBE + """
import sys
print(sorted(n for n in ('numpy', 'pandas', 'matplotlib.pyplot') if n in sys.modules))
import matplotlib, matplotlib.pyplot as plt
print(matplotlib.get_backend().lower(), plt.get_fignums(), plt.figure().number)
print(gc.get_freeze_count() > 100000, len(gc.get_objects()) < 20000)
"""  # fmt: skip
    result = finished(science).run(code)
    assert result.out == ("['matplotlib.pyplot', 'numpy', 'pandas']\nagg [] 1\nTrue True\n"), (
        result.err
    )


def test_program_runs_in_the_very_process_that_was_parked(science: MakeBox) -> None:
    """Nothing is forked for it: its process is as old as the container's interpreter."""
    code = """
import os
began = int(open('/proc/self/stat').read().rpartition(')')[2].split()[19])
age = float(open('/proc/uptime').read().split()[0]) - began / os.sysconf('SC_CLK_TCK')
print(age, os.getppid(), [p for p in os.listdir('/proc') if p.isdigit()] == ['1', str(os.getpid())])
"""
    box = science(warm=WARM)
    ready = time.monotonic()
    box.wait_quiet()
    parked = time.monotonic() - ready
    age, parent, is_alone = box.run(code).out.split()
    assert float(age) >= parked > 0.1
    assert (parent, is_alone) == ("1", "True")


def test_random_numbers_of_numpy_differ_between_containers(science: MakeBox) -> None:
    code = "import numpy as np\nprint(np.random.rand(), np.random.default_rng().random())"
    first, second = (finished(science).run(code).out.split() for _ in range(2))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_settings_of_matplotlib_are_untouched(science: MakeBox) -> None:
    code = """
import matplotlib as mpl, warnings
warnings.simplefilter('ignore')
changed = {k for k in mpl.rcParams if mpl.rcParams[k] != mpl.rcParamsDefault[k]}
print(changed - {'backend'}, mpl.get_cachedir())
"""
    assert finished(science).run(code).out == "set() /tmp/.mpl\n"


def test_library_that_is_missing_is_no_trouble(make: MakeBox) -> None:
    box = make(warm="nothing_of_the_kind, json ,,math,os.path")
    assert box.run(PROBE + "print('ok')").out == "ok\n"


def test_parked_container_that_is_taken_late_runs_as_well(science: MakeBox) -> None:
    result = finished(science).run(PROBE + USE + "print('ok')", flags=frames.GATHER)
    assert (result.out, result.err, result.files) == ("ok\n", "", {})
