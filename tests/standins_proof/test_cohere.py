"""The Cohere stand-in against the official client and its models, scenario by scenario."""

from __future__ import annotations

import ast
import json
import threading

import cohere
import httpx
import pydantic
import pytest
from cohere import errors
from cohere.core import http_client
from cohere.core.api_error import ApiError
from cohere.types import NonStreamedChatResponse, StreamedChatResponse
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from standins import cohere as standin
from standins import programs, web

MODEL = "command-a-reasoning-08-2025"
V1_MODEL = "command-a-03-2025"
PLOT = "plot inverter voltage vs current from the last hour"
ONCE = {"max_retries": 0}
WITHIN_S = 60

# What the client raises for each scenario that refuses.
REFUSALS = {
    "too_long": (400, errors.BadRequestError), "unauthorized": (401, errors.UnauthorizedError),
    "payment": (402, ApiError), "forbidden": (403, errors.ForbiddenError),
    "not_found": (404, errors.NotFoundError),
    "unprocessable": (422, errors.UnprocessableEntityError),
    "rate_limited_always": (429, errors.TooManyRequestsError),
    "deny_listed": (498, errors.InvalidTokenError),
    "cancelled": (499, errors.ClientClosedRequestError),
    "error_500_always": (500, errors.InternalServerError),
    "not_implemented": (501, errors.NotImplementedError), "html_502": (502, ApiError),
    "unavailable": (503, errors.ServiceUnavailableError),
    "gateway_timeout": (504, errors.GatewayTimeoutError),
}
# Of those that answer: what the whole text begins with, or None where there is no text.
ANSWERS = {
    "good": "```python\n", "fails_once": "```python\n", "fails_always": "```python\n",
    "same_error": "```python\n", "same_code": "```python\n", "no_fence": "from datetime",
    "two_fences": "Install what it needs:\n\n```sh\n",
    "unclosed_fence": "Here it is.\n```python\n",
    "prose": "I am sorry", "empty": "", "no_content": None, "thinking_only": None,
    "cut_off": "```python\n", "drip": "```python\n# °C · 電圧\n",
    "by_prompt": "```python\n",
    "stream_error": "```python\nprint(",
}
# Those with a test of their own.
OTHERS = {
    "rate_limited", "error_500_twice", "cut_body", "reset", "slow", "malformed", "wrong_shape"}


def strictly(kind, value):
    """Validates, which the client does not do, and finds fields that its models do not have."""
    known = pydantic.TypeAdapter(kind).validate_python(value)

    def look(part):
        if isinstance(part, pydantic.BaseModel):
            assert not part.model_extra, f"{type(part).__name__} has no {part.model_extra}"
            for name in type(part).model_fields:
                look(getattr(part, name))
        for item in part if isinstance(part, list) else []:
            look(item)

    look(known)
    return known


@pytest.fixture
def v2(cohere_standin):
    return cohere.ClientV2(api_key=standin.KEY, base_url=cohere_standin.url)


@pytest.fixture
def v1(cohere_standin):
    return cohere.Client(api_key=standin.KEY, base_url=cohere_standin.url)


@pytest.fixture
def waits(monkeypatch):
    """How long the client would have waited between its tries."""
    asked = []
    monkeypatch.setattr(http_client.time, "sleep", asked.append)
    return asked


def post(cohere_standin, path, body, key=standin.KEY):
    return httpx.post(cohere_standin.url + path, json=body, timeout=WITHIN_S,
                      headers={"Authorization": f"Bearer {key}"})


def turn(text):
    return [{"role": "user", "content": text}]


def ask(v2, scenario, prompt=PLOT, **more):
    return v2.chat(model=standin.PREFIX + scenario, messages=turn(prompt), request_options=ONCE,
                   **more)


def text_of(reply):
    texts = [block.text for block in reply.message.content or [] if block.type == "text"]
    return "".join(texts) if texts else None


def check_text(text, beginning):
    """Where there is nothing to begin with, there is nothing."""
    assert text.startswith(beginning) if beginning else text == beginning


def streamed_text(events):
    texts = [e.delta.message.content.text for e in events if e.type == "content-delta"]
    return "".join(text for text in texts if text)


def test_every_scenario_is_proven():
    assert set(standin.SCENARIOS) == set(REFUSALS) | set(ANSWERS) | OTHERS


# ---- shapes ----


@pytest.mark.parametrize("scenario", ANSWERS)
def test_v2_reply_is_what_the_models_say(cohere_standin, scenario):
    body = {"model": standin.PREFIX + scenario, "messages": turn(PLOT)}
    reply = strictly(V2ChatResponse, post(cohere_standin, "/v2/chat", body).json())
    check_text(text_of(reply), ANSWERS[scenario])
    assert reply.usage.tokens.input_tokens > 0


