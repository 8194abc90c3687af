"""What the images are made of, beyond what images/python/selftest.py asks inside a container."""

from __future__ import annotations

import re

import pytest

import box as boxes
import engine
from conftest import MakeBox, need

WANTED = """numpy pandas scipy matplotlib plotly scikit-learn ipython seaborn pillow sympy openpyxl
xlrd lxml pyyaml pyarrow requests aiohttp slicks""".split()


def requirements() -> dict[str, str]:
    """Name and version of each line, as pip-compile wrote it with its hashes."""
    text = (boxes.TOP / "images" / "python" / "requirements.txt").read_text()
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found = {}
    for line in lines:
        if line.strip() and not line.lstrip().startswith(("#", "-")):
            assert "--hash=sha256:" in line, line
            name, version = re.match(r"([\w.-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
            found[name] = version
    return found


def test_packages_are_pinned_with_their_hashes() -> None:
    found = requirements()
    assert [name for name in WANTED if name not in found] == []
    assert found["slicks"] == "0.2.3"


@pytest.mark.parametrize("image", [boxes.IMAGE, boxes.SLIM_IMAGE])
def test_image_is_for_a_user_without_rights(image: str) -> None:
    config = engine.call("GET", f"/images/{need(image)}/json")["Config"]  # type: ignore[index]
    assert (config["User"], config["WorkingDir"]) == ("65534:65534", "/work")
    assert config["Entrypoint"] == ["/oneshot/warden"]
    assert not [line for line in config["Env"] if re.search(r"(?i)proxy|token|pip_|secret", line)]


FOLDERS = """
import os, stat
def show(path):
    s = os.lstat(path)
    print(path, oct(stat.S_IMODE(s.st_mode)), s.st_uid)
for path in ('/', '/oneshot', '/oneshot/warden', '/oneshot/worker', '/usr/bin', '/work', '/tmp'):
    show(path)
print([t for t, d, f in os.walk('/oneshot/worker') if os.access(t, os.W_OK)])
"""


def test_folders_have_their_modes(make: MakeBox) -> None:
    assert make().run(FOLDERS).out.splitlines() == [
        "/ 0o755 0", "/oneshot 0o755 0", "/oneshot/warden 0o755 0", "/oneshot/worker 0o755 0",
        "/usr/bin 0o755 0", "/work 0o755 65534", "/tmp 0o1777 0", "[]",
    ]  # fmt: skip
