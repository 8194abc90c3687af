"""Cohere: /v2/chat, /v1/chat and /v1/models, with scenarios chosen by model, key or control."""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import functools
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from standins import programs, web

DOCS = "For proper usage, please refer to https://docs.cohere.com/reference/chat"
PREFIX = "standin-"  # a model or key of this name is a scenario
KEY = "standin-key"

# Models that v1 has too are true. What v1 says about the others is not documented.
MODELS = {
    "command-a-plus-05-2026": False, "command-a-reasoning-08-2025": False,
    "command-a-03-2025": True, "command-r7b-12-2024": True, "command-r-08-2024": True,
    "command-r-plus-08-2024": True, "command-r-plus": True, "command-r-plus-04-2024": True,
}
V2_FIELDS = set(
    "model messages stream temperature max_tokens stop_sequences seed p k frequency_penalty "
    "presence_penalty logprobs safety_mode response_format tools strict_tools tool_choice "
    "documents citation_options thinking priority raw_prompting".split())
V1_FIELDS = set(
    "message model preamble chat_history conversation_id temperature max_tokens max_input_tokens "
    "k p seed stop_sequences prompt_truncation connectors documents tools tool_results "
    "response_format safety_mode raw_prompting force_single_step stream frequency_penalty "
    "presence_penalty citation_quality search_queries_only".split())


@dataclasses.dataclass
class Answer:
    """What the model says, or how it fails. Scripted replies have these names as JSON keys."""

    text: str | None = None
    thinking: str | None = None
    finish_reason: str = "COMPLETE"
    error: str = ""  # in the last event of a stream
    status: int = 200
    message: str = ""  # of an error
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    raw: str | None = None  # the whole body, whatever was asked for
    content_type: str = ""
    cut: bool = False  # half of the body, then the connection closes
    reset: bool = False  # the connection closes before anything is said
    slow: bool = False  # every token needs a permit: POST /control {"release": 1}
    drip: int = 0  # pieces of so many bytes, whatever they cut through


Note = functools.partial  # writes the log's entry about the end of a request


@dataclasses.dataclass
class Turn:
    prompt: str
    number: int  # how often this scenario was asked for this prompt
    settings: dict[str, Any]

    @property
    def is_again(self) -> bool:
        return programs.is_again(self.prompt)

    @property
    def good(self) -> str:
        return programs.good(programs.original(self.prompt))


def fenced(code: str, label: str = "python") -> str:
    return f"```{label}\n{code}```"


def good(turn: Turn) -> Answer:
    return Answer(fenced(turn.good))


def saying(write: Callable[[Turn], str], **more: Any) -> Callable[[Turn], Answer]:
    return lambda turn: Answer(write(turn), **more)


def refusing(status: int, message: str) -> Callable[[Turn], Answer]:
    return lambda turn: Answer(status=status, message=message)


def at_first(times: int, refuse: Callable[[Turn], Answer]) -> Callable[[Turn], Answer]:
    """Refuses so many times, then answers, then the same again."""
    return lambda turn: good(turn) if turn.number % (times + 1) == times else refuse(turn)


def rate_limited(turn: Turn) -> Answer:
    return Answer(
        status=429,
        message="You are past the per minute request limit, please wait and try again later.",
        headers={"Retry-After": str(turn.settings.get("retry_after", "1"))})


def by_prompt(turn: Turn) -> Answer:
    """Without a scenario: the three example interactions, and programs that work."""
    asked = programs.original(turn.prompt)
    if "impossible" in asked:
        return SCENARIOS["fails_always"](turn)
    if "df['time']" in asked:
        return SCENARIOS["fails_once"](turn)
    return good(turn)


NO_MODEL = ("model '{}' not found, make sure the correct model ID was used and that you have "
            "access to the model.")
SERVER_ERROR = refusing(500, "internal server error, this has been reported to our developers.")
TWO_FENCES = "Install what it needs:\n\n```sh\npip install slicks\n```\n\nThe program:\n\n"

