"""Fixtures for any conftest.py: a process for the session, and reset for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from standins.running import HEAVY, StandIn

# Slack waits 3 s for an acknowledgement. Whoever is late on a busy machine shall be late here, not
# asked again; tests of that limit set their own.
ACK_WITHIN_S = 30.0


def pair(name: str, settings: dict[str, Any] | None = None, **options: Any) -> tuple[Any, Any]:
    """NAME_process and NAME_standin, under which they must be known. Resets restore `settings`."""

    @pytest.fixture(scope="session")
    def process() -> Iterator[StandIn]:
        with StandIn(name, **options) as one:
            yield one

    @pytest.fixture
    def standin(request: pytest.FixtureRequest) -> StandIn:
        one: StandIn = request.getfixturevalue(f"{name}_process")
        one.reset()
        if settings:
            one.control(**settings)
        return one

    return process, standin


cohere_process, cohere_standin = pair("cohere")
slack_process, slack_standin = pair("slack", {"ack_within_s": ACK_WITHIN_S})
influxdb3_process, influxdb3_standin = pair("influxdb3", python=str(HEAVY))
home_process, home_standin = pair("home")
openapi_process, openapi_standin = pair("openapi")
mcp_process, mcp_standin = pair("mcp")
