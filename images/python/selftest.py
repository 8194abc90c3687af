"""What the images promise, checked from inside a container: python3 -I selftest.py slim|full"""

import glob
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import shutil
import ssl
import stat
import subprocess
import sys
import zoneinfo

STANDARD = "asyncio ctypes curses dbm decimal distutils json lzma readline sqlite3 ssl".split()
PACKAGES = {  # module: distribution
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "plotly": "plotly",
    "sklearn": "scikit-learn",
    "IPython": "ipython",
    "seaborn": "seaborn",
    "PIL": "pillow",
    "sympy": "sympy",
    "openpyxl": "openpyxl",
    "xlrd": "xlrd",
    "lxml.etree": "lxml",
    "yaml": "pyyaml",
    "pyarrow": "pyarrow",
    "requests": "requests",
    "aiohttp": "aiohttp",
    "slicks": "slicks",
}
ABSENT_PROGRAMS = "pip pip3 apt apt-get dpkg perl gcc cc ld mount su passwd openssl".split()
ABSENT_MODULES = "pip setuptools wheel pkg_resources ensurepip".split()


def check_system():
    assert sys.version_info[:2] == (3, 11), sys.version
    assert (os.getuid(), os.getgid(), os.getcwd()) == (65534, 65534, "/work")
    assert os.path.expanduser("~") == "/work"
    assert subprocess.check_output("echo hi | tr a-z A-Z", shell=True) == b"HI\n"
    assert [p for p in ABSENT_PROGRAMS if shutil.which(p)] == []
    assert [m for m in ABSENT_MODULES if importlib.util.find_spec(m)] == []
    assert shutil.which("python3") and os.path.exists("/usr/bin/python3")
    assert len(ssl.create_default_context().get_ca_certs()) > 100
    assert zoneinfo.ZoneInfo("Europe/Paris")
    for folder, _, files in os.walk("/"):
        if folder.startswith(("/proc", "/sys", "/dev")):
            continue
        for name in files:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            assert not mode & (stat.S_ISUID | stat.S_ISGID), os.path.join(folder, name)
    for folder in ("/work", "/workspace", "/tmp"):
        with open(folder + "/written", "w", encoding="utf-8") as file:
            file.write("x")
    try:
        open("/usr/written", "w", encoding="utf-8").close()
    except OSError:
        return
    raise AssertionError("the root is writable")


def check_imports_are_ordinary():
    """The packed finder answers as Python's own would."""
    import json
    import xml.dom.minidom

    assert type(json.__spec__.loader).__name__ == "PackedLoader", json.__spec__
    assert json.__file__.endswith("/json/__init__.py") and os.path.exists(json.__cached__)
    assert "def dumps" in inspect.getsource(json)
    assert importlib.reload(xml.dom.minidom).parseString("<a/>")
    assert "decoder" in [m.name for m in pkgutil.iter_modules(json.__path__)]
    assert importlib.util.find_spec("no_such_module") is None
    # A directory before the standard library wins, for the packed and for the absent.
    for name in ("statistics", "no_such_module"):
        with open(f"/work/{name}.py", "w", encoding="utf-8") as file:
            file.write("mine = True")
    sys.path.insert(0, "/work")
    try:
        assert importlib.import_module("statistics").mine
        assert importlib.import_module("no_such_module").mine
    finally:
        sys.path.remove("/work")
        for name in ("statistics", "no_such_module"):
            sys.modules.pop(name, None)


def check_canvas():
    """What is drawn later is drawn all the same: pixels are those of a canvas that drew at once."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots()
    canvas, drawn = figure.canvas, []
    original = type(canvas).draw
    type(canvas).draw = lambda self: (drawn.append(1), original(self))[1]
    try:
        axes.plot([1, 4, 9])
        figure.savefig("/tmp/first.png")
        plt.savefig("/tmp/again.png")
        count = len(drawn)
        axes.plot([9, 4, 1])
        plt.draw()
        assert len(drawn) == count, "the canvas draws at once: is patch_packages.py at work?"
        late = np.asarray(canvas.buffer_rgba()).copy()
        assert len(drawn) == count + 1
        canvas.draw()
        assert (late == np.asarray(canvas.buffer_rgba())).all() and late.min() == 0
        plt.draw()
        assert bytes(canvas.get_renderer().buffer_rgba()) == bytes(late)
    finally:
        type(canvas).draw = original
        plt.close(figure)


def check_packages():
    import pandas as pd

    assert "pyarrow" not in sys.modules, "pandas loads pyarrow: is patch_packages.py at work?"
    for module, distribution in PACKAGES.items():
        importlib.import_module(module)
        print(f"{distribution:15} {importlib.metadata.version(distribution)}")
    assert importlib.metadata.version("slicks") == "0.2.3"
    for module in PACKAGES:
        compiled = getattr(sys.modules[module], "__cached__", None)
        assert compiled is None or os.path.exists(compiled), f"{module} is not compiled"
    import pyarrow

    frame = pd.DataFrame({"a": [1, 2], "s": ["x", "y"]})
    frame.to_parquet("/tmp/f.parquet")
    back = pd.read_parquet("/tmp/f.parquet", dtype_backend="pyarrow")
    assert back["s"].dtype.pyarrow_dtype == pyarrow.string()
    assert (back["a"] + 1).tolist() == [2, 3]
    assert pd.read_parquet("/tmp/f.parquet").equals(frame)
    assert "class DataFrame" in inspect.getsource(pd.DataFrame)


def check_plots():
    import seaborn
    from matplotlib import font_manager, pyplot

    # It would be written anew if the ready one did not fit.
    (cache,) = glob.glob("/tmp/.mpl/fontlist-v*.json")
    assert os.path.getmtime(cache) < os.path.getmtime("/tmp/written")
    assert "DejaVuSans.ttf" in font_manager.findfont(font_manager.FontProperties())
    assert seaborn.load_dataset("tips").shape == (244, 7)
    assert seaborn.load_dataset("iris").shape == (150, 5)
    seaborn.scatterplot(seaborn.load_dataset("tips"), x="total_bill", y="tip", hue="day")
    pyplot.savefig("/work/plot.png")
    with open("/work/plot.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def main():
    print("python         ", sys.version.split()[0])
    check_system()
    for module in STANDARD:
        importlib.import_module(module)
    check_imports_are_ordinary()
    if sys.argv[1] == "full":
        os.makedirs("/tmp/.mpl")
        for path in glob.glob("/oneshot/mpl/*"):
            shutil.copy2(path, "/tmp/.mpl")
        check_packages()
        check_canvas()
        check_plots()
    print("ok")


if __name__ == "__main__":
    main()
