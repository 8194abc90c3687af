"""Fixtures for any conftest.py: a process for the session, and reset for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from standins.running import HEAVY, StandIn


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """NAME_process and NAME_standin, under which they must be known."""

    @pytest.fixture(scope="session")
    def process() -> Iterator[StandIn]:
        with StandIn(name, **options) as one:
            yield one

    @pytest.fixture
    def standin(request: pytest.FixtureRequest) -> StandIn:
        one: StandIn = request.getfixturevalue(f"{name}_process")
        one.reset()
        return one

    return process, standin


cohere_process, cohere_standin = pair("cohere")
slack_process, slack_standin = pair("slack")
influxdb3_process, influxdb3_standin = pair("influxdb3", python=str(HEAVY))
home_process, home_standin = pair("home")
openapi_process, openapi_standin = pair("openapi")
mcp_process, mcp_standin = pair("mcp")
