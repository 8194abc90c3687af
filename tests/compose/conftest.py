"""Services as a user starts them, under names, ports and places that disturb no other one."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/e2e"), str(TOP / "tests/worker"), str(TOP / "tests")]

from ports import free_ports  # noqa: E402

LONG_S = 1800
NAME = f"oneshot-test-{os.getpid():x}"
TAG = "tests"


def call(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A command that must succeed."""
    p = subprocess.run(words, **({"cwd": TOP, "text": True, "stdout": subprocess.PIPE,
                                  "stderr": subprocess.STDOUT, "timeout": LONG_S,
                                  "stdin": subprocess.DEVNULL} | options), check=False)
    assert p.returncode == 0, f"{words}: {p.returncode}\n{p.stdout}"
    return p


class Place:
    """Names, ports and directories of one service, as variables of its environment."""

    def __init__(self, home: pathlib.Path, name: str) -> None:
        self.home, self.name = home, name
        self.aiq, self.telemetry, self.native, self.generator, self.executor = free_ports(5)
        self.output = home / "output"
        self.output.mkdir()
        home.chmod(0o755)
        own = ("ONESHOT_", "SANDBOX_", "COMPOSE_", "TELEMETRY_", "AIQ_PORT", "DEBUG", "OUTPUT_",
               "COHERE_", "CO_API_", "GENERAT", "MAX_RETRIES", "PROMPT_GUIDE", "SLACK_",
               "ENABLE_SLACK", "INFLUX", "EXTRA_NETWORKS", "EXECUT", "MAX_", "MCP_", "TOOLS_DIR",
               "DATA_API_URL", "AUTOMATION_API_URL", "DEVICE_API_URL")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(own)} | {
            "OUTPUT_DATA_PATH": str(self.output),
            # Images of the tests' own tag: those in use stay as they are.
            "TAG": TAG,
            "MAKEFLAGS": "",
        }


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    home = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-test-"))
    yield Place(home, NAME)
    shutil.rmtree(home)
    for image in (f"oneshot/python:{TAG}", f"oneshot/python-slim:{TAG}",
                  f"oneshot/orchestrator:{TAG}"):
        subprocess.run(["docker", "rmi", image], capture_output=True, check=False)
