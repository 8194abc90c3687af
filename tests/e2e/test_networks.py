"""Policies' networks on an engine: what open and join reach, and that of none and relay no packet
leaves the container. All of it inside a private engine's own network."""

import json
import os
import pathlib
import shutil
import tempfile
from contextlib import ExitStack

import pytest
from observe import pool, slim
from private_engine import (
    BRIDGE,
    DNS,
    ETH_P_ARP,
    GATEWAY,
    HOST,
    INNER,
    METADATA,
    WWW,
    Capture,
    NameServer,
    PrivateEngine,
    PrivateService,
    obstacle,
)
from relay_targets import Page, serving
from service import START_S, wait_for

SLIM = f"oneshot/python-slim:{os.environ.get('TAG', 'latest')}"
SIDE = "side-net"
SIDE_GATEWAY = "172.31.98.1"
NAMES = {"www.far.test": WWW, "other.far.test": WWW, "inner.far.test": INNER,
         "metadata.far.test": METADATA, "host.far.test": HOST, "bridge.far.test": GATEWAY}


class Servers:
    """Name what they are and who asked; note it."""

    def __init__(self):
        self.reached = []

    def handler(self, name):
        reached = self.reached

        class Named(Page):
            def do_GET(self):
                reached.append(name)
                text = f"{name} {self.client_address[0]}".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        return Named


class World:
    """The engine, the servers around it, and a service."""

    def __init__(self, home, stack):
        self.servers = Servers()
        self.engine = PrivateEngine(home)
        stack.callback(self.engine.remove)
        self.engine.start()
        self.engine.load(SLIM)
        with self.engine.far.entered():
            self.dns = NameServer(DNS, NAMES, silent=("silent.far.test",))
            stack.callback(self.dns.close)
        for place, name, address, port in (
            (self.engine.far, "www", WWW, 80), (self.engine.far, "inner", INNER, 80),
            (self.engine.far, "metadata", METADATA, 80), (self.engine.net, "host", "0.0.0.0", 8080),
            (self.engine.net, "loopback", "127.0.0.1", 8081),
        ):
            with place.entered():
                stack.enter_context(serving(self.servers.handler(name), address, port=port))
        self.engine.docker("network", "create", "--subnet", f"{SIDE_GATEWAY}/24", SIDE)
        self.engine.docker(
            "run", "--detach", "--network", SIDE, "--name", "db", "--stop-signal", "KILL",
            "--entrypoint", "python3", SLIM, "-m", "http.server", "8000")
        self.engine.docker("network", "connect", "bridge", "db")
        seen = json.loads(self.engine.docker(
            "inspect", "--format", "{{json .NetworkSettings.Networks}}", "db"))
        self.db = {name: net["IPAddress"] for name, net in seen.items()}
        self.service = PrivateService(home / "service", policies=policies(), patience_s=60,
                                      place=self.engine)
        stack.callback(self.service.remove)
        self.service.start()


# For an answer on a busy machine, and for a program that waits for some in vain.
ANSWER_S = 10
TIME = {"default": "120s", "max": "120s"}


def policies():
    some, none = pool(1), {"min": 0}
    listed = ["www.far.test:80", {"as": "inner.far.test:80", "private": True}]
    return {
        "default": slim(image=SLIM, pool=none),
        "telemetry": slim(image=SLIM, network="none", pool=none),
        "aiq": slim(image=SLIM, pool=none, workspace={"path": ""}),
        "none": slim(image=SLIM, pool=some, time=TIME),
        "relay": slim(image=SLIM, network={"relay": [*listed, {"any": [80]}]}, pool=some, time=TIME,
                      relay={"connect": "4s"}),
        "open": slim(image=SLIM, network="open", pool=some, time=TIME),
        "side": slim(image=SLIM, network={"join": SIDE}, pool=some, time=TIME),
        "later": slim(image=SLIM, network={"join": "later-net"}, pool=none),
    }


@pytest.fixture(scope="module")
def world():
    if why := obstacle():
        pytest.skip(f"NETWORKS ARE NOT TESTED: no private engine can be started here: {why}")
    home = pathlib.Path(tempfile.mkdtemp(prefix="oneshot-net-"))
    home.chmod(0o755)
    try:
        with ExitStack() as stack:
            yield World(home, stack)
    finally:
        shutil.rmtree(home)


