"""The bot's cases of the original (tests/cases/seed0.jsonl), with what our contract says of each.

The contract's texts have no pictures in front, begin with the user's name, tell retries in words
and call a trace ERROR_TRACE; files of a failed run are not uploaded by either.
"""

from __future__ import annotations

import json

import pytest
from conftest import TOP

CASES = {case["name"]: case["request"] for case in map(
    json.loads, (TOP / "tests/cases/seed0.jsonl").read_text().splitlines())
    if case["name"].startswith("slack_")}

WORKING = "<@U1> Processing your request..."
DONE = "<@U1> Code executed successfully!"
OUTPUT = "<@U1> Output: ```\nhello\n```"
UPLOADED = ["output.png", "d.csv"]

# Its messages, and the files that it uploads.
WANTED = {
    "slack_agent_debug": ([WORKING, DONE, OUTPUT], UPLOADED),
    "slack_retry": ([
        WORKING, "<@U1> Initial code had errors. Retried 1 time(s) with error feedback.",
        f"{DONE} (after 1 retry)", OUTPUT], UPLOADED),
    "slack_failure": ([
        WORKING, "<@U1> Initial code had errors. Retried 2 time(s) with error feedback.",
        "<@U1> Code execution failed after 2 retries:\nERROR_TRACE: ```\nE\n```"], []),
    "slack_http_error": ([
        WORKING, "<@U1> Failed to connect to code generation service: status 500"], []),
    "slack_unknown_command": (["<@U1> There is no command !foo. `!help` lists what there is."], []),
}


def test_every_case_has_its_row():
    assert CASES.keys() == WANTED.keys()


@pytest.mark.parametrize("name", WANTED)
def test_a_case_is_answered_as_the_contract_says(bot, generator, slack, name):
    request = CASES[name]
    reply = request["generator_reply"] or {}
    messages, files = WANTED[name]
    generator.status = reply.get("http", 200)
    generator.reply = reply
    told = bot.ask(request["slack_text"], len(messages))
    if name == "slack_http_error":
        assert told[1].startswith(messages[1])
        told[1] = messages[1]
    assert told == messages
    assert [f["name"] for f in slack.wait(len(files), kind="file")] == files
    if reply:
        assert generator.prompts.get_nowait() == "draw a plot"