@pytest.mark.parametrize("scenario", ANSWERS)
def test_v2_stream_is_what_the_models_say(cohere_standin, v2, scenario):
    model = standin.PREFIX + scenario
    body = {"model": model, "messages": turn(PLOT), "stream": True}
    raw = post(cohere_standin, "/v2/chat", body)
    lines = [line[6:] for line in raw.text.split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    events = [strictly(V2ChatStreamResponse, json.loads(line)) for line in lines]
    seen = list(v2.chat_stream(model=model, messages=turn(PLOT)))
    assert [e.type for e in seen[:1] + seen[-1:]] == ["message-start", "message-end"]
    check_text(streamed_text(events), ANSWERS[scenario] or "")
    if scenario != "fails_always" and scenario != "same_error":
        assert streamed_text(seen) == streamed_text(events)
    assert events[-1].delta.usage.tokens.output_tokens > 0


@pytest.mark.parametrize("scenario", ANSWERS)
def test_v1_reply_and_lines_are_what_the_models_say(cohere_standin, scenario):
    body = {"model": standin.PREFIX + scenario, "message": PLOT}
    reply = strictly(NonStreamedChatResponse, post(cohere_standin, "/v1/chat", body).json())
    check_text(reply.text, ANSWERS[scenario] or "")
    raw = post(cohere_standin, "/v1/chat", body | {"stream": True})
    assert raw.headers["content-type"] == "application/stream+json"
    events = [json.loads(line) for line in raw.text.splitlines()]
    for event in events:
        assert event.pop("is_finished") == (event["event_type"] == "stream-end")
    events = [strictly(StreamedChatResponse, event) for event in events]
    assert "".join(e.text for e in events if e.event_type == "text-generation") == (
        events[-1].response.text)


def test_v1_client_reads_both_forms(v1):
    reply = v1.chat(model=V1_MODEL, message=PLOT, preamble="guide", temperature=0.2)
    events = list(v1.chat_stream(model=V1_MODEL, message=PLOT))
    assert reply.text == events[-1].response.text
    assert reply.finish_reason == "COMPLETE"


def test_reasoning_model_thinks_first_unless_told_not_to(v2):
    reply = v2.chat(model=MODEL, messages=turn(PLOT))
    assert [block.type for block in reply.message.content] == ["thinking", "text"]
    reply = v2.chat(model=MODEL, messages=turn(PLOT), thinking={"type": "disabled"})
    assert [block.type for block in reply.message.content] == ["text"]


def test_models_are_listed(v2):
    names = [model.name for model in v2.models.list(endpoint="chat").models]
    assert MODEL in names


def test_thinking_only_ends_by_its_length(v2):
    reply = ask(v2, "thinking_only")
    assert [block.type for block in reply.message.content] == ["thinking"]
    assert reply.finish_reason == "MAX_TOKENS"


def test_stream_error_is_told_in_the_last_event(v2):
    *_, last = v2.chat_stream(model="standin-stream_error", messages=turn(PLOT))
    assert last.delta.finish_reason == "ERROR"
    assert last.delta.error == "the generation was ended by an error"


def test_drip_cuts_through_letters(cohere_standin):
    body = {"model": "standin-drip", "messages": turn(PLOT), "stream": True}
    with httpx.stream("POST", cohere_standin.url + "/v2/chat", json=body,
                      headers={"Authorization": f"Bearer {standin.KEY}"}) as reply:
        pieces = list(reply.iter_raw())
    assert "電圧" in b"".join(pieces).decode()


# ---- refusals ----


@pytest.mark.parametrize("scenario", REFUSALS)
def test_refusal_raises_the_client_s_exception(v2, v1, scenario):
    status, kind = REFUSALS[scenario]
    calls = [
        lambda: ask(v2, scenario),
        lambda: list(v2.chat_stream(model=standin.PREFIX + scenario, messages=turn(PLOT))),
        lambda: v1.chat(model=standin.PREFIX + scenario, message=PLOT, request_options=ONCE),
        lambda: list(v1.chat_stream(model=standin.PREFIX + scenario, message=PLOT)),
    ]
    for call in calls:
        with pytest.raises(ApiError) as caught:
            call()
        assert (type(caught.value), caught.value.status_code) == (kind, status)


WRONG = {
    "no_messages": ({"messages": []}, 400, "messages"),
    "empty_turn": ({"messages": turn(" ")}, 400, "message must not be empty in a turn"),
    "bad_role": ({"messages": [{"role": "bot", "content": "x"}]}, 400, "role"),
    "assistant_last": ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "last message"),
    "hot": ({"temperature": 1.5}, 400, "temperature"),
    "no_tokens": ({"max_tokens": 0}, 400, "max_tokens"),
    "no_model": ({"model": ""}, 400, "model is required"),
    "other_model": ({"model": "gpt"}, 404, "model 'gpt' not found"),
    "thinking_budget_alone": ({"thinking": {"token_budget": 5}}, 400, "thinking.type"),
    "v1_field": ({"preamble": "guide"}, 422, "unknown field: parameter 'preamble'"),
}