def output(world, code, policy):
    reply = world.service.native(code, policy=policy)
    assert reply.status == 200, reply.text
    assert reply.json["outcome"] == "ok", reply.json
    return reply.json["stdout"].splitlines()


# Everything that a program may try, by name: what came back, or the error's name.
TRIES = """
import errno, json, socket, sys, urllib.request
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def page(url):
    return lambda: direct.open(url, timeout=%(answer_s)d).read().decode().split()[0]
def ask(target, data, *kind, answered=True):
    def work():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, *kind) as s:
            s.settimeout(%(answer_s)d)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.connect(target)
            s.send(data)
            return "answered" if answered and s.recv(1000) else "sent"
    return work
def connect(*target):
    return lambda: socket.create_connection(target, %(answer_s)d).close()
def raw(*kind):
    return lambda: socket.socket(*kind).close()
query = bytes([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0,
               3, *b"www", 3, *b"far", 4, *b"test", 0, 0, 1, 0, 1])
tries = {
    "gateway": page("http://%(gateway)s:8080/"),
    "gateway of the other network": page("http://%(side_gateway)s:8080/"),
    "the machine's own address": page("http://%(host)s:8080/"),
    "the machine's loopback": page("http://127.0.0.1:8081/"),
    "a container": page("http://%(db)s:8000/"),
    "it in the other network": page("http://%(side_db)s:8000/"),
    "a container's name": page("http://db:8000/"),
    "metadata": page("http://%(metadata)s/"),
    "a private network": page("http://%(inner)s/"),
    "the internet": page("http://%(www)s/"),
    "a name": lambda: bool(socket.gethostbyname("other.far.test")),
    "the name server": ask(("%(dns)s", 53), query),
    "the engine's name server": ask(("127.0.0.11", 53), query),
    "an unlisted port": connect("www.far.test", 81),
    "multicast": ask(("224.0.0.251", 5353), b"x", answered=False),
    "broadcast": ask(("255.255.255.255", 67), b"x", answered=False),
    "ping": ask(("%(gateway)s", 0), bytes([8, 0, 0, 0, 0, 1, 0, 1]), socket.IPPROTO_ICMP),
    "raw": raw(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packets": raw(socket.AF_PACKET, socket.SOCK_RAW),
}
said = {}
for name, work in tries.items():
    try:
        said[name] = work()
    except OSError as e:
        e = getattr(e, "reason", e)
        said[name] = errno.errorcode.get(e.errno, type(e).__name__)
json.dump(said, sys.stdout)
"""
IGMP_REPORTS = "224.0.0.22"  # RFC 3376 4.2.14
UNREACHABLE = ("gateway", "gateway of the other network", "the machine's own address",
               "a container", "it in the other network", "metadata", "a private network",
               "the internet", "the name server", "multicast", "broadcast", "ping")


def is_quiet(service, policy):
    """Its container is parked, and none of any policy comes or goes: they speak as they do."""
    pools = service.get("native", "/v1/pools").json["pools"]
    busy = sum(p["starting"] + p["running"] + p["removing"] for p in pools)
    return not busy and any(p["policy"] == policy and p["parked"] for p in pools)


class Watched:
    """A run, and what was seen of it: packets in its container, at the engine's side of it."""

    def __init__(self, world, code, policy):
        wait_for(lambda: is_quiet(world.service, policy), START_S, "what others left is gone")
        with ExitStack() as stack:
            engine_side = stack.enter_context(Capture(world.engine.net))
            inside = {}
            for container in world.service.containers():
                if container["Labels"]["oneshot.policy"] == policy:
                    place = world.engine.network_of(container["Id"])
                    stack.callback(place.close)
                    inside[container["Id"]] = stack.enter_context(Capture(place))
            del world.servers.reached[:], world.dns.asked[:]
            self.result = world.service.native(code, policy=policy).json
            assert self.result["outcome"] == "ok", self.result
            self.stdout = self.result["stdout"]
            self.inside = inside[self.result["container"]["id"]].take()
            # Kernels look after neighbours of earlier talks, and say on a network that came up
            # which groups they are in, on their own. Inside it would be told.
            outside = [p for p in engine_side.take()
                       if p.kind != ETH_P_ARP and p.target != IGMP_REPORTS]
            self.cable = [p for p in outside if p.interface == "near"]
            self.bridges = [p for p in outside if p.interface != "near"]
            self.reached, self.asked = list(world.servers.reached), set(world.dns.asked)


