"""matplotlib without a display: figures become files, and nothing waits for a window."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

PYPLOT = "matplotlib.pyplot"
FONT_CACHE = "/oneshot/mpl"


class State:
    """Of the current run."""

    wants_figures = False
    saved = 0


def prepare_environment() -> None:
    """
    Before anything imports matplotlib, here or in a child process: no search for a display, and a
    directory of its own that already has the list of fonts, which takes a second to make.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    if not os.path.isdir(FONT_CACHE):
        return
    target = os.environ.setdefault("MPLCONFIGDIR", "/tmp/.mpl")
    try:
        os.makedirs(target, exist_ok=True)
        for name in os.listdir(FONT_CACHE):
            os.symlink(os.path.join(FONT_CACHE, name), os.path.join(target, name))
    except OSError:
        pass  # matplotlib then makes the list itself


def free_name(number: int) -> tuple[int, str]:
    while True:
        number += 1
        name = f"figure_{number}.png"
        if not os.path.lexists(name):
            return number, name


def save_all() -> None:
    """Saves the open figures as figure_1.png … in the working directory and closes them."""
    plt = sys.modules.get(PYPLOT)
    if plt is None:
        return
    try:
        for number in plt.get_fignums():
            State.saved, name = free_name(State.saved)
            plt.figure(number).savefig(name)
            plt.close(number)
    except BaseException as error:
        from . import tracebacks

        tracebacks.show_text(f"open figures were not saved: {tracebacks.text_of(error)}\n")


def show(*args: object, **kwargs: object) -> None:
    """Display all open figures."""
    if State.wants_figures:
        save_all()


def patch(plt: ModuleType) -> None:
    show.__module__ = PYPLOT
    plt.show = show  # type: ignore[attr-defined]


class Hook:
    """Waits in sys.meta_path until the program imports pyplot; then it is gone."""

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name != PYPLOT:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del spec.loader.exec_module  # type: ignore[union-attr]
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def arm(wants_figures: bool) -> None:
    """plt.show() is to save; otherwise it stays matplotlib's own, which without a display does
    nothing."""
    State.wants_figures = wants_figures
    if not wants_figures:
        return
    plt = sys.modules.get(PYPLOT)
    if plt is not None:
        patch(plt)
    elif not any(isinstance(finder, Hook) for finder in sys.meta_path):
        sys.meta_path.insert(0, Hook())  # type: ignore[arg-type]