SCENARIOS: dict[str, Callable[[Turn], Answer]] = {
    "by_prompt": by_prompt,
    "good": good,
    "fails_once": saying(lambda t: fenced(t.good if t.is_again else programs.failing(0))),
    "fails_always": saying(lambda t: fenced(programs.failing(t.number))),
    "same_error": saying(lambda t: fenced(programs.same_error(t.number))),
    "same_code": saying(lambda t: fenced(programs.failing(2))),
    "no_fence": saying(lambda t: t.good),
    "two_fences": saying(lambda t: TWO_FENCES + fenced(t.good)),
    "unclosed_fence": saying(lambda t: f"Here it is.\n```python\n{t.good}"),
    "prose": saying(lambda t: "I am sorry, but I cannot do that with the data there is."),
    "empty": saying(lambda t: ""),
    "no_content": lambda t: Answer(),
    "thinking_only": lambda t: Answer(
        thinking="First the signals, then the time,", finish_reason="MAX_TOKENS"),
    "cut_off": saying(lambda t: f"```python\n{t.good[:40]}", finish_reason="MAX_TOKENS"),
    "too_long": refusing(400, "too many tokens: size limit exceeded by 1024 tokens. Try using "
                              "shorter or fewer inputs."),
    "unauthorized": refusing(401, "invalid api token"),
    "payment": refusing(402, "Please add or update your payment method to continue."),
    "forbidden": refusing(403, "this key may not use the model"),
    "not_found": refusing(404, NO_MODEL.format("standin-not_found")),
    "unprocessable": refusing(422, f"unknown field: parameter 'x' is not a valid field. {DOCS}"),
    "rate_limited": at_first(2, rate_limited),
    "rate_limited_always": rate_limited,
    "deny_listed": refusing(498, "invalid token"),
    "cancelled": refusing(499, "request cancelled"),
    "error_500_twice": at_first(2, SERVER_ERROR),
    "error_500_always": SERVER_ERROR,
    "not_implemented": refusing(501, "not implemented"),
    "unavailable": refusing(503, "service unavailable"),
    "gateway_timeout": refusing(504, "upstream timed out"),
    "html_502": lambda t: Answer(status=502, raw="<html><h1>502 Bad Gateway</h1></html>",
                                 content_type="text/html"),
    "cut_body": saying(lambda t: fenced(t.good), cut=True),
    "reset": lambda t: Answer(reset=True),
    "slow": saying(lambda t: fenced(t.good), slow=True),
    "drip": saying(lambda t: fenced(f"# °C · 電圧\n{t.good}"), drip=7),
    "malformed": lambda t: Answer(raw='{"id":"x","message":{"role":"assistant","content":[{"ty'),
    "wrong_shape": lambda t: Answer(
        raw='{"id":"x","finish_reason":"COMPLETE","message":"print(1)"}'),
    "stream_error": saying(lambda t: "```python\nprint(", finish_reason="ERROR",
                           error="the generation was ended by an error"),
}


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def need(fact: Any, status: int, message: str) -> None:
    if not fact:
        raise Refusal(status, message)


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    need(isinstance(content, list), 400, "invalid request: content must be a text or a list.")
    return "".join(block.get("text", "") for block in content if block.get("type") == "text")


def check_numbers(body: dict[str, Any]) -> None:
    for name, low, high in (("temperature", 0, 1), ("p", 0.01, 0.99), ("k", 0, 500)):
        value = body.get(name, low)
        need(type(value) in (int, float) and low <= value <= high, 400,
             f"invalid request: {name} must be between {low} and {high} inclusive.")
    tokens = body.get("max_tokens", 1)
    need(type(tokens) is int and tokens > 0, 400, "invalid request: max_tokens must be positive.")


def check_model(body: dict[str, Any], is_v1: bool) -> None:
    model = body.get("model", "command-r-plus-08-2024" if is_v1 else "")
    need(model, 400, "invalid request: model is required.")
    need(model in MODELS or model.startswith(PREFIX), 404, NO_MODEL.format(model))
    need(not is_v1 or MODELS.get(model, True), 400,
         f"invalid request: model '{model}' is not supported by this endpoint.")


