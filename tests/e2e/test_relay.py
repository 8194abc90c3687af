"""Programs reach what their policy lists, through the relay, and nothing else by any way."""

import json
import os
import re
from contextlib import ExitStack

import engine
import pytest
from observe import pool, slim
from ports import closed_port
from relay_targets import (
    HOST,
    Bell,
    Deaf,
    Echo,
    Endless,
    Late,
    Page,
    Reset,
    Totals,
    certificates,
    serving,
    silent_port,
)
from service import Service, wait_for

# The warden is in the images; a build under another tag is tested with TAG, as images/build.sh.
TAG = os.environ.get("TAG", "latest")
SLIM = f"oneshot/python-slim:{TAG}"
FULL = f"oneshot/python:{TAG}"
BYTES_MAX = 200 << 20
CONNECT_S = 3
TIME = {"default": "120s", "max": "120s"}  # megabytes take theirs on a busy machine


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Ports of all servers by what they do, and the authority of the one with TLS."""
    context, authority = certificates(tmp_path_factory.mktemp("tls"))
    Deaf.done.clear()
    with ExitStack() as stack:
        ports = {name: stack.enter_context(serving(handler)) for name, handler in {
            "echo": Echo, "totals": Totals, "endless": Endless, "deaf": Deaf, "reset": Reset,
            "page": Page, "late": Late, "bell": Bell}.items()}
        ports["tls"] = stack.enter_context(serving(Page, context=context))
        ports["silent"] = stack.enter_context(silent_port())
        ports["down"] = stack.enter_context(closed_port())
        yield ports | {"authority": authority}
        Deaf.done.set()


def listed(targets):
    """Entries for all of them, and some that lead nowhere."""
    private = {"echo": 7, "totals": 8, "endless": 9, "deaf": 10, "reset": 11, "page": 80,
               "silent": 12, "down": 13, "late": 14, "bell": 15}
    entries = [{"as": f"{name}:{port}", "to": f"127.0.0.1:{targets[name]}", "private": True}
               for name, port in private.items()]
    return [
        *entries,
        {"as": "echo:1007", "to": f"localhost:{targets['echo']}", "private": True},
        {"as": f"{HOST}:443", "to": f"127.0.0.1:{targets['tls']}", "private": True},
        {"as": "closed:80", "to": f"127.0.0.1:{targets['page']}"},
        {"as": "nowhere:80", "to": "no-such-host.invalid:80"},
    ]


def policies(targets):
    relay = listed(targets)
    nothing = {"min": 0}
    limits = {"connect": CONNECT_S, "bytes": BYTES_MAX}
    ports = [80, 443, targets["page"]]
    return {
        "default": slim(image=SLIM, pool=nothing),
        "relay": slim(image=SLIM, network={"relay": relay}, relay=limits, pool=pool(1), time=TIME),
        "any": slim(image=SLIM, network={"relay": [*relay, {"any": ports}]}, relay=limits,
                    pool=nothing),
        "shut": slim(image=SLIM, network={"relay": [*relay, {"any": ports}]},
                     relay=limits | {"internet": False}, pool=nothing),
        "narrow": slim(image=SLIM, network={"relay": relay},
                       relay=limits | {"connections": 2, "opened": 5, "bytes": 1 << 20},
                       pool=nothing),
        "full": {"extends": "default", "image": FULL, "pool": nothing,
                 "network": {"relay": [*relay, {"any": ports}]}, "relay": limits},
        "none": slim(image=SLIM, pool=nothing),
        "telemetry": slim(image=SLIM, network="none", pool=nothing),
        "aiq": slim(image=SLIM, pool=nothing, workspace={"path": ""}),
    }


@pytest.fixture(scope="module")
def running(homes, targets):
    one = Service(homes / "relay", policies=policies(targets), patience_s=60)
    try:
        yield one.start()
    finally:
        one.remove()


def run(service, code, policy="relay", **more):
    reply = service.native(code, policy=policy, **more)
    assert reply.status == 200, reply.text
    return reply.json


def output(service, code, policy="relay", **more):
    got = run(service, code, policy, **more)
    assert got["outcome"] == "ok", got
    return got["stdout"].strip()


def refusal(service, code, policy="relay"):
    """The name of the exception, and what stood on standard error beside the traceback."""
    got = run(service, code, policy)
    return got["error"]["type"] if got["error"] else None, got["stderr"]


# ---- what works ----


def test_a_listed_target_is_reached_by_its_name(running):
    assert output(running, """
