"""Writes what sitecustomize.py reads; the last step in an image's root: python3 -B -I pack.py

It imports the modules that programs use most and runs some typical lines, so that what pandas or
matplotlib import late is found as well; then it notes what was loaded, in that order. The lines are
also a first test of the image.
"""

import importlib
import importlib.util
import io
import marshal
import os
import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader, SourceFileLoader

DIRECTORY = "/oneshot/imports"
PACKAGES = "/oneshot/packages"
# All files get one time: the same image from the same packages, and a changed directory shows.
TIME = int(os.environ.get("SOURCE_DATE_EPOCH", 1686355200))

STANDARD_MODULES = """
    abc argparse ast asyncio base64 binascii bisect bz2 calendar cmath code codecs collections
    collections.abc colorsys concurrent.futures concurrent.futures.thread
    concurrent.futures.process configparser contextlib contextvars copy csv ctypes dataclasses
    datetime decimal difflib dis doctest email email.message encodings.idna encodings.latin_1
    encodings.ascii enum errno faulthandler fnmatch fractions functools gc getpass glob graphlib
    gzip hashlib heapq hmac html html.parser http.client http.server importlib.metadata
    importlib.resources inspect io ipaddress itertools json keyword linecache locale logging
    lzma marshal math mimetypes mmap multiprocessing multiprocessing.pool
    multiprocessing.connection multiprocessing.resource_tracker multiprocessing.shared_memory
    multiprocessing.spawn numbers opcode operator os pathlib pickle pickletools pkgutil platform
    pprint profile cProfile pstats pty pydoc queue random re reprlib resource runpy sched
    secrets select selectors shelve shlex shutil signal site socket socketserver sqlite3 ssl
    stat statistics string struct subprocess symtable tarfile tempfile textwrap threading time
    timeit token tokenize trace traceback tracemalloc types typing unicodedata unittest
    unittest.mock urllib.error urllib.parse urllib.request uuid venv warnings wave weakref
    xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo
""".split()

PACKAGE_MODULES = """
    numpy numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random numpy.testing
    pandas matplotlib.pyplot matplotlib.animation matplotlib.dates matplotlib.ticker
    mpl_toolkits.mplot3d
    scipy.cluster.hierarchy scipy.fft scipy.integrate scipy.interpolate scipy.io scipy.linalg
    scipy.ndimage scipy.optimize scipy.signal scipy.sparse scipy.sparse.linalg scipy.spatial
    scipy.special scipy.stats
    sklearn sklearn.cluster sklearn.compose sklearn.datasets sklearn.decomposition sklearn.ensemble
    sklearn.feature_extraction.text sklearn.feature_selection sklearn.gaussian_process
    sklearn.impute sklearn.linear_model sklearn.manifold sklearn.metrics sklearn.mixture
    sklearn.model_selection sklearn.naive_bayes sklearn.neighbors sklearn.neural_network
    sklearn.pipeline sklearn.preprocessing sklearn.svm sklearn.tree
    seaborn plotly.express plotly.graph_objects plotly.subplots plotly.figure_factory plotly.io
    sympy openpyxl xlrd lxml.etree lxml.html yaml
    pyarrow pyarrow.compute pyarrow.csv pyarrow.dataset pyarrow.flight pyarrow.parquet
    requests aiohttp PIL.Image PIL.ImageDraw PIL.ImageFilter PIL.ImageFont PIL.ImageOps
    IPython.display slicks
""".split()