def try_all(world, policy):
    code = TRIES % {
        "gateway": GATEWAY, "side_gateway": SIDE_GATEWAY, "host": HOST, "www": WWW, "dns": DNS,
        "inner": INNER, "metadata": METADATA, "db": world.db["bridge"], "side_db": world.db[SIDE],
        "answer_s": ANSWER_S}
    watched = Watched(world, code, policy)
    return json.loads(watched.stdout), watched


def not_promised(world, policy):
    named = world.service.get("native", "/health").json["unwatched_networks"]
    return next(n for n in named if n["policy"] == policy)


# ---- open and join ----

WHERE = """
import socket, urllib.request
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect(("9.9.9.80", 80))
    print(s.getsockname()[0])
def get(url, within=20):
    try:
        with urllib.request.urlopen(url, timeout=within) as r:
            return r.read().decode()
    except OSError as e:
        return str(e)
"""


def test_open_reaches_the_internet_by_name(world):
    """From an address of the engine's bridge, and under the machine's."""
    address, said = output(world, WHERE + "print(get('http://www.far.test/'))", "open")
    assert address.rpartition(".")[0] == BRIDGE
    assert said == f"www {HOST}"


def test_join_reaches_a_container_of_its_network_by_name(world):
    address, said = output(world, WHERE + "print(get('http://db:8000/')[:15])", "side")
    assert address.rpartition(".")[0] == SIDE_GATEWAY.rpartition(".")[0]
    assert said == "<!DOCTYPE HTML>"


@pytest.mark.parametrize(("policy", "kind", "home", "other"), [
    ("open", "open", "a container", "it in the other network"),
    ("side", "join", "it in the other network", "a container"),
])
def test_what_health_does_not_promise_is_so(world, policy, kind, home, other):
    """And the captures see packets, the servers see clients where there are any."""
    said, seen = try_all(world, policy)
    assert said == {
        "gateway": "host", "gateway of the other network": "host",
        "the machine's own address": "host", "the machine's loopback": "ECONNREFUSED",
        home: "<!DOCTYPE", other: "TimeoutError",  # what the engine does, no promise of ours
        "a container's name": "<!DOCTYPE" if kind == "join" else "gaierror",
        "metadata": "metadata", "a private network": "inner", "the internet": "www",
        "a name": True, "the name server": "answered",
        "the engine's name server": "answered" if kind == "join" else "ECONNREFUSED",
        "an unlisted port": "ECONNREFUSED", "multicast": "sent", "broadcast": "sent",
        "ping": "answered", "raw": "EPERM", "packets": "EPERM"}
    assert seen.reached == ["host", "host", "host", "metadata", "inner", "www"]
    assert ("other.far.test", HOST) in seen.asked
    for packets in (seen.inside, seen.bridges):
        assert {p.target for p in packets} >= {
            GATEWAY, SIDE_GATEWAY, HOST, METADATA, INNER, WWW, DNS, world.db["bridge"],
            world.db[SIDE], "224.0.0.251", "255.255.255.255"}
    assert {(p.target, p.port) for p in seen.cable} >= {(WWW, 80), (WWW, 81), (DNS, 53)}
    told = not_promised(world, policy)
    assert told["network"] == kind
    for words in ("the host's own addresses", "each other", "nothing of it is counted or logged"):
        assert words in told["not_promised"]


def test_nothing_of_open_and_join_is_counted_or_logged(world):
    before = world.service.log()
    for policy in ("open", "side"):
        output(world, WHERE + "print(get('http://www.far.test/'))", policy)
    assert "relayed connection" not in world.service.log()[len(before):]