import socket
with socket.create_connection(("echo", 7)) as s:
    s.sendall(b"hello")
    print(s.recv(100).decode(), s.getpeername())
with socket.create_connection(("ECHO", 1007)) as s:
    s.sendall(b"again")
    print(s.recv(100).decode())
""").splitlines() == ["hello ('127.0.0.2', 7)", "again"]


def test_half_closes_go_both_ways(running):
    assert output(running, """
import socket
with socket.create_connection(("totals", 8)) as s:
    s.sendall(bytes(1234567))
    s.shutdown(socket.SHUT_WR)
    print(s.recv(100).decode(), s.recv(100))
""") == "1234567 b''"


def test_twenty_megabytes_both_ways(running):
    assert output(running, """
import hashlib, os, socket, threading
block = os.urandom(1 << 20)
sent, got = hashlib.sha256(), hashlib.sha256()
with socket.create_connection(("echo", 7)) as s:
    def send():
        for i in range(20):
            sent.update(block)
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send)
    t.start()
    n = 0
    while data := s.recv(1 << 16):
        got.update(data)
        n += len(data)
    t.join()
print(n, sent.digest() == got.digest())
""") == f"{20 << 20} True"


def test_many_connections_at_once(running):
    assert output(running, """
import os, socket, threading
good = []
def one(i):
    with socket.create_connection(("echo", 7)) as s:
        data = os.urandom(100000 + i)
        t = threading.Thread(target=s.sendall, args=(data,))
        t.start()
        got = b""
        while len(got) < len(data):
            got += s.recv(1 << 16)
        t.join()
        good.append(got == data)
for _ in range(4):
    threads = [threading.Thread(target=one, args=(i,)) for i in range(25)]
    [t.start() for t in threads]
    [t.join() for t in threads]
print(len(good), all(good))
""") == "100 True"


def test_a_stalled_connection_stops_nothing_else(running):
    """One that nobody reads here, one that nobody reads there: output and a third go on."""
    assert output(running, """
import socket, sys
deaf = socket.create_connection(("deaf", 10))
deaf.setblocking(False)
slow = socket.create_connection(("endless", 9))
try:
    while True:
        deaf.send(bytes(1 << 16))
except BlockingIOError:
    pass
for _ in range(40):
    sys.stdout.write("x" * 50000)
with socket.create_connection(("echo", 7)) as s:
    for _ in range(100):
        s.sendall(b"ping")
        assert s.recv(10) == b"ping"
print()
print("alive", len(slow.recv(1000)))
""", timeout=15).splitlines()[-1] == "alive 1000"  # so long the reply waits for the deaf one


def test_standard_input_that_nobody_reads_stops_no_connection(running):
    assert output(running, """
import socket, sys
with socket.create_connection(("echo", 7)) as s:
    for _ in range(50):
        s.sendall(bytes(20000))
        n = 20000
        while n:
            n -= len(s.recv(n))
print(len(sys.stdin.read()))
""", stdin="i" * 3_000_000) == "3000000"


def test_what_was_sent_before_the_end_arrives(running):
    got = run(running, """
import socket
s = socket.create_connection(("totals", 8))
s.sendall(bytes(3000000))
""")
    assert got["outcome"] == "ok"
    assert [line["up"] for line in relayed(running, got["id"])] == ["3000000"]


def test_many_that_were_connected_at_the_end_arrive(running):
    got = run(running, """
import socket
for i in range(20):
    socket.create_connection(("totals", 8)).sendall(bytes(1000))
""")
    assert got["outcome"] == "ok"
    assert [line["up"] for line in relayed(running, got["id"])] == ["1000"] * 20


def test_a_target_that_is_slower_than_the_program_gets_all_of_it(running):
    """It reads only once the program is dead, and more than all buffers on the way hold."""
    Late.go.clear()
    Late.total = 0
    got = run(running, """
