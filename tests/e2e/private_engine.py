"""A container engine in namespaces of its own, with a small internet beside it.

Nothing of it touches the machine's network or the machine's engine, and nothing outlives its
processes: mounts and networks are gone with the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import engine
from service import PROGRAM, Service, wait_for

CLONE_NEWNET = 0x40000000
ETH_P_ALL, ETH_P_IP, ETH_P_ARP = 0x0003, 0x0800, 0x0806
START_S = 120.0
STOP_S = 30.0
READ = 1 << 16

LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


class Netns:
    """A network namespace that is there while a process, a socket or this object uses it."""

    def __init__(self, path: str = "") -> None:
        """A new one, or the one that a file stands for."""
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else self._make()

    @staticmethod
    def _make() -> int:
        made: list[int | OSError] = []

        def work() -> None:  # in a thread of its own, which takes the namespace with it
            try:
                checked(LIBC.unshare(CLONE_NEWNET))
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            except OSError as e:
                made.append(e)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets, threads and processes that are made within belong to it."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(LIBC.setns(self.fd, CLONE_NEWNET))
            try:
                yield
            finally:
                checked(LIBC.setns(back, CLONE_NEWNET))
        finally:
            os.close(back)

    def run(self, *words: str) -> str:
        with self.entered():
            return command(*words)

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True)
class Packet:
    interface: str
    kind: int  # as the frame's head says
    source: str = ""
    target: str = ""
    port: int = 0  # of the target

    @classmethod
    def read(cls, interface: str, data: bytes) -> Packet:
        """Of what is no IPv4 only interface and kind are told."""
        kind = int.from_bytes(data[12:14], "big")
        if len(data) < 34 or kind != ETH_P_IP:
            return cls(interface, kind)
        ip = data[14:]
        rest = ip[(ip[0] & 15) * 4:]
        has_ports = ip[9] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(rest) >= 4
        return cls(interface, kind, socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20]),
                   struct.unpack("!H", rest[2:4])[0] if has_ports else 0)


class Capture:
    """All packets on all interfaces of a namespace but its loopback, whichever way they go."""

    def __init__(self, place: Netns) -> None:
        with place.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setblocking(False)

    def take(self) -> list[Packet]:
        """Those since the last time."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, address = self.socket.recvfrom(READ)
                if address[0] != "lo":
                    found.append(Packet.read(address[0], data))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class NameServer:
    """Answers with the addresses of a table, which may be empty: no such name. Keeps silent on
    names of `silent`. Notes what it was asked, and from where."""

    def __init__(self, address: str, names: dict[str, str], silent: tuple[str, ...] = ()) -> None:
        self.names, self.silent = names, silent
        self.asked: list[tuple[str, str]] = []
        self.is_closed = False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            query, client = self.socket.recvfrom(READ)
            if self.is_closed:
                return
            if len(query) < 17:
                continue
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1: at + 1 + query[at]].decode())
                at += 1 + query[at]
            name = ".".join(labels).lower()
            self.asked.append((name, client[0]))
            if name not in self.silent:
                self.socket.sendto(self._answer(query, query[12: at + 5], name), client)

    def _answer(self, query: bytes, question: bytes, name: str) -> bytes:
        is_known = name in self.names
        records = b""
        if is_known and question[-4:] == b"\0\1\0\1":
            address = socket.inet_aton(self.names[name])
            records = b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 60, 4) + address
        head = struct.pack("!HHHHH", 0x8180 if is_known else 0x8183, 1, bool(records), 0, 0)
        return query[:2] + head + question + records

    def close(self) -> None:
        self.is_closed = True
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


# ---- the engine ----

BRIDGE = "172.31.99"
GATEWAY = f"{BRIDGE}.1"
# Addresses that count as public. In these namespaces they lead to the tests' own servers.
HOST, WWW, DNS = "9.9.9.1", "9.9.9.80", "9.9.9.53"
METADATA, INNER = "169.254.169.254", "10.9.9.9"