def test_rules_of_the_machines_firewall_hold(world):
    """Those of docs/OPERATIONS.md: what the engine cannot be told, the machine can."""
    rules = [("INPUT", "--in-interface", "docker0", "--jump", "DROP"),
             ("DOCKER-USER", "--in-interface", "docker0", "--destination", "169.254.0.0/16",
              "--jump", "DROP")]
    code = WHERE + f"""
for url in ("http://{GATEWAY}:8080/", "http://{HOST}:8080/", "http://{METADATA}/"):
    print("timed out" in get(url, 1.5))
print(get("http://www.far.test/"))
"""
    del world.servers.reached[:]
    with ExitStack() as stack:
        for rule in rules:
            world.engine.net.run("iptables", "--insert", *rule)
            stack.callback(world.engine.net.run, "iptables", "--delete", *rule)
        assert output(world, code, "open")[1:] == ["True", "True", "True", f"www {HOST}"]
    assert world.servers.reached == ["www"]


def test_a_network_that_is_missing_holds_up_no_other_policy(world):
    replies = []
    for _ in range(3):
        replies.append(world.service.post("native", "/v1/runs",
                                          {"code": "print(1)", "policy": "later"}))
        assert output(world, "print(2)", "none") == ["2"]
    assert [r.status for r in replies] == [503] * 3
    assert {r.json["detail"] for r in replies} == {
        "the engine cannot start a container of this policy"}
    assert all(r.headers["Retry-After"] for r in replies)
    assert "network later-net not found" in world.service.log()
    assert "the engine refused a call" not in world.service.log()
    world.engine.docker("network", "create", "later-net")
    assert output(world, "print(3)", "later") == ["3"]


# ---- none and relay ----


@pytest.mark.parametrize("policy", ["none", "relay"])
def test_no_packet_leaves(world, policy):
    """Not one, on any interface but the container's own loopback, on no bridge, to no server."""
    said, seen = try_all(world, policy)
    assert said == {
        **dict.fromkeys(UNREACHABLE, "ENETUNREACH"),
        "the machine's loopback": "ECONNREFUSED", "the engine's name server": "ECONNREFUSED",
        "a container's name": "gaierror", "a name": "gaierror",
        "an unlisted port": "ECONNREFUSED" if policy == "relay" else "gaierror",
        "raw": "EPERM", "packets": "EPERM"}
    assert (seen.inside, seen.bridges, seen.cable) == ([], [], [])
    assert (seen.reached, seen.asked) == ([], set())


@pytest.mark.parametrize(("url", "answer", "name", "target"), [
    ("http://www.far.test/", f"www {HOST}", "www.far.test", WWW),
    ("http://inner.far.test/", f"inner {HOST}", "inner.far.test", INNER),
    ("http://other.far.test/", f"www {HOST}", "other.far.test", WWW),  # by the proxy
])
def test_only_the_front_asks_for_names_and_connects(world, url, answer, name, target):
    seen = Watched(world, WHERE.replace("9.9.9.80", "127.0.0.1") + f"print(get({url!r}))", "relay")
    assert seen.stdout.splitlines() == ["127.0.0.1", answer]
    assert seen.asked == {(name, HOST)}
    assert (seen.inside, seen.bridges) == ([], [])
    assert {p.target for p in seen.cable if p.source == HOST} == {DNS, target}
    assert {p.port for p in seen.cable if p.source == HOST} == {53, 80}


@pytest.mark.parametrize(("host", "answer"), [
    ("metadata.far.test", "HTTP Error 403: {} leads to an address that is not public"),
    ("host.far.test", "HTTP Error 403: {} leads to an address that is not public"),
    ("bridge.far.test", "HTTP Error 403: {} leads to an address that is not public"),
    ("missing.far.test", "HTTP Error 502: {} cannot be resolved"),
    ("silent.far.test", "HTTP Error 504: {} did not answer in time"),
])
def test_names_that_lead_astray_or_nowhere_are_refused(world, host, answer):
    seen = Watched(world, WHERE.replace("9.9.9.80", "127.0.0.1")
                   + f"print(get('http://{host}/'))", "relay")
    assert seen.stdout.splitlines()[1] == answer.format(f"{host}:80")
    assert {name for name, _ in seen.asked} == {host}
    assert (seen.reached, seen.inside, seen.bridges) == ([], [], [])
    assert {p.target for p in seen.cable if p.source == HOST} == {DNS}
