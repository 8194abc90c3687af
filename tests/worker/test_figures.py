"""Figures that a program leaves open, or shows, become files."""

from __future__ import annotations

import pytest

import frames
from conftest import MakeBox

PNG = b"\x89PNG\r\n\x1a\n"
FIGURES = {"figures": True}


@pytest.fixture(params=["numpy,matplotlib", ""], ids=["warm", "cold"])
def plotting(request: pytest.FixtureRequest, science: MakeBox):  # type: ignore[no-untyped-def]
    def run(code: str, figures: bool = True) -> frames.Result:
        box = science(warm=request.param)
        meta = {"figures": figures}
        return box.run(code, meta=meta, flags=frames.GATHER)

    return run


def check(result: frames.Result, names: list[str]) -> None:
    assert list(result.files) == names, result.err
    assert all(data.startswith(PNG) for data in result.files.values())
    assert result.err == ""


def test_open_figures_are_saved(plotting) -> None:  # type: ignore[no-untyped-def]
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.figure()\nplt.bar([1], [2])"
    check(plotting(code), ["figure_1.png", "figure_2.png"])


def test_a_forked_child_leaves_the_figures_alone(plotting) -> None:  # type: ignore[no-untyped-def]
    code = (
        "import os\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
        "pid = os.fork()\nif pid: os.waitpid(pid, 0)"
    )
    check(plotting(code), ["figure_1.png"])


def test_shown_figures_are_saved_once(plotting) -> None:  # type: ignore[no-untyped-def]
    code = """
import os
import matplotlib
matplotlib.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.pyplot import show
plt.plot([1, 2])
plt.show()
print(os.listdir('.'), plt.get_fignums())
plt.plot([3, 4])
show(block=False)
"""
    result = plotting(code)
    check(result, ["figure_1.png", "figure_2.png"])
    assert result.out == "['figure_1.png'] []\n"


def test_without_the_wish_nothing_is_saved_and_nothing_said(plotting) -> None:  # type: ignore[no-untyped-def]
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.gcf().show()"
    check(plotting(code, figures=False), [])


def test_closed_figures_are_not_saved(plotting) -> None:  # type: ignore[no-untyped-def]
    code = (
        "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('mine.png')\nplt.close('all')"
    )
    check(plotting(code), ["mine.png"])


def test_files_of_the_program_are_not_overwritten(science: MakeBox) -> None:
    code = "open('figure_1.png', 'w').write('mine')\nimport matplotlib.pyplot as plt\nplt.plot([1])"
    result = science().run(code, meta=FIGURES, flags=frames.GATHER)
    assert list(result.files) == ["figure_1.png", "figure_2.png"]
    assert result.files["figure_1.png"] == b"mine"


def test_figures_of_a_failed_program_are_saved(science: MakeBox) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1])\n1 / 0"
    result = science().run(code, meta=FIGURES, flags=frames.GATHER)
    assert list(result.files) == ["figure_1.png"] and result.exit_code == 1
    assert result.err.count("\n") == 5, result.err


def test_pandas_and_seaborn_plots_are_figures(science: MakeBox) -> None:
    code = """
import pandas as pd, seaborn as sns
pd.DataFrame({'a': [1, 3, 2]}).plot()
import matplotlib.pyplot as plt
plt.figure()
sns.lineplot(x=[1, 2], y=[3, 4])
"""
    result = science(warm="pandas").run(code, meta=FIGURES, flags=frames.GATHER)
    check(result, ["figure_1.png", "figure_2.png"])


def test_figure_that_cannot_be_saved_does_not_change_the_ending(science: MakeBox) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig = None\n"
    code += "plt.figure = None"
    result = science().run(code, meta=FIGURES, flags=frames.GATHER)
    assert (result.files, result.exit_code) == ({}, 0)
    assert result.err.startswith("open figures were not saved: ")


def test_nothing_of_the_hook_is_left(science: MakeBox) -> None:
    code = """
import sys
import matplotlib.pyplot as plt
print([type(f).__name__ for f in sys.meta_path if 'oneshot' in type(f).__module__])
print(plt.show.__module__, plt.show.__name__, 'exec_module' in vars(plt.__spec__.loader))
"""
    result = science().run(code, meta=FIGURES)
    assert result.out == "[]\nmatplotlib.pyplot show False\n"


def test_table_of_fonts_is_ready(science: MakeBox) -> None:
    """Making it takes a second and writes a file; the one of the image is used instead."""
    code = """
import os, matplotlib.font_manager
print([os.path.islink('/tmp/.mpl/' + n) for n in os.listdir('/tmp/.mpl') if n.endswith('.json')])
"""
    assert science().run(code).out == "[True]\n"
