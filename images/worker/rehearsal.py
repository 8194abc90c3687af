"""What a program will do first is done once before: the first time costs several times the second.

Nothing of it can be seen afterwards: no output, no file, no variable, no setting.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

META = b'{"filename":"<rehearsal>","value":"none","extract":true,"validation":{}}'
CODE = b"print(end='')"
TOOLS = b'{"modules":[{"name":"a","functions":[{"name":"f"}]}]}'


def run() -> None:
    """The worker's own way from a job to its end, without the parts that end something."""
    import json
    import linecache

    from . import calls, ending, job, plots, program, tools, value, wire

    example = job.Job(json.loads(META), CODE, False)
    source = program.source_of(example)
    program.keep_source(example.filename, source)
    program.validated(source, example, "/")
    program.execute(source, example, {"__name__": "__main__"})
    del linecache.cache[example.filename]
    program.seed_random()
    value.encode([1], 10)
    box = tools.Toolbox(json.loads(TOOLS), calls.Calls(wire.Wire()))
    box.function(box.find("a.f"), is_sync=True)
    plots.arm(example.wants_figures)
    ending.flush()
    ending.flush_files()
    ending.forget({})


def pandas(checkpoint: Callable[[], None]) -> None:
    import io

    import pandas  # type: ignore[import-untyped]

    frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"], "c": [0.5, 1.5, None]})
    checkpoint()
    str(frame)
    str(frame.describe())
    checkpoint()
    str(frame.groupby("b")["a"].agg(["mean", "sum"]))
    frame.sort_values("a").merge(frame, on="a")
    checkpoint()
    pandas.read_csv(io.StringIO("a,b\n1,x\n")).to_csv(io.StringIO())


def matplotlib(checkpoint: Callable[[], None]) -> None:
    import io

    import matplotlib.pyplot as plt  # type: ignore[import-not-found]
    from matplotlib.figure import Figure  # type: ignore[import-not-found]

    plt.switch_backend("agg")
    checkpoint()
    # Not made by pyplot, so its numbers, its current figure and its settings stay untouched.
    figure = Figure()
    axes = figure.subplots()
    checkpoint()
    axes.plot([0, 1], [0, 1], label="a")
    axes.bar([0, 1], [1, 2])
    axes.set_title("a")
    axes.set_xlabel("b")
    axes.legend()
    axes.grid(True)
    checkpoint()
    for _ in range(2):
        figure.savefig(io.BytesIO(), format="png")
        checkpoint()


LIBRARIES = {"pandas": pandas, "matplotlib": matplotlib}