def run_typical_lines():
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    import plotly.express as px
    import seaborn as sns
    import sympy

    frame = pd.DataFrame(
        {
            "number": np.arange(12.0),
            "text": ["a", "b", "c"] * 4,
            "day": pd.date_range("2024-01-01", periods=12),
        }
    )
    table, sheet = io.StringIO(), io.BytesIO()
    frame.to_csv(table)
    table.seek(0)
    pd.read_csv(table, parse_dates=["day"])
    frame.to_excel(sheet, index=False)
    pd.read_excel(sheet)
    frame.to_parquet(io.BytesIO())
    pd.read_json(io.StringIO(frame.to_json()))
    print(frame, frame.describe(), frame.to_html()[:0], frame.to_markdown is None)
    frame.groupby("text")["number"].agg(["mean", "std"])
    frame.pivot_table(index="text", values="number")
    frame.set_index("day").resample("W").sum(numeric_only=True).rolling(2).mean()
    frame.merge(frame, on="text").sort_values("number_x")

    frame.plot(x="day", y="number", kind="bar")
    figure, axes = plt.subplots(1, 2)
    axes[0].plot(frame["number"], label="$x^2$")
    axes[0].legend()
    axes[0].set_title("title")
    axes[1].imshow(np.random.default_rng(0).random((4, 4)))
    figure.colorbar(axes[1].images[0])
    figure.tight_layout()
    for kind in ("png", "svg", "pdf", "jpg"):
        figure.savefig(io.BytesIO(), format=kind)
    plt.figure().add_subplot(projection="3d").scatter([1], [2], [3])
    plt.close("all")
    sns.set_theme()
    sns.scatterplot(frame, x="number", y="number", hue="text")
    sns.displot(frame, x="number", kde=True)
    sns.heatmap(frame[["number"]].corr(), annot=True)
    plt.savefig(io.BytesIO())
    plt.close("all")
    px.line(frame, x="number", y="number", color="text").to_html()
    sympy.solve(sympy.Symbol("x") ** 2 - 4)


def loaded_modules():
    """(directory, name, suffix, file with the code or None) of what was loaded from a file."""
    for fullname, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != fullname or not spec.has_location:
            continue
        directory, file = os.path.split(spec.origin)
        name = fullname.rpartition(".")[2]
        if type(spec.loader) is SourceFileLoader:
            if file == "__init__.py":
                yield os.path.dirname(directory), name, "/__init__.py", spec.cached
            elif file == name + ".py":
                yield directory, name, ".py", spec.cached
        elif type(spec.loader) is ExtensionFileLoader and file.startswith(name + "."):
            yield directory, name, file[len(name) :], None


def write_pack(roots):
    tables = {root: {} for root in roots}
    with open(DIRECTORY + "/code", "wb") as code:
        for directory, name, suffix, cached in loaded_modules():
            root = next((r for r in roots if (directory + "/").startswith(r + "/")), None)
            if root is None:
                continue
            start = code.tell()
            if cached:
                with open(cached, "rb") as file:
                    code.write(file.read()[16:])  # behind the header of a .pyc
            entry = (suffix, start, code.tell()) if cached else (suffix, 0, 0)
            tables[root].setdefault(directory, {})[name] = entry
    index = {}
    for root, directories in tables.items():
        # What is searched for every import must also know what it has not.
        for directory in [path for path in sys.path if (path + "/").startswith(root + "/")]:
            known = directories.setdefault(directory, {})
            for entry in os.listdir(directory):
                known.setdefault(entry.partition(".")[0], None)
        index[root] = {
            directory: marshal.dumps((table, directory in sys.path))
            for directory, table in directories.items()
        }
    with open(DIRECTORY + "/index", "wb") as file:
        marshal.dump((sys.hexversion, float(TIME), roots, index), file)


def set_times(directory):
    for folder, names, files in os.walk(directory):
        if folder == "/":
            names[:] = [n for n in names if n not in ("dev", "proc", "sys")]
        for name in files + names:
            os.utime(os.path.join(folder, name), (TIME, TIME), follow_symlinks=False)


def main():
    os.makedirs(DIRECTORY)
    roots = [sysconfig.get_path("stdlib")]
    modules = STANDARD_MODULES
    if os.path.isdir(PACKAGES):
        roots.append(PACKAGES)
        # What parked containers import first comes first: neighbours in the file are read together.
        modules = PACKAGE_MODULES + modules
    for name in modules:
        importlib.import_module(name)
    if os.path.isdir(PACKAGES):
        run_typical_lines()
    write_pack(roots)
    set_times("/")


if __name__ == "__main__":
    main()
