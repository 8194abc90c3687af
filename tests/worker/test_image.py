"""What the images are made of, beyond what images/python/selftest.py asks inside a container."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator

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
for path in ('/', '/oneshot', '/oneshot/warden', '/oneshot/worker', '/usr/bin', '/work', '/tmp',
             '/workspace'):
    show(path)
print([t for t, d, f in os.walk('/oneshot/worker') if os.access(t, os.W_OK)])
"""


def test_folders_have_their_modes(make: MakeBox) -> None:
    assert make().run(FOLDERS).out.splitlines() == [
        "/ 0o755 0", "/oneshot 0o755 0", "/oneshot/warden 0o755 0", "/oneshot/worker 0o755 0",
        "/usr/bin 0o755 0", "/work 0o755 65534", "/tmp 0o1777 0", "/workspace 0o755 65534", "[]",
    ]  # fmt: skip


PACKAGE_MANAGERS = """
import os
programs = set('apt apt-get aptitude dpkg dpkg-deb pip pip3 easy_install conda yum dnf apk'.split())
rests = {'apt', 'dpkg', 'pip'}
found = []
for top, folders, files in os.walk('/'):
    if top == '/':
        folders[:] = [name for name in folders if name not in ('proc', 'sys', 'dev')]
    found += [top + '/' + name for name in folders if name in rests]
    found += [top + '/' + name for name in files if name in programs]
print(found)
"""


def test_no_package_manager_is_in_the_final_stage(make: MakeBox, science: MakeBox) -> None:
    for box in (make(), science()):
        assert box.run(PACKAGE_MANAGERS, timeout_ms=120_000).out == "[]\n"


@pytest.fixture
def own_tag() -> Iterator[str]:
    """Images of this test's own name: those in use stay as they are."""
    tag = f"second-build-{os.getpid():x}"
    yield tag
    for image in ("oneshot/python-slim", "oneshot/python"):
        subprocess.run(["docker", "rmi", f"{image}:{tag}"], capture_output=True, check=False)


def build(tag: str) -> tuple[list[str], str, float]:
    """What the images are after `build.sh`, what it said, and how long it took."""
    began = time.monotonic()
    done = subprocess.run([boxes.TOP / "images/build.sh"], env=os.environ | {"TAG": tag}, text=True,
                          capture_output=True, timeout=1800, check=False)  # fmt: skip
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    ids = [engine.call("GET", f"/images/{name}:{tag}/json")["Id"]  # type: ignore[index]
           for name in ("oneshot/python-slim", "oneshot/python")]  # fmt: skip
    return ids, done.stdout, took


def test_a_second_build_changes_nothing_and_makes_nothing(own_tag: str) -> None:
    first, _, _ = build(own_tag)
    second, said, took = build(own_tag)
    assert second == first
    # Progress is a line for each stage, with the seconds that it took.
    for stage in ("oneshot/python-slim", "oneshot/python"):
        assert re.search(rf"^{stage} +\d+ s$", said, re.M), said
    assert took < 300, said  # where anything were made again, the downloads alone take longer
