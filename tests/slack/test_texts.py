"""Every text of the contract, each in its thread, each to the user who asked."""

from __future__ import annotations

import hashlib

import pytest
from conftest import result

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4096  # a megabyte that is no text


def test_a_success(bot, generator, slack):
    assert bot.ask("!agent create a random scatter plot", 2) == [
        "<@U1> Processing your request...", "<@U1> Code executed successfully!"]
    assert generator.prompts.get_nowait() == "create a random scatter plot"
    assert all(c["arguments"]["channel"] == "C1" for c in slack.log(method="chat.postMessage"))


@pytest.mark.parametrize(("retries", "after"), [(1, "(after 1 retry)"), (2, "(after 2 retries)")])
def test_a_success_after_retries(bot, generator, retries, after):
    generator.reply = result(output="Data plotted successfully", retries=retries)
    assert bot.ask("!agent plot df['time'] data", 4) == [
        "<@U1> Processing your request...",
        f"<@U1> Initial code had errors. Retried {retries} time(s) with error feedback.",
        f"<@U1> Code executed successfully! {after}",
        "<@U1> Output: ```\nData plotted successfully\n```"]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_failure(bot, generator, retries):
    generator.reply = result("error", error="Traceback\nNameError: name 'x' is not defined",
                             retries=retries, max_retries_reached=True)
    told = bot.ask("!agent impossible task", 3 if retries else 2)
    assert told[-1] == (
        f"<@U1> Code execution failed after {retries} retries:\n"
        "ERROR_TRACE: ```\nTraceback\nNameError: name 'x' is not defined\n```")
    assert len(told) == (3 if retries else 2)


def test_output_and_errors_are_cut(bot, generator):
    generator.reply = result(output="ä" * 2001)
    assert bot.ask("!agent x", 3)[2] == f"<@U1> Output: ```\n{'ä' * 2000}…\n```"
    generator.reply = result(output="b" * 2000)
    assert bot.ask("!agent x", 3)[2] == f"<@U1> Output: ```\n{'b' * 2000}\n```"
    generator.reply = result("error", error="e" * 1501)
    assert bot.ask("!agent x", 2)[1].endswith(f"ERROR_TRACE: ```\n{'e' * 1500}…\n```")


def test_output_mentions_nobody_and_ends_no_block(bot, generator):
    generator.reply = result(output="<!channel> & ```<@U2>")
    assert bot.ask("!agent x", 3)[2] == (
        "<@U1> Output: ```\n&lt;!channel&gt; &amp; `\u200b`\u200b`&lt;@U2&gt;\n```")


def test_an_image_and_another_file_are_uploaded_whole_and_in_the_thread(bot, generator, slack):
    generator.reply = result(files={"output.png": PNG, "a b&c.csv": b"x,y\n1,2\n"})
    sent = bot.send("!agent plot")
    files = slack.wait(2, kind="file")
    assert [(f["name"], f["title"], f["comment"]) for f in files] == [
        ("output.png", "output.png", "<@U1> Here's your visualization: output.png"),
        ("a b&c.csv", "a b&c.csv", "<@U1> Here's your file: a b&amp;c.csv")]
    assert [f["sha256"] for f in files] == [
        hashlib.sha256(data).hexdigest() for data in (PNG, b"x,y\n1,2\n")]
    assert all(f["thread_ts"] == sent["ts"] and f["channels"] == ["C1"] for f in files)
    assert slack.call(f"/control/files/{files[0]['id']}") == PNG


def test_an_empty_file_is_told(bot, generator):
    generator.reply = result(files={"empty.csv": b""})
    assert bot.ask("!agent x", 3)[2] == "<@U1> empty.csv is empty and was not uploaded."


def test_a_missing_instruction(bot, generator):
    assert bot.ask("!agent", 1) == ["<@U1> Please provide instructions after !agent."]
    assert bot.ask("!agent-debug   ", 1) == [
        "<@U1> Please provide instructions after !agent-debug."]
    assert generator.prompts.empty()


def test_help_and_unknown_commands(bot):
    told = bot.ask("!help", 1)[0]
    assert told.startswith("<@U1> ")
    for word in ("!agent", "!agent-debug", "!help", "120 seconds", "1200 seconds"):
        assert word in told
    assert bot.ask("!x&lt;y now", 1) == [
        "<@U1> There is no command !x&lt;y. `!help` lists what there is."]


def test_time_is_up(make_bot, generator):
    bot = make_bot(settings={"timeout": "1s", "debug_timeout": "30s"}).start()
    generator.gate.clear()
    assert bot.ask("!agent x", 2)[1] == (
        "<@U1> Request timed out. The task might be too complex or the service is busy.")
    sent = bot.send("!agent-debug y")
    assert bot.texts(sent, 1) == ["<@U1> Processing your request..."]
    generator.gate.set()
    assert bot.texts(sent, 2)[1] == "<@U1> Code executed successfully!"


def test_no_generator(make_bot, slack):
    bot = make_bot(generator="http://127.0.0.1:9").start()
    told = slack.wait(2, kind="message", thread_ts=bot.send("!agent x")["ts"])[1]["text"]
    assert told.startswith("<@U1> Failed to connect to code generation service: ")
    assert "127.0.0.1" in told


@pytest.mark.parametrize(("status", "text"), [
    (502, "the model's key was refused"), (503, "COHERE_API_KEY is not set"),
    (429, "the model is asked too often")])
def test_a_generator_that_refuses(bot, generator, status, text):
    generator.status = status
    generator.reply = {"error": text, "code": None, "result": {
        "status": "error", "error": text, "output": "", "files": []}}
    assert bot.ask("!agent x", 2)[1] == (
        f"<@U1> Failed to connect to code generation service: status {status}: {text}")


@pytest.mark.parametrize("reply", [{}, [], {"result": {"status": "maybe"}}, {"result": {
    "status": "success", "output": "", "files": [{"name": "a", "data": "!!!"}]}}])
def test_a_generator_that_talks_nonsense(bot, generator, reply):
    generator.reply = reply
    assert bot.ask("!agent x", 2)[1].startswith(
        "<@U1> Failed to connect to code generation service: ")


def test_what_slack_made_of_the_text_is_undone(bot, generator):
    bot.ask("!agent plot a &lt; b &amp;&amp; c from <http://example.org|example.org> for <@U2> "
            "in <#C1|telemetry> with “quotes”", 2)
    assert generator.prompts.get_nowait() == (
        'plot a < b && c from example.org for @U2 in #telemetry with "quotes"')


def test_a_message_in_a_thread_is_answered_there(bot, slack):
    root = bot.send("no command")
    sent = bot.send("!help", thread_ts=root["ts"])
    assert sent["ts"] != root["ts"]
    slack.wait(1, kind="message", thread_ts=root["ts"])


def test_a_direct_message_is_answered(bot):
    assert bot.ask("!agent x", 2, channel="D1")[1] == "<@U1> Code executed successfully!"
