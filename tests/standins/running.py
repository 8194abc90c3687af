"""Stand-ins as processes of a test: started, told what to do, asked what happened, ended."""

from __future__ import annotations

import json
import pathlib
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Self

TESTS = pathlib.Path(__file__).resolve().parents[1]
TOP = TESTS.parent
HEAVY = TOP / "build/venv-standins/bin/python"  # of what has packages to import
STOP_S = 20.0
WAIT_S = 60.0
REPLY_S = 180.0  # which may be the end of a wait


class StandIn:
    """One running stand-in. `url` is where it listens, `control` and `log` speak with it."""

    def __init__(self, name: str, *words: str, python: str = sys.executable,
                 ca_file: pathlib.Path | None = None) -> None:
        self.name = name
        self.ca_file = ca_file
        self.process = subprocess.Popen(
            [python, "-m", f"standins.{name}", *words], cwd=TESTS, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert " listens at " in line, f"{name} did not start: {line!r}"
        self.url = line.split(" listens at ")[1].strip()
        self.port = int(self.url.rsplit(":", 1)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=STOP_S)

    def call(self, path: str, body: Any = None) -> bytes:
        """GET, or POST of a JSON body. A refusal is an AssertionError with its text."""
        data = None if body is None else json.dumps(body).encode()
        context = None
        if self.ca_file:
            context = ssl.create_default_context(cafile=str(self.ca_file))
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=REPLY_S, context=context) as reply:
                return reply.read()  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    def get(self, path: str) -> Any:
        return json.loads(self.call(path))

    def control(self, path: str = "", **settings: Any) -> Any:
        return json.loads(self.call(f"/control{path}", settings))

    def reset(self) -> None:
        self.control("/reset")

    def log(self, **query: Any) -> list[dict[str, Any]]:
        """Entries whose fields have these values; see README.md."""
        words = urllib.parse.urlencode(query)
        return self.get(f"/control/log?{words}")["entries"]  # type: ignore[no-any-return]

    def wait(self, count: int = 1, timeout_s: float = WAIT_S, **query: Any) -> list[dict[str, Any]]:
        """The same, once there are `count` of them."""
        found = self.log(count=count, timeout_s=timeout_s, **query)
        assert len(found) >= count, f"{len(found)} of {count} {query} within {timeout_s} s: {found}"
        return found


def make_certificate(directory: pathlib.Path, *names: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate that signs itself, for host names and addresses, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    kinds = [("IP" if name.replace(".", "").isdigit() else "DNS") + f":{name}" for name in names]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={names[0]}", "-keyout", str(key), "-out",
         str(certificate), "-addext", f"subjectAltName={','.join(kinds)}"],
        check=True, capture_output=True)
    return certificate, key


def judged(picture: pathlib.Path, points: pathlib.Path, seed: int, signals: list[str]) -> Any:
    """What standins.judge says."""
    words = [str(HEAVY), "-m", "standins.judge", str(picture), str(points), str(seed), *signals]
    p = subprocess.run(words, cwd=TESTS, text=True, capture_output=True, timeout=300, check=False)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)
