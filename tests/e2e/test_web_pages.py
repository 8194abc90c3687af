"""A web page must not be able to run code: Origin, Sec-Fetch-Site, Host, forms, CORS. Of the
generator's port, where a model runs it, see test_generator.py."""

from __future__ import annotations

import json
import urllib.parse

import pytest
import service as services

DIALECTS = ("aiq", "telemetry", "native", "executor")
ROUTES = {"aiq": "/execute", "telemetry": "/", "native": "/v1/runs", "executor": "/execute"}
BODY = {"generated_code": "print(1)", "code": "print(1)", "timeout": 30}
ALLOWED = "https://console.example"
EVIL = "https://evil.example"

every_port = pytest.mark.parametrize("dialect", DIALECTS)


def ask(service, dialect, headers, method="POST", path=None, body=None):
    kind = {"Content-Type": "application/json"} if method == "POST" else {}
    data = json.dumps(BODY if body is None else body).encode() if method == "POST" else None
    return service.ask(dialect, method, path or ROUTES[dialect], data, kind | headers)


def ask_for_a_run(service, dialect, headers):
    """Again as long as a busy machine has no container."""
    return services.wait_for(
        lambda: (reply := ask(service, dialect, headers)).status != 503 and reply)


def is_refused(reply):
    """Refused without a run, and without a word that lets the page read the answer."""
    assert "X-Run-Id" not in reply.headers
    assert "Access-Control-Allow-Origin" not in reply.headers
    return reply.status == 403


def ran(reply):
    return reply.status == 200 and "X-Run-Id" in reply.headers


@every_port
@pytest.mark.parametrize("origin", [
    EVIL, "http://evil.example:6000", "null", "http://127.0.0.1", "http://localhost:1",
    "http://127.0.0.1.evil.example:PORT", "file://",
    "http://127.0.0.1:PORT@evil.example", "chrome-extension://abcdef",
])
def test_a_foreign_origin_is_refused(service, dialect, origin):
    origin = origin.replace("PORT", str(service.ports[dialect]))
    assert is_refused(ask(service, dialect, {"Origin": origin}))


@every_port
@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_another_sites_page_is_refused_without_an_origin_too(service, dialect, site):
    assert is_refused(ask(service, dialect, {"Sec-Fetch-Site": site}))


@every_port
@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:PORT", "127.0.0.1.evil.example:PORT", "localhost.evil.example",
    "local-host:PORT", "[localhost]:PORT", "0x7f.1",
])
def test_a_name_that_was_rebound_to_this_address_is_refused(service, dialect, host):
    """The page is of the same origin as far as the browser knows; only its name is foreign."""
    host = host.replace("PORT", str(service.ports[dialect]))
    for method, path in (("POST", None), ("GET", "/health")):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        assert is_refused(ask(service, dialect, headers, method, path))
        assert is_refused(ask(service, dialect, {"Host": host}, method, path))


@every_port
def test_a_page_cannot_read_what_the_service_says_of_itself(service, dialect):
    for path in ("/health", "/metrics", "/v1/pools", "/nowhere"):
        assert is_refused(ask(service, dialect, {"Origin": EVIL}, "GET", path))


@every_port
@pytest.mark.parametrize("origin", [EVIL, "null"])
@pytest.mark.parametrize("kind", [
    "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x",
])
def test_a_form_of_a_page_is_refused(service, dialect, kind, origin):
    """A form needs no preflight; with text/plain it can even look like JSON."""
    text = json.dumps(BODY)
    body = {
        "application/x-www-form-urlencoded": urllib.parse.urlencode(BODY),
        "text/plain": text[:-1] + ',"x":"="}',
    }.get(kind, f'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{text}\r\n--x--\r\n')
    reply = service.ask(dialect, "POST", ROUTES[dialect], body.encode(),
                        {"Content-Type": kind, "Origin": origin, "Sec-Fetch-Site": "cross-site"})
    assert is_refused(reply)


@every_port
def test_a_preflight_of_a_foreign_page_is_refused(service, dialect):
    reply = ask(service, dialect, {"Origin": EVIL, "Access-Control-Request-Method": "POST"},
                "OPTIONS")
    assert is_refused(reply)


@every_port
def test_a_form_from_nowhere_is_no_program_where_the_type_counts(service, dialect):
    """Without an Origin it is no browser of today; aiq reads JSON only, no port reads forms."""
    body = urllib.parse.urlencode(BODY).encode()
    reply = service.ask(dialect, "POST", ROUTES[dialect], body,
                        {"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status == (422 if dialect == "executor" else 400)
    assert "X-Run-Id" not in reply.headers


@every_port
def test_programs_and_own_pages_may_ask(service, dialect):
    port = service.ports[dialect]
    allowed = [
        {},
        {"Host": f"localhost:{port}"},
        {"Host": f"LOCALHOST:{port}", "Origin": f"http://localhost:{port}"},
        {"Host": f"[::1]:{port}", "Origin": f"http://[::1]:{port}"},
        {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ]
    for headers in allowed:
        reply = ask(service, dialect, headers, "GET", "/health")
        assert reply.status == 200, headers
        assert "Access-Control-Allow-Origin" not in reply.headers
    assert ran(ask_for_a_run(service, dialect, allowed[4]))


@pytest.fixture(scope="module")
def with_cors(homes):
    one = services.Service(homes / "cors", policies={
        name: {"image": "oneshot/python-slim", "warm": []}
        for name in ("default", "aiq", "telemetry")
    }, settings={"origins": [ALLOWED], "hosts": ["box.example"]})
    try:
        yield one.launch()
    finally:
        one.remove()


@every_port
def test_a_listed_page_is_answered(with_cors, dialect):
    headers = {"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"}
    reply = ask_for_a_run(with_cors, dialect, headers)
    assert ran(reply), reply.text
    assert reply.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "Origin" in reply.headers["Vary"]
    assert "X-Run-Id" in reply.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in reply.headers
    error = ask(with_cors, dialect, headers, "POST", "/nowhere")
    assert (error.status, error.headers["Access-Control-Allow-Origin"]) == (404, ALLOWED)


@every_port
def test_a_listed_page_is_told_what_it_may_send(with_cors, dialect):
    reply = ask(with_cors, dialect, {
        "Origin": ALLOWED, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type"}, "OPTIONS")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == ALLOWED
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert reply.headers["Access-Control-Allow-Headers"] == "content-type"


@every_port
@pytest.mark.parametrize("origin", [EVIL, ALLOWED + ".evil.example", "http://console.example",
                                    ALLOWED + ":8443", "null"])
def test_a_list_of_pages_lets_no_other_in(with_cors, dialect, origin):
    assert is_refused(ask(with_cors, dialect, {"Origin": origin}))


@every_port
def test_a_listed_name_of_the_service_is_known(with_cors, dialect):
    reply = ask(with_cors, dialect, {"Host": "box.example"}, "GET", "/health")
    assert reply.status == 200
    assert is_refused(ask(with_cors, dialect, {"Host": "other.example"}, "GET", "/health"))
