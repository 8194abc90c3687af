"""Fixtures: containers of the two images, made for one test each and removed by id."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(TOP / "images")]

import box as boxes  # noqa: E402
import engine  # noqa: E402
import frames  # noqa: E402

MakeBox = Callable[..., boxes.Box]


def pytest_configure() -> None:
    """With ONESHOT_TEST_SOURCES the working tree's worker is mounted over the image's."""
    if not boxes.SOURCES or "ONESHOT_TEST_WORKER" in os.environ:
        return
    target = TOP / "build" / "test-worker"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(TOP / "images" / "worker", target, ignore=shutil.ignore_patterns("__pycache__"))
    os.environ["ONESHOT_TEST_WORKER"] = str(target)


def need(image: str) -> str:
    if not engine.has_image(image):
        pytest.skip(f"image {image} is not there (images/build.sh makes it)")
    return image


@pytest.fixture
def make() -> Iterator[MakeBox]:
    """Makes containers of the slim image, or of image=…"""
    made: list[boxes.Box] = []

    def build(**options: object) -> boxes.Box:
        options["image"] = need(str(options.get("image", boxes.SLIM_IMAGE)))
        made.append(boxes.Box(**options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for one in made:
        one.remove()


@pytest.fixture
def box(make: MakeBox) -> boxes.Box:
    return make()


@pytest.fixture
def run(make: MakeBox) -> Callable[..., frames.Result]:
    """Runs one program in a fresh container of the slim image."""

    def once(code: str | bytes, **options: object) -> frames.Result:
        return make().run(code, **options)

    return once


@pytest.fixture
def science(make: MakeBox) -> MakeBox:
    """Makes containers of the image with the scientific libraries."""

    def build(**options: object) -> boxes.Box:
        return make(image=boxes.IMAGE, memory=512 << 20, **options)

    return build
