"""Fixtures: the service that most tests share, and services of a test's own."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "worker")]

import arena as arenas  # noqa: E402
import service as services  # noqa: E402
from standins.fixtures import (  # noqa: E402, F401
    cohere_process,
    cohere_standin,
    home_process,
    home_standin,
    mcp_process,
    mcp_standin,
    openapi_process,
    openapi_standin,
    slack_process,
    slack_standin,
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", 'long: takes minutes; leave it out with -m "not long"')


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
    one = services.Service(homes / "shared", patience_s=60)
    try:
        yield one.start()
    finally:
        one.remove()


TUNED_QUOTA = 1 << 20


@pytest.fixture(scope="session")
def tuned(homes: pathlib.Path) -> Iterator[services.Service]:
    """Shared too: narrow limits, a foreign owner's workspace, variables for programs."""
    slim = {"image": "oneshot/python-slim", "warm": []}
    one = services.Service(homes / "tuned", policies={
        "aiq": slim | {"workspace": {"quota": TUNED_QUOTA}},
        "telemetry": slim,
        "default": slim | {
            "env": {"set": {"FROM_POLICY": "p"}, "pass": ["PASSED_ON"], "allow": ["ALLOWED"]},
            "input_files": {"count": 3, "total": "64KiB"},
            "output_files": {"tmp": True},
            "memory": {"limit": "128MiB", "max": "256MiB"},
        },
    }, env={
        "SANDBOX_MAX_FILES": "3", "SANDBOX_MAX_FILE_MB": "1", "INFLUX_TOKEN": "token-1",
        "INFLUX_DB": "telemetry", "PASSED_ON": "yes", "SECRET_TOKEN": "secret-1",
    }, patience_s=60)
    one.output.mkdir()
    if os.geteuid() == 0:
        os.chown(one.output, 4321, 4321)
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


@pytest.fixture(scope="session")
def hostile_service(homes: pathlib.Path) -> Iterator[services.Service]:
    """The service that the attacks of all modules are made on."""
    one = services.Service(homes / "hostile", policies=arenas.POLICIES)
    try:
        yield one.start()
    finally:
        one.remove()


@pytest.fixture(scope="module")
def arena(
    request: pytest.FixtureRequest, hostile_service: services.Service
) -> Iterator[arenas.Arena]:
    """The selected rows of the module's table are under way."""
    asked = [item for item in request.session.items if item.path == request.path]
    params = [item.callspec.params for item in asked if hasattr(item, "callspec")]
    rows = [values["row"] for values in params if "row" in values]
    one = arenas.Arena(hostile_service, rows)
    yield one
    one.close()


@pytest.fixture(scope="module")
def make_module_service(homes: pathlib.Path) -> Iterator[Callable[..., services.Service]]:
    """make_service for all tests of a module."""
    made: list[services.Service] = []

    def make(**options: object) -> services.Service:
        home = pathlib.Path(tempfile.mkdtemp(dir=homes))
        made.append(services.Service(home, **options))  # type: ignore
        return made[-1]

    yield make
    for one in made:
        one.remove()