def check_fields(body: Any, known: set[str]) -> None:
    need(isinstance(body, dict), 400, "invalid request: the body must be a JSON object.")
    for name in body:
        need(name in known, 422, f"unknown field: parameter '{name}' is not a valid field. {DOCS}")


def v2_prompt(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    need(isinstance(messages, list) and messages, 400, "invalid request: messages is required.")
    for message in messages:
        need(message.get("role") in ("system", "user", "assistant", "tool"), 400,
             "invalid request: invalid role provided.")
        need(text_of(message.get("content")).strip(), 400,
             "invalid request: message must not be empty in a turn")
    need(messages[-1]["role"] in ("user", "tool"), 400,
         "invalid request: the last message must be of the user or a tool.")
    thinking = body.get("thinking", {"type": "enabled"})
    need(thinking.get("type") in ("enabled", "disabled"), 400,
         "invalid request: thinking.type must be enabled or disabled.")
    return text_of(messages[-1]["content"])


def v1_prompt(body: dict[str, Any]) -> str:
    prompt = body.get("message")
    need(isinstance(prompt, str) and prompt.strip(), 400,
         "invalid request: message must be at least 1 token long or tool results must be "
         "specified.")
    return prompt  # type: ignore[return-value]


def count(text: str) -> float:
    """Tokens. The service sends them as numbers that may have a fraction."""
    return float(max(1, len(text) // 4)) if text else 0.0


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def usage(prompt: str, said: str) -> dict[str, Any]:
    billed = {"input_tokens": count(prompt), "output_tokens": count(said)}
    return {"billed_units": billed, "cached_tokens": 0.0,
            "tokens": {"input_tokens": count(prompt) + 66, "output_tokens": count(said) + 2}}


def v2_whole(answer: Answer, prompt: str) -> dict[str, Any]:
    blocks = [{"type": kind, kind: text} for kind, text in blocks_of(answer)]
    return {"id": str(uuid.uuid4()), "finish_reason": answer.finish_reason,
            "message": {"role": "assistant"} | ({"content": blocks} if blocks else {}),
            "usage": usage(prompt, "".join(text for _, text in blocks_of(answer)))}


def blocks_of(answer: Answer) -> list[tuple[str, str]]:
    blocks = [("thinking", answer.thinking), ("text", answer.text)]
    return [(kind, text) for kind, text in blocks if text is not None]


def v2_events(answer: Answer, prompt: str) -> Iterator[dict[str, Any]]:
    whole = v2_whole(answer, prompt)
    yield {"type": "message-start", "id": whole["id"], "delta": {"message": {"role": "assistant"}}}
    for index, (kind, text) in enumerate(blocks_of(answer)):
        yield {"type": "content-start", "index": index,
               "delta": {"message": {"content": {"type": kind, kind: ""}}}}
        for token in tokens_of(text):
            yield {"type": "content-delta", "index": index,
                   "delta": {"message": {"content": {kind: token}}}}
        yield {"type": "content-end", "index": index}
    delta = {"finish_reason": answer.finish_reason, "usage": whole["usage"]}
    if answer.error:
        delta["error"] = answer.error
    yield {"type": "message-end", "id": whole["id"], "delta": delta}


def v1_whole(answer: Answer, prompt: str) -> dict[str, Any]:
    said = answer.text or ""
    spent = usage(prompt, said)
    return {"response_id": str(uuid.uuid4()), "text": said, "generation_id": str(uuid.uuid4()),
            "chat_history": [{"role": "USER", "message": prompt},
                             {"role": "CHATBOT", "message": said}],
            "finish_reason": answer.finish_reason,
            "meta": {"api_version": {"version": "1"}, "billed_units": spent["billed_units"],
                     "tokens": spent["tokens"]}}


def v1_events(answer: Answer, prompt: str) -> Iterator[dict[str, Any]]:
    whole = v1_whole(answer, prompt)
    yield {"event_type": "stream-start", "generation_id": whole["generation_id"],
           "is_finished": False}
    for token in tokens_of(whole["text"]):
        yield {"event_type": "text-generation", "text": token, "is_finished": False}
    yield {"event_type": "stream-end", "finish_reason": answer.finish_reason, "response": whole,
           "is_finished": True}


def sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def json_line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


@dataclasses.dataclass
class Dialect:
    fields: set[str]
    prompt_of: Callable[[dict[str, Any]], str]
    whole: Callable[[Answer, str], dict[str, Any]]
    events: Callable[[Answer, str], Iterator[dict[str, Any]]]
    frame: Callable[[dict[str, Any]], bytes]
    stream_type: str
    last: bytes


DIALECTS = {
    "/v2/chat": Dialect(V2_FIELDS, v2_prompt, v2_whole, v2_events, sse, "text/event-stream",
                        b"data: [DONE]\n\n"),
    "/v1/chat": Dialect(V1_FIELDS, v1_prompt, v1_whole, v1_events, json_line,
                        "application/stream+json", b""),
}


class Cohere(web.Server):
    """A stand-in for Cohere's chat API."""

    name = "cohere"
    options = {
        "--key": {"default": KEY, "help": "the API key that is good"},
        "--scenario": {"default": "by_prompt", "choices": sorted(SCENARIOS),
                       "help": "where neither model nor key names one"},
        "--pace": {"type": float, "help": "seconds between the tokens of a slow answer; without "
                                          "it, each waits for POST /control"},
    }

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self.requests = 0
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.settings: dict[str, Any] = {}
        self.script: collections.deque[Answer] = collections.deque()
        self.turns: collections.Counter[tuple[str, str]] = collections.Counter()
        self.permits = asyncio.Semaphore(0)

    async def control(self, request: web.Request) -> Any:
        """Takes scenario, retry_after, key, replies (a list) and release (a number of tokens)."""
        settings = request.json()
        unknown = set(settings) - {"scenario", "retry_after", "key", "replies", "release"}
        if request.path != "/control" or unknown:
            raise LookupError(f"{request.path} {sorted(unknown)}")
        if settings.get("scenario", "good") not in SCENARIOS:
            raise LookupError(settings["scenario"])
        self.script.extend(Answer(one) if isinstance(one, str) else Answer(**one)
                           for one in settings.pop("replies", []))
        for _ in range(settings.pop("release", 0)):
            self.permits.release()
        self.settings |= settings

    async def answer(self, request: web.Request) -> web.Reply:
        self.requests += 1
        number = self.requests
        self.log.add("request", id=number, method=request.method, path=request.path,
                     headers=web.shown_headers(request.headers), body=self.shown_body(request))
        try:
            return self.route(request, number)
        except Refusal as error:
            self.log.add("end", id=number, scenario="", outcome="refused", status=error.status)
            return web.Reply({"id": str(uuid.uuid4()), "message": str(error)}, error.status)

    def shown_body(self, request: web.Request) -> Any:
        try:
            return request.json()
        except ValueError:
            return request.body.decode("utf-8", "replace")

    def route(self, request: web.Request, number: int) -> web.Reply:
        secret = request.bearer()
        need(secret, 401, "no api key supplied")
        by_key = secret.startswith(PREFIX) and secret[len(PREFIX):] in SCENARIOS
        need(by_key or secret == self.settings.get("key", self.arguments.key), 401,
             "invalid api token")
        if (request.method, request.path) == ("GET", "/v1/models"):
            return web.Reply({"models": [{"name": name, "endpoints": ["chat"], "finetuned": False,
                                          "context_length": 128000.0} for name in MODELS]})
        dialect = DIALECTS.get(request.path)
        need(dialect and request.method == "POST", 404, "invalid request: not found")
        return self.chat(dialect, request, number)  # type: ignore[arg-type]

    def chat(self, dialect: Dialect, request: web.Request, number: int) -> web.Reply:
        try:
            body = request.json()
        except ValueError:
            raise Refusal(400, "invalid request: the body is not valid JSON.") from None
        check_fields(body, dialect.fields)
        check_model(body, request.path == "/v1/chat")
        check_numbers(body)
        prompt = dialect.prompt_of(body)
        scenario, answer = self.choose(body.get("model", ""), request.bearer(), prompt)
        if "reasoning" in body.get("model", "") and answer.thinking is None and (
                body.get("thinking", {}).get("type") != "disabled"):
            answer.thinking = "The user wants a program. Signals first, then the plot."
        note = functools.partial(
            self.log.add, "end", id=number, scenario=scenario, status=answer.status)
        return self.speak(dialect, answer, prompt, bool(body.get("stream")), note)

    def choose(self, model: str, secret: str, prompt: str) -> tuple[str, Answer]:
        if self.script:
            return "scripted", self.script.popleft()
        named = [word[len(PREFIX):] for word in (model, secret) if word.startswith(PREFIX)]
        known = [name for name in named if name in SCENARIOS]
        scenario = self.settings.get("scenario") or (known or [self.arguments.scenario])[0]
        turn = (scenario, programs.original(prompt))
        self.turns[turn] += 1
        return scenario, SCENARIOS[scenario](Turn(prompt, self.turns[turn] - 1, self.settings))

    def speak(self, dialect: Dialect, answer: Answer, prompt: str, is_stream: bool,
              note: Note) -> web.Reply:
        if answer.reset:
            note(outcome="reset")
            return web.Reply(takeover=web.hang_up)
        if answer.raw is not None or answer.status != 200:
            note(outcome="sent")
            error = {"id": str(uuid.uuid4()), "message": answer.message}
            body = json.dumps(error) if answer.raw is None else answer.raw
            kind = answer.content_type or (
                dialect.stream_type if is_stream and answer.raw is not None else "application/json")
            return web.Reply(body.encode(), answer.status, answer.headers, kind)
        if is_stream:
            return self.stream(dialect, answer, prompt, note)
        body = json.dumps(dialect.whole(answer, prompt)).encode()
        if answer.slow:
            pieces = self.held(body, tokens_of(answer.text or ""), note)
            return web.Reply(pieces, content_type="application/json")
        note(outcome="cut" if answer.cut else "sent")
        return web.Reply(body, 200, answer.headers, "application/json",
                         cut=len(body) // 2 if answer.cut else None)

    def stream(self, dialect: Dialect, answer: Answer, prompt: str,
               note: Note) -> web.Reply:
        frames = [(dialect.frame(event), is_token(event))
                  for event in dialect.events(answer, prompt)]
        frames += [(dialect.last, False)] if dialect.last else []
        size = sum(len(frame) for frame, _ in frames)
        pieces = self.pieces(frames, answer, note)
        return web.Reply(pieces, 200, answer.headers, answer.content_type or dialect.stream_type,
                         cut=size // 2 if answer.cut else None)

    async def pieces(self, frames: list[tuple[bytes, bool]], answer: Answer,
                     note: Note) -> AsyncIterator[bytes]:
        """Logs how it ended: all sent, cut, or the client left before."""
        outcome, sent = "cut" if answer.cut else "left", 0
        try:
            for frame, is_one_token in frames:
                if answer.slow and is_one_token:
                    await self.permit(note.keywords["id"], sent)
                for at in range(0, len(frame), answer.drip or len(frame)):
                    yield frame[at:at + (answer.drip or len(frame))]
                sent += is_one_token
            outcome = "sent"
        finally:
            note(outcome=outcome, tokens=sent)

    async def held(self, body: bytes, tokens: list[str],
                   note: Note) -> AsyncIterator[bytes]:
        outcome, sent = "left", 0
        try:
            for _ in tokens:
                await self.permit(note.keywords["id"], sent)
                sent += 1
            yield body
            outcome = "sent"
        finally:
            note(outcome=outcome, tokens=sent)

    async def permit(self, number: int, sent: int) -> None:
        self.log.add("waiting", id=number, tokens=sent)
        try:
            await asyncio.wait_for(self.permits.acquire(), self.arguments.pace)
        except TimeoutError:
            pass


def is_token(event: dict[str, Any]) -> bool:
    return "content-delta" in event.values() or "text-generation" in event.values()


if __name__ == "__main__":
    web.main(Cohere)