@pytest.mark.parametrize("row", WRONG)
def test_wrong_request_is_refused(cohere_standin, row):
    change, status, words = WRONG[row]
    reply = post(cohere_standin, "/v2/chat", {"model": MODEL, "messages": turn("x")} | change)
    assert reply.status_code == status
    assert words in reply.json()["message"]


def test_v1_has_other_fields_and_models(cohere_standin):
    reply = post(cohere_standin, "/v1/chat", {"model": V1_MODEL, "messages": turn("x")})
    assert (reply.status_code, reply.json()["message"][:13]) == (422, "unknown field")
    assert post(cohere_standin, "/v1/chat", {"model": MODEL, "message": "x"}).status_code == 400


def test_keys_are_looked_at(cohere_standin):
    body = {"model": MODEL, "messages": turn("x")}
    assert post(cohere_standin, "/v2/chat", body, "other").json()["message"] == "invalid api token"
    reply = httpx.post(cohere_standin.url + "/v2/chat", json=body)
    assert (reply.status_code, reply.json()["message"]) == (401, "no api key supplied")


def test_key_may_name_the_scenario(cohere_standin):
    client = cohere.ClientV2(api_key="standin-payment", base_url=cohere_standin.url)
    with pytest.raises(ApiError, match="status_code: 402"):
        client.chat(model=MODEL, messages=turn("x"))


# ---- several tries ----


def test_rate_limit_passes_after_two_waits(v2, waits):
    reply = v2.chat(model="standin-rate_limited", messages=turn(PLOT))
    assert text_of(reply).startswith("```python")
    assert waits == [1.0, 1.0]  # what Retry-After says


def test_retry_after_is_settable(cohere_standin, v2, waits):
    cohere_standin.control(scenario="rate_limited", retry_after="7")
    v2.chat(model=MODEL, messages=turn(PLOT))
    assert waits == [7.0, 7.0]


def test_server_error_passes_after_two(cohere_standin, v2, waits):
    assert text_of(v2.chat(model="standin-error_500_twice", messages=turn(PLOT)))
    assert len(waits) == 2
    assert [e["status"] for e in cohere_standin.log(kind="end")] == [500, 500, 200]


def test_connection_that_closes_at_once_is_an_error(v2):
    with pytest.raises(httpx.TransportError):
        ask(v2, "reset")


def test_cut_body_is_an_error(cohere_standin, v2):
    with pytest.raises(httpx.RemoteProtocolError):
        ask(v2, "cut_body")
    with pytest.raises(httpx.RemoteProtocolError):
        list(v2.chat_stream(model="standin-cut_body", messages=turn(PLOT)))
    assert [e["outcome"] for e in cohere_standin.wait(2, kind="end")] == ["cut", "cut"]


def test_malformed_reply_is_not_json(cohere_standin, v2):
    with pytest.raises(ApiError) as caught:
        ask(v2, "malformed")
    assert caught.value.status_code == 200
    reply = post(cohere_standin, "/v2/chat", {"model": "standin-malformed", "messages": turn("x")})
    with pytest.raises(ValueError):
        reply.json()


def test_wrong_shape_is_seen_by_the_models_alone(cohere_standin):
    body = {"model": "standin-wrong_shape", "messages": turn("x")}
    with pytest.raises(pydantic.ValidationError):
        strictly(V2ChatResponse, post(cohere_standin, "/v2/chat", body).json())


def test_slow_stream_gives_a_token_for_each_permit(cohere_standin, v2):
    events = v2.chat_stream(model="standin-slow", messages=turn("hello"))
    heads = [next(events).type, next(events).type]
    assert heads == ["message-start", "content-start"]
    cohere_standin.wait(kind="waiting", tokens=0)
    cohere_standin.control(release=1)
    assert next(events).delta.message.content.text == "```python"
    cohere_standin.wait(kind="waiting", tokens=1)
    cohere_standin.control(release=100)
    assert list(events)[-1].type == "message-end"
    assert cohere_standin.wait(kind="end")[0]["outcome"] == "sent"


def test_slow_stream_notices_that_the_client_left(cohere_standin):
    body = {"model": "standin-slow", "messages": turn("hello"), "stream": True}
    with httpx.stream("POST", cohere_standin.url + "/v2/chat", json=body,
                      headers={"Authorization": f"Bearer {standin.KEY}"}):
        cohere_standin.wait(kind="waiting")
    ended = cohere_standin.wait(kind="end")[0]
    assert (ended["outcome"], ended["tokens"]) == ("left", 0)


