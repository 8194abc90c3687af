"""The stand-ins as the tests start them: one process each, reset before every test."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]

from standins import fixtures, running  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:The `__fields__` attribute")


cohere_process = fixtures.cohere_process
cohere_standin = fixtures.cohere_standin
slack_process = fixtures.slack_process
slack_standin = fixtures.slack_standin
home_process = fixtures.home_process
home_standin = fixtures.home_standin
openapi_process = fixtures.openapi_process
openapi_standin = fixtures.openapi_standin
mcp_process = fixtures.mcp_process
mcp_standin = fixtures.mcp_standin
influxdb3_process = fixtures.influxdb3_process
influxdb3_standin = fixtures.influxdb3_standin


@pytest.fixture(scope="session")
def secure_influxdb3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.StandIn]:
    """Its certificate is for localhost, and for no address."""
    certificate, key = running.make_certificate(tmp_path_factory.mktemp("tls"), "localhost")
    with running.StandIn("influxdb3", "--tls-cert", str(certificate), "--tls-key", str(key),
                         python=sys.executable, ca_file=certificate) as one:
        one.url = f"https://localhost:{one.port}"
        yield one
