"""Fixtures: the service that most tests share, and services of a test's own."""

from __future__ import annotations

import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "worker")]

import service as services  # noqa: E402


@pytest.fixture(scope="session")
def homes() -> Iterator[pathlib.Path]:
    """Where services live: pytest's own directories are closed to the front's user."""
    top = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-test-"))
    top.chmod(0o755)
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="session")
def service(homes: pathlib.Path) -> Iterator[services.Service]:
    """Runs with the policies as they are shipped. Shared: a test may not change it."""
    one = services.Service(homes / "shared")
    try:
        yield one.start()
    finally:
        one.remove()


@pytest.fixture
def make_service(homes: pathlib.Path) -> Iterator[Callable[..., services.Service]]:
    """Makes services that the test may stop, kill and reload; not started yet."""
    made: list[services.Service] = []

    def make(**options: object) -> services.Service:
        home = pathlib.Path(tempfile.mkdtemp(dir=homes))
        made.append(services.Service(home, **options))  # type: ignore
        return made[-1]

    yield make
    for one in made:
        one.remove()