def test_slow_reply_is_held_as_a_whole(cohere_standin, v2):
    replies = []
    asking = threading.Thread(target=lambda: replies.append(ask(v2, "slow", "hello")))
    asking.start()
    cohere_standin.wait(kind="waiting", tokens=0)
    cohere_standin.control(release=100)
    asking.join(WITHIN_S)
    assert text_of(replies[0]).startswith("```python")


# ---- what it says ----


def again(prompt, error="E"):
    return f"{prompt}{programs.AGAIN}\n\n{error}\n\nPlease fix the code to address this error."


def code_of(reply):
    text = text_of(reply)
    assert text.startswith("```python\n") and text.endswith("```")
    return text[len("```python\n"):-len("```")]


def fails_with(code):
    with pytest.raises(Exception) as caught:
        exec(compile(code, "program", "exec"), {})
    return f"{caught.type.__name__}: {caught.value}"


def test_program_that_fails_once_works_the_second_time(v2):
    first, second = (code_of(ask(v2, "fails_once", p)) for p in ("count", again("count")))
    assert fails_with(first) == "KeyError: 'time'"
    exec(compile(second, "program", "exec"), {})


def test_failures_differ_in_kind(v2):
    said = [code_of(ask(v2, "fails_always", p)) for p in ("x", again("x", "1"), again("x", "2"))]
    assert len({fails_with(code).split(":")[0] for code in said}) == 3


def test_same_error_comes_from_other_code(v2):
    said = [code_of(ask(v2, "same_error", p)) for p in ("x", again("x"))]
    assert said[0] != said[1]
    assert fails_with(said[0]) == fails_with(said[1])


def test_same_code_is_said_again(v2):
    said = [code_of(ask(v2, "same_code", p)) for p in ("x", again("x"))]
    assert said[0] == said[1]
    assert fails_with(said[0])


@pytest.mark.parametrize("prompt, names", {
    PLOT: ["INV_DC_Bus_Voltage", "INV_DC_Bus_Current", "minutes=60", "savefig"],
    "show me battery temperature trends over the last 2 hours": ["M1_Thermistor1", "minutes=120"],
    "analyze motor RPM and torque correlation": ["INV_Motor_Speed", "INV_Torque_Feedback", "corr("],
    "create a random scatter plot": ["output.png"],
    "print the numbers": ["Done: print the numbers"],
}.items())
def test_program_is_about_the_prompt(v2, prompt, names):
    code = code_of(v2.chat(model=V1_MODEL, messages=turn(prompt)))
    ast.parse(code)
    assert [name for name in names if name not in code] == []


def test_example_interactions_need_no_scenario(v2):
    def said(prompt):
        return code_of(v2.chat(model=V1_MODEL, messages=turn(prompt)))

    asked = "plot df['time'] data"
    assert "KeyError" in fails_with(said(asked))
    assert "Data plotted successfully" in said(again(asked))
    assert fails_with(said("impossible task")) != fails_with(said(again("impossible task")))


def test_scripted_replies_come_first_and_in_order(cohere_standin, v2):
    cohere_standin.control(replies=["one", {"text": "two", "thinking": "hm"}, {"status": 401}])
    assert text_of(v2.chat(model=V1_MODEL, messages=turn("x"))) == "one"
    assert text_of(v2.chat(model=V1_MODEL, messages=turn("x"))) == "two"
    with pytest.raises(errors.UnauthorizedError):
        v2.chat(model=V1_MODEL, messages=turn("x"))
    assert text_of(v2.chat(model=V1_MODEL, messages=turn("x"))).startswith("```python")


# ---- the log ----


def test_log_has_the_request_and_not_the_key(cohere_standin, v2):
    v2.chat(model=MODEL, messages=turn(PLOT), temperature=0.2)
    sent, ended = cohere_standin.log()
    assert sent["path"] == "/v2/chat"
    assert sent["body"]["messages"] == turn(PLOT)
    assert sent["headers"]["content-type"] == "application/json"
    assert sent["headers"]["authorization"] == f"Bearer {web.mask(standin.KEY)}"
    assert standin.KEY not in json.dumps(sent)
    assert (ended["id"], ended["outcome"], ended["scenario"]) == (sent["id"], "sent", "by_prompt")


def test_control_refuses_what_it_does_not_know(cohere_standin):
    for settings in ({"scenario": "x"}, {"speed": 1}, {"replies": [{"txt": "x"}]}):
        with pytest.raises(AssertionError):
            cohere_standin.control(**settings)