# In mount and process namespaces of its own; its first process is the engine.
ENGINE = """
mount -t tmpfs tmpfs /run
mount -t tmpfs -o size=2g tmpfs "$1/data"
mount --bind "$1/resolv.conf" /etc/resolv.conf
exec dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root /run/docker \\
    --pidfile /run/docker.pid --host "unix://$1/docker.sock" \\
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$2" --bip "$3" --log-level warn
"""
# It goes when these tests are killed, and takes all of its own with it.
PRIVATE = ["setpriv", "--pdeathsig", "KILL",
           "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def obstacle() -> str:
    """Why there can be no such engine here, empty where there can."""
    if os.geteuid() != 0:
        return "only root can make namespaces"
    for program in ("dockerd", "iptables", "ip"):
        if not shutil.which(program):
            return f"there is no {program}"
    done = subprocess.run([*PRIVATE, "--net", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


class PrivateEngine:
    """`net` is where its bridges are; `far` is connected to it as the internet is to a machine."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.socket = str(home / "docker.sock")
        self.log_path = home / "dockerd.log"
        self.cgroup = f"/oneshot-test-{os.getpid():x}-{time.monotonic_ns() & 0xFFFFFF:x}"
        self.process: subprocess.Popen[bytes] | None = None
        self.stack = contextlib.ExitStack()
        self.net, self.far = Netns(), Netns()
        self.stack.callback(self.net.close)
        self.stack.callback(self.far.close)

    def start(self) -> Self:
        (self.home / "data").mkdir()
        (self.home / "daemon.json").write_text("{}")
        (self.home / "resolv.conf").write_text(
            f"nameserver {DNS}\noptions timeout:15 attempts:1\n")
        self._connect()
        with self.net.entered(), self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*PRIVATE, "sh", "-ec", ENGINE, "sh", str(self.home), self.cgroup, f"{GATEWAY}/24"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.stack.callback(self._end)
        wait_for(self._answers, START_S, "the private engine")
        return self

    def _connect(self) -> None:
        """One cable; behind it the internet, an inner network and a cloud's metadata."""
        # No neighbour discovery: what a capture shows somebody sent.
        for place in (self.net, self.far):
            with place.entered():
                for name in ("all", "default"):
                    path = pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
                    if path.exists():
                        path.write_text("1")
            place.run("ip", "link", "set", "lo", "up")
        self.net.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far",
                    "netns", self.far.path)
        self.net.run("ip", "address", "add", f"{HOST}/24", "dev", "near")
        self.net.run("ip", "link", "set", "near", "up")
        for address in (f"{WWW}/24", f"{DNS}/24", f"{INNER}/32", f"{METADATA}/32"):
            self.far.run("ip", "address", "add", address, "dev", "far")
        self.far.run("ip", "link", "set", "far", "up")
        for target in (INNER, METADATA):
            self.net.run("ip", "route", "add", target, "dev", "near")

    def _answers(self) -> bool:
        assert self.process and self.process.poll() is None, self.log_path.read_text()
        try:
            return bool(engine.call("GET", "/info", at=self.socket))
        except (OSError, RuntimeError):
            return False

    def first_process(self) -> int:
        assert self.process
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(tasks.read_text().split()[0])

    def docker(self, *words: str) -> str:
        return command("docker", "--host", f"unix://{self.socket}", *words)

    def load(self, image: str) -> None:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
            subprocess.run(["docker", "--host", f"unix://{self.socket}", "load", "--quiet"],
                           stdin=save.stdout, stdout=subprocess.DEVNULL, timeout=START_S,
                           check=True)
        assert save.returncode == 0

    def network_of(self, container: str) -> Netns:
        """The namespace of one of its containers, which the caller closes."""
        key = self.docker("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", container)
        place = key.removeprefix("/var")  # where /var/run is a link, it is this system's
        return Netns(f"/proc/{self.first_process()}/root{place}")

    def _end(self) -> None:
        """The engine first, so that it ends its containers; whatever is left goes with process 1
        of its namespace."""
        assert self.process
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(self.first_process(), signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()  # --kill-child
                self.process.wait(STOP_S)
        for top in (CGROUPS, *CGROUPS.iterdir()):
            for place in sorted((top / self.cgroup[1:]).rglob("**/"), reverse=True):
                wait_for(lambda p=place: removed(p), STOP_S, f"removal of {place}")

    def remove(self) -> None:
        self.stack.close()


def removed(place: pathlib.Path) -> bool:
    """A control group can be removed when the last of its processes is gone."""
    try:
        place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@dataclass
class PrivateService(Service):
    """A service at a private engine, in its network, with its file of name servers."""

    place: PrivateEngine = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.engine_socket = self.place.socket

    def environment(self) -> dict[str, str]:
        return super().environment() | {"DOCKER_HOST": f"unix://{self.engine_socket}"}

    def command(self, *arguments: str) -> list[str]:
        mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounted, str(self.place.home / "resolv.conf"),
                str(PROGRAM), *arguments]

    def launch(self) -> Self:
        with self.place.net.entered():
            return super().launch()

    def ask(self, *words: Any, **more: Any) -> Any:
        with self.place.net.entered():
            return super().ask(*words, **more)