import select, socket
bell = socket.create_connection(("bell", 15))
bell.sendall(b"x")
s = socket.create_connection(("late", 14))
s.setblocking(False)
total = 0
while select.select([], [s], [], 2)[1]:
    total += s.send(bytes(1 << 20))
print(total)
""")
    assert got["outcome"] == "ok"
    assert got["stderr"] == ""
    assert int(got["stdout"]) > 1 << 20
    lines = {line["target"]: line["up"] for line in relayed(running, got["id"])}
    assert lines["late:14"] == got["stdout"].strip()
    # It is in the target's socket; the target may still be at it.
    wait_for(lambda: Late.total >= int(got["stdout"]), what="the target's count")
    assert Late.total == int(got["stdout"])


def test_what_a_target_does_not_take_in_time_is_told(running):
    got = run(running, """
import select, socket
s = socket.create_connection(("deaf", 10))
s.setblocking(False)
while select.select([], [s], [], 1)[1]:
    s.send(bytes(1 << 20))
""", timeout=12)
    assert got["outcome"] == "ok"
    assert got["stderr"] == "oneshot: deaf:10 has not taken all that was sent to it\n"


# ---- what does not ----

CONNECT = """
import socket
s = socket.create_connection(({host!r}, {port}), 20)
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(s.recv(100))
"""


@pytest.mark.parametrize(("host", "port", "error", "words"), [
    ("down", 13, "ConnectionResetError", "oneshot: down:13 refused the connection\n"),
    ("silent", 12, "ConnectionResetError", "oneshot: silent:12 did not answer in time\n"),
    ("nowhere", 80, "ConnectionResetError", "oneshot: nowhere:80 cannot be resolved\n"),
    ("closed", 80, "ConnectionResetError",
     "oneshot: closed:80 leads to an address that is not public\n"),
    ("echo", 8, "ConnectionRefusedError", ""),
    ("unlisted", 80, "socket.gaierror", ""),
    ("www.example.com", 80, "socket.gaierror", ""),
    ("8.8.8.8", 53, "OSError", ""),
    ("169.254.169.254", 80, "OSError", ""),
    ("{gateway}", 2375, "OSError", ""),
    ("{gateway}", "{page}", "OSError", ""),
    ("127.0.0.1", "{page}", "ConnectionRefusedError", ""),
    ("{other}", 80, "OSError", ""),
    ("host.docker.internal", 80, "socket.gaierror", ""),
])
def test_what_is_not_listed_or_not_there_gives_an_error(
        running, targets, places, host, port, error, words):
    if isinstance(port, str):
        port = targets["page"]
    fault, stderr = refusal(running, CONNECT.format(host=host.format(**places), port=port))
    assert fault == error
    assert words in stderr
    assert words or "oneshot:" not in stderr


@pytest.fixture(scope="module")
def places():
    """Addresses on the engine's default network: the host's own there, and one beside it."""
    network = engine.call("GET", "/networks/bridge")
    gateway = network["IPAM"]["Config"][0].get("Gateway") or "172.17.0.1"
    return {"gateway": gateway, "other": gateway.rsplit(".", 1)[0] + ".2"}


def test_no_datagram_leaves_and_no_name_is_asked_for(running):
    assert output(running, """
import socket
for target in (("8.8.8.8", 53), ("127.0.0.11", 53), ("echo", 7)):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.connect(target)
            s.send(b"x")
            print(s.recv(100))
    except OSError as e:
        print(type(e).__name__)
print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
""").splitlines() == ["OSError", "ConnectionRefusedError", "ConnectionRefusedError", "['lo']"]


def test_a_target_that_resets_is_seen_to_reset(running):
    fault, stderr = refusal(running, """
import socket
s = socket.create_connection(("reset", 11))
print(s.recv(4))
s.sendall(b"x")
print(s.recv(4))
""")
    assert fault == "ConnectionResetError"
    assert "oneshot:" not in stderr


def test_without_a_relay_there_is_no_listener_and_no_variable(running):
    assert output(running, """
