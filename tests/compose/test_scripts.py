"""What the scripts make of their arguments, their variables and the tools that are there: `make`,
`docker` and `docker-compose` are stand-ins here that only tell how they were called."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import TOP

SAID = r"""#!/bin/sh
echo "$(basename "$0") $*" >>"$SAID"
[ "$1 $2" != "compose version" ] || exit "${COMPOSE_PLUGIN:-0}"
echo "$SANDBOX_CONTAINER|$OUTPUT_DATA_PATH|$DEBUG" >>"$SAID"
"""
START = str(TOP / "compose/start_local_sandbox.sh")


class Desk:
    """A directory to start from, and an environment of stand-ins."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home, self.said, self.bin = home, home / "said", home / "bin"
        self.bin.mkdir()
        self.provide("make", "docker")
        self.env = {"PATH": f"{self.bin}:{os.environ['PATH']}", "SAID": str(self.said)}

    def provide(self, *names: str) -> None:
        for name in names:
            (self.bin / name).write_text(SAID)
            (self.bin / name).chmod(0o755)

    def call(self, *words: str, **env: str) -> list[str]:
        p = subprocess.run(words, cwd=self.home, env=self.env | env, text=True, timeout=60,
                           capture_output=True, check=False)
        assert p.returncode == 0, p.stderr
        return self.said.read_text().splitlines()


@pytest.fixture
def desk(tmp_path: pathlib.Path) -> Desk:
    return Desk(tmp_path)


def test_without_arguments_the_sandbox_works_in_the_current_directory(desk: Desk) -> None:
    told = desk.call(START)
    assert told == [f"make -C {TOP} --no-print-directory up", f"local-sandbox|{desk.home}|"]


def test_a_variable_names_the_directory_and_an_argument_goes_before_it(desk: Desk) -> None:
    told = desk.call(START, OUTPUT_DATA_PATH="from/variable")
    assert told[1] == f"local-sandbox|{desk.home}/from/variable|"
    told = desk.call(START, "mine", "from/argument", OUTPUT_DATA_PATH="from/variable")
    assert told[-1] == f"mine|{desk.home}/from/argument|"
    assert (desk.home / "from/argument").is_dir()


def test_debug_is_passed_on_and_the_log_stays_on_the_terminal(desk: Desk) -> None:
    told = desk.call(START, "mine", DEBUG="1")
    assert told[1] == f"mine|{desk.home}|1"
    assert told[2] == "docker logs -f mine"


@pytest.mark.parametrize("plugin, want", [("0", "docker compose"), ("1", "docker-compose")])
def test_the_compose_that_is_there_is_used(desk: Desk, plugin: str, want: str) -> None:
    """`docker compose` where the plugin is installed, else docker-compose 1.29."""
    desk.provide("docker-compose")
    told = desk.call(str(TOP / "compose/up.sh"), "down", COMPOSE_PLUGIN=plugin)
    compose = TOP / "compose"
    options = f"--project-directory {compose} --file {compose}/docker-compose.yml"
    assert f"{want} {options} down --timeout 40" in told


def test_without_any_compose_that_is_said(desk: Desk) -> None:
    for tool in ("bash", "dirname", "sed", "tail", "env", "basename"):
        (desk.bin / tool).symlink_to(f"/usr/bin/{tool}")
    p = subprocess.run(["/bin/bash", str(TOP / "compose/up.sh"), "down"], text=True, check=False,
                       env=desk.env | {"PATH": str(desk.bin), "COMPOSE_PLUGIN": "1"},
                       capture_output=True, timeout=60)
    assert p.returncode != 0
    assert "neither docker-compose nor the compose plugin of docker is installed" in p.stderr


def test_the_suite_of_the_sandbox_tells_its_options(desk: Desk) -> None:
    suite = str(TOP / "tests/test_code_execution_sandbox.sh")
    p = subprocess.run([suite, "-h"], capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 0
    for option in ("-u URL", "-t SECONDS", "-m", "-h"):
        assert f"\n  {option} " in p.stdout
    p = subprocess.run([suite, "-x"], capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 2 and "usage:" in p.stderr


# ---- images/build.sh ----

OFFICIAL, MADE = "python:3.11-slim-bookworm", "python-base:bookworm"
ENGINE = r"""#!/bin/sh
echo "docker $*" >>"$SAID"
case "$1 $2" in
"image inspect") case " $HAVE " in *" $3 "*) ;; *) exit 1 ;; esac ;;
"pull "*) [ "$REGISTRY" = yes ] ;;
esac
"""


@pytest.mark.parametrize("have, registry, want", [
    (OFFICIAL, "no", OFFICIAL), (MADE, "yes", MADE), ("", "yes", OFFICIAL), ("", "no", MADE)],
    ids=["it is here", "one was made here", "it can be pulled", "it cannot be had"])
def test_the_official_image_is_the_base_where_it_can_be_had(
        desk: Desk, have: str, registry: str, want: str) -> None:
    (desk.bin / "docker").write_text(ENGINE)
    images = desk.home / "images"
    for name in ("base", "python", "worker"):
        (images / name).mkdir(parents=True)
    shutil.copy(TOP / "images/build.sh", images)
    make_base = images / "base/make-base.sh"
    make_base.write_text('#!/bin/sh\necho made >>"$SAID"\n')
    make_base.chmod(0o755)
    (desk.home / "warden").touch()
    told = desk.call(str(images / "build.sh"), "--slim-only", HAVE=have, REGISTRY=registry,
                     WARDEN=str(desk.home / "warden"))
    assert f"--build-arg BASE_IMAGE={want} " in told[-1]
    assert ("made" in told) == (want == MADE)  # it looks by itself whether its own is up to date
    # No registry is asked for what is at hand.
    assert (f"docker pull --quiet {OFFICIAL}" in told) == (not have)
