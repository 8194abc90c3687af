"""Fixtures: containers of the two images, made for one test each and removed by id."""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import shutil
import sys
import threading
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


class Stock:
    """Plain containers, made before a test asks and removed behind its back: most of its time."""

    AHEAD = 3

    def __init__(self) -> None:
        self.made: queue.Queue[boxes.Box | Exception] = queue.Queue()
        self.used: queue.SimpleQueue[boxes.Box | None] = queue.SimpleQueue()
        self.due = threading.Semaphore(self.AHEAD)
        self.is_over = False
        self.threads = [threading.Thread(target=work) for work in (self.fill, self.clear)]
        for thread in self.threads:
            thread.start()

    def fill(self) -> None:
        while self.due.acquire() and not self.is_over:
            try:
                self.made.put(boxes.Box())
            except Exception as error:
                self.made.put(error)

    def clear(self) -> None:
        while one := self.used.get():
            with contextlib.suppress(RuntimeError):
                one.remove()

    def take(self) -> boxes.Box:
        one = self.made.get()
        self.due.release()
        if isinstance(one, Exception):
            raise one
        return one

    def close(self) -> None:
        self.is_over = True
        self.due.release()
        self.threads[0].join()
        while not self.made.empty():
            one = self.made.get()
            if isinstance(one, boxes.Box):
                self.used.put(one)
        self.used.put(None)
        self.threads[1].join()


@pytest.fixture(scope="session")
def stock() -> Iterator[Stock]:
    need(boxes.SLIM_IMAGE)
    one = Stock()
    yield one
    one.close()


@pytest.fixture
def make(stock: Stock) -> Iterator[MakeBox]:
    """Gives containers of the slim image, or of image=…"""
    made: list[boxes.Box] = []

    def build(**options: object) -> boxes.Box:
        if options:
            options["image"] = need(str(options.get("image", boxes.SLIM_IMAGE)))
        made.append(boxes.Box(**options) if options else stock.take())  # type: ignore[arg-type]
        return made[-1]

    yield build
    for one in made:
        stock.used.put(one)


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