import os, socket
print([n for n in os.environ if "PROXY" in n.upper() or "ONESHOT" in n])
print(open("/proc/net/tcp").read().count("\\n"), len(open("/etc/hosts").read()) > 0)
""", "none").splitlines() == ["[]", "1 True"]


# ---- the internet ----

GET = """
import ssl, urllib.request
try:
    with urllib.request.urlopen({url!r}, timeout=20) as r:
        print(r.status, r.read().decode())
except OSError as e:
    print(e)
"""


def test_the_proxy_is_told_by_variables(running):
    assert json.loads(output(running, """
import json, os
print(json.dumps({n: v for n, v in os.environ.items() if "proxy" in n.lower()}))
""", "any")) == {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
                        "http://127.0.0.254:3128"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"),
                        "localhost,127.0.0.1,::1,echo,totals,endless,deaf,reset,page,silent,down,"
                        f"late,bell,{HOST},closed,nowhere")}


def test_https_through_the_proxy_with_the_real_name(running, targets):
    """The certificate is checked against the name, end to end; CONNECT leads to a listed entry."""
    assert output(running, f"""
import requests
open("ca.pem", "w").write({targets["authority"]!r})
import os
os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
for verify in ("ca.pem", True):
    try:
        r = requests.get("https://{HOST}/a?b=c", verify=verify, timeout=20)
        print(r.status_code, r.text)
    except requests.exceptions.SSLError as e:
        print("SSLError")
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "{HOST}"
print(requests.post("https://{HOST}/", data=bytes(500000), verify="ca.pem", timeout=20).text)
""", "full").splitlines() == [
        f"200 GET /a?b=c {HOST} 0", "SSLError", f"POST / {HOST} 500000"]


def test_plain_http_through_the_proxy(running):
    assert output(running, """
import os, urllib.request
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""
print(urllib.request.urlopen("http://page/x?y#z", timeout=20).read().decode())
print(urllib.request.urlopen("http://PAGE:80", data=bytes(300000), timeout=20).read().decode())
""", "any").splitlines() == ["GET /x?y page 0", "POST / PAGE:80 300000"]


@pytest.mark.parametrize(("url", "answer"), [
    ("http://127.0.0.1:{page}/", "HTTP Error 403: 127.0.0.1:{page} leads to an address that is "
     "not public"),
    ("http://{gateway}:{page}/", "HTTP Error 403: {gateway}:{page} leads to an address that is "
     "not public"),
    ("http://2130706433/", "HTTP Error 403: 2130706433:80 leads to an address that is not public"),
    ("http://[::1]/", "HTTP Error 403: [::1]:80 leads to an address that is not public"),
    ("http://[::ffff:127.0.0.1]/",
     "HTTP Error 403: [::ffff:127.0.0.1]:80 leads to an address that is not public"),
    ("http://169.254.169.254/latest/", "HTTP Error 403: 169.254.169.254:80 leads to an address "
     "that is not public"),
    ("https://10.1.2.3/", "<urlopen error Tunnel connection failed: 403 10.1.2.3:443 leads to an "
     "address that is not public>"),
    ("http://example.com:81/", "HTTP Error 403: example.com:81 is not listed by the policy"),
    ("https://example.com:22/", "<urlopen error Tunnel connection failed: 403 example.com:22 is "
     "not listed by the policy>"),
    ("http://no-such-host.invalid/", "HTTP Error 502: no-such-host.invalid:80 cannot be resolved"),
    ("http://localhost.localdomain:{page}/", "HTTP Error "),
])
def test_the_proxy_refuses_in_words(running, targets, places, url, answer):
    values = places | targets
    code = "import os\nos.environ['no_proxy'] = os.environ['NO_PROXY'] = ''\n" + GET.format(
        url=url.format(**values))
    assert output(running, code, "any").startswith(answer.format(**values))


def test_one_key_turns_the_internet_off(running):
    assert output(running, """
import os, socket
print([n for n in os.environ if "PROXY" in n.upper()])
try:
    socket.create_connection(("127.0.0.254", 3128), 5)
except OSError as e:
    print(type(e).__name__)
with socket.create_connection(("echo", 7)) as s:
    s.sendall(b"x")
    print(s.recv(1))
