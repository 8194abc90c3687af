"""`oneshot bench`, which `make bench` is made of: what it counts and that it sees what is wrong."""

from __future__ import annotations

import json

import pytest

KEYS = {"p50_ms", "p95_ms", "p99_ms", "rate", "runs", "errors", "mixed", "refill_ms"}


def bench(service, mode, *words, status=0):
    p = service.run("bench", *map(str, words), mode)
    assert p.returncode == status, p.stderr
    return json.loads(p.stdout)


def url(service, dialect):
    path = {"native": "/v1/runs", "aiq": "/execute", "telemetry": "/"}[dialect]
    return f"http://127.0.0.1:{service.ports[dialect]}{path}"


@pytest.mark.parametrize("dialect", ["native", "aiq", "telemetry"])
def test_runs_over_http_are_counted_and_each_reply_is_its_own(service, dialect):
    got = bench(service, "http", "--url", url(service, dialect), "--policy", "default",
                "--code", "print(1)", "--parallel", 2, "--count", 3)
    assert KEYS <= got.keys()
    assert (got["runs"], got["errors"], got["mixed"]) == (3, 0, 0)
    assert 0 < got["p50_ms"] <= got["p95_ms"] <= got["p99_ms"]
    assert got["rate"] > 0


def test_a_program_that_fails_is_an_error(service):
    got = bench(service, "http", "--url", url(service, "native"), "--policy", "default",
                "--code", "1 / 0", "--count", 2, status=1)
    assert (got["runs"], got["errors"] + got["mixed"]) == (0, 2)


def test_the_bare_loop_runs_the_same_body(service):
    got = bench(service, "bare", "--config", service.config, "--policy", "executor",
                "--code", "print(1)", "--count", 2)
    assert (got["runs"], got["errors"], got["mixed"]) == (2, 0, 0)
    assert got["p50_ms"] > 0