""", "shut").splitlines() == ["[]", "ConnectionRefusedError", "b'x'"]


# ---- limits ----


def test_connections_and_bytes_are_bounded(running):
    assert output(running, """
import contextlib, socket
def ask(n):
    try:
        s = socket.create_connection(("totals", 8))
        s.sendall(bytes(n))
        with contextlib.suppress(OSError):  # not connected any more: recv says why
            s.shutdown(socket.SHUT_WR)
        reply = s.recv(100)
        s.recv(1)                  # the end too: then the connection counts no more
        return reply.decode() or "end"
    except OSError as e:
        return type(e).__name__
held = [socket.create_connection(("echo", 7)) for _ in range(2)]
for s in held:
    s.sendall(b"x")
    s.recv(1)
print(ask(1))                      # a third at once
held[0].shutdown(socket.SHUT_WR)
held[0].recv(1)                    # its end is known everywhere
print(ask(1000), ask(2000000))     # within and beyond the bytes
try:
    held[1].sendall(b"x")
    print(held[1].recv(1))
except OSError as e:
    print(type(e).__name__)
print(ask(1))                      # the sixth in all
""", "narrow").splitlines() == ["ConnectionResetError", "1000 ConnectionResetError",
                                "ConnectionResetError", "ConnectionResetError"]


# ---- what is told ----


def relayed(service, run_id):
    """The records of a run's connections."""
    lines = [line for line in service.log().splitlines()
             if "relayed connection" in line and run_id in line]
    return [dict(re.findall(r'(\w+)="?([^\s"]*)', line)) for line in lines]


def test_each_connection_is_logged_and_counted(running, targets):
    before = running.get("native", "/metrics").text
    got = run(running, """
import socket
with socket.create_connection(("echo", 7)) as s:
    s.sendall(bytes(1000))
    n = 1000
    while n:
        n -= len(s.recv(n))
try:
    s = socket.create_connection(("down", 13))
    s.recv(1)
except OSError:
    pass
""")
    assert got["outcome"] == "ok", got
    lines = {line["target"]: line for line in relayed(running, got["id"])}
    assert len(lines) == 2
    first, second = lines["echo:7"], lines["down:13"]
    assert first["address"] == f"127.0.0.1:{targets['echo']}"
    assert (first["verdict"], first["up"], first["down"]) == ("ok", "1000", "1000")
    assert second["verdict"] == "down"
    after = running.get("native", "/metrics").text

    def moved(name):
        find = re.compile(rf"^oneshot_relay_{re.escape(name)} (\d+)$", re.M)
        return int(find.search(after)[1]) - int(find.search(before)[1])

    assert moved('connections_total{verdict="ok"}') == 1
    assert moved('connections_total{verdict="down"}') == 1
    assert moved('bytes_total{direction="up"}') == 1000
    assert moved('bytes_total{direction="down"}') == 1000


def test_each_host_that_the_proxy_is_asked_for_is_logged(running):
    got = run(running, """
import os, urllib.request
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ""
for host in ("page", "10.1.2.3", "no-such-host.invalid", "example.com:81"):
    try:
        urllib.request.urlopen(f"http://{host}/", timeout=20).read()
    except OSError:
        pass
""", "any")
    assert got["outcome"] == "ok", got
    assert {line["target"]: line["verdict"] for line in relayed(running, got["id"])} == {
        "page:80": "ok", "10.1.2.3:80": "closed", "no-such-host.invalid:80": "name",
        "example.com:81": "unlisted"}


def test_health_names_the_networks_that_are_not_watched(make_service):
    one = make_service(policies={
        "default": slim(image=SLIM, pool={"min": 0}),
        "telemetry": slim(image=SLIM, network="none", pool={"min": 0}),
        "aiq": slim(image=SLIM, pool={"min": 0}, workspace={"path": ""}),
        "wide": slim(network="open", pool={"min": 0}),
        "side": slim(network={"join": "somewhere"}, pool={"min": 0})}).launch()
    found = one.get("native", "/health").json["unwatched_networks"]
    assert [(n["policy"], n["network"]) for n in found] == [("side", "join"), ("wide", "open")]
    assert all("reach" in n["not_promised"] for n in found)
