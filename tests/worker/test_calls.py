"""Host calls from the program's side, against a peer that answers as the test wants."""

from __future__ import annotations

import json
import pathlib
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from worker import calls, wire

import box as boxes
import engine
import frames
import peer as peers
from conftest import MakeBox

MakePeer = Callable[[], peers.Peer]
VALUE = {"value": "branch"}


@pytest.fixture
def make_peer(tmp_path: pathlib.Path) -> Iterator[MakePeer]:
    made: list[peers.Peer] = []

    def build() -> peers.Peer:
        work = tmp_path / f"work{len(made)}"
        work.mkdir()
        made.append(peers.Peer(work))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def peer(make_peer: MakePeer) -> peers.Peer:
    return make_peer()


def value_of(result: frames.Result) -> Any:
    assert result.exit_code == 0, result.err or result.fault.decode()
    return json.loads(result.value)


# ---- arguments and results ----


def test_awaited_call_gives_the_result(peer: peers.Peer) -> None:
    result = peer.run(
        "import data\ndevices = await data.get_devices()\ndevices['count']",
        lambda name, args: {"count": 99},
        **VALUE,
    )
    assert value_of(result) == 99
    assert peer.calls == [("data.get_devices", {})]


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("get_devices()", {}),
        ("get_devices(k=1)", {"k": 1}),
        ("query_device_history('a', 'b', 'c')",
         {"entity_id": "a", "start_time": "b", "end_time": "c"}),
        ("query_device_history('a', end_time='c', start_time='b', fields=['x'])",
         {"entity_id": "a", "start_time": "b", "end_time": "c", "fields": ["x"]}),
        ("query_device_history('a', 'b', 'c', None)",
         {"entity_id": "a", "start_time": "b", "end_time": "c"}),
        ("search_events()", {}),
        ("search_events('e', limit=100)", {"entity_id": "e", "limit": 100}),
        ("search_events(None, None, 7, more=(1, 2))", {"start_time": None, "limit": 7, "more": [1, 2]}),
        ("search_events(start_time=__import__('datetime').datetime(2026, 1, 2))",
         {"start_time": "2026-01-02T00:00:00"}),
        ("search_events('\\ud800\\u00e9')", {"entity_id": "\ufffdé"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["await data.{}", "data.sync.{}"])
def test_arguments(make_peer: MakePeer, call: str, args: object, form: str) -> None:
    peer = make_peer()
    result = peer.run(f"import data\nx = {form.format(call)}\nx['args']", **VALUE)
    assert (value_of(result), peer.calls[0][1]) == (args, args)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("data.query_device_history('a')",
         "query_device_history() missing 2 required positional arguments: 'start_time' and 'end_time'"),
        ("data.get_devices(1)", "get_devices() takes 0 positional arguments but 1 was given"),
        ("odd.list_users(1, from_='x', other=2)",
         "list_users() got an unexpected keyword argument 'other'"),
        ("data.sync.get_devices(x=object())", "object is no JSON value"),
    ],
)  # fmt: skip
def test_wrong_call_is_a_type_error_at_once(peer: peers.Peer, call: str, message: str) -> None:
    result = peer.run(f"import data, odd\n{call}")
    fault = json.loads(result.fault)
    assert (fault["type"], fault["message"], peer.calls) == ("TypeError", message, [])
    assert result.err.count("File ") == 1


def test_names_that_python_cannot_write(peer: peers.Peer) -> None:
    code = "import odd, tools\nx = await odd.list_users(5, from_='me')\n[x, tools.list('odd')]"
    value = value_of(peer.run(code, **VALUE))
    args = {"page size": 5, "from": "me"}
    assert value == [{"name": "odd.list-users", "args": args}, ["odd.list_users"]]


@pytest.mark.parametrize("size", [0, 65_000, 65_536, 70_000, 300_000])
def test_large_arguments_and_results_come_whole(peer: peers.Peer, size: int) -> None:
    code = f"import data\nx = await data.get_devices(k='\\u00e9' * {size})\nlen(x['args']['k'])"
    assert value_of(peer.run(code, **VALUE)) == size


def test_result_of_ten_mebibytes(peer: peers.Peer) -> None:
    code = "import data\nlen((await data.get_devices()) + data.sync.get_devices())"
    assert value_of(peer.run(code, lambda *_: "x" * (10 << 20), **VALUE)) == 20 << 20


# ---- errors ----


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ToolError", "tools.ToolError"),
        ("PermissionError", "PermissionError"),
        ("TimeoutError", "TimeoutError"),
        ("ValueError", "ValueError"),
        ("SystemExit", "tools.ToolError"),
    ],
)
@pytest.mark.parametrize("form", ["await data.get_devices()", "data.sync.get_devices()"])
def test_error_is_an_exception_where_the_program_called(
    make_peer: MakePeer, kind: str, name: str, form: str
) -> None:
    def fail(*_: object) -> None:
        raise peers.Failing(kind, "MCP tool 'get_devices' failed: 500 - boom")

    result = make_peer().run(f"import data\ndef f():\n    pass\nx = {form}", fail)
    assert result.exit_code == 1
    assert result.err == (
        'Traceback (most recent call last):\n  File "<string>", line 4, in <module>\n'
        f"    x = {form}\n        {'^' * len(form)}\n{name}: MCP tool 'get_devices' failed: 500 - boom\n"
    )
    assert json.loads(result.fault)["type"] == name


def test_traceback_of_gathered_wrapped_and_linked_errors_has_the_programs_frames_only(
    peer: peers.Peer,
) -> None:
    code = """
import asyncio, data
async def f():
    try:
        await asyncio.gather(data.get_devices(), data.get_devices())
    except data.ToolError as error:
        raise RuntimeError('wrapped') from error
await f()
"""

    def fail(*_: object) -> None:
        raise peers.Failing("ToolError", "no")

    result = peer.run(code, fail)
    files = [line for line in result.err.splitlines() if line.startswith("  File")]
    assert [line.split(",")[0] for line in files] == ['  File "<string>"'] * 3
    assert result.err.splitlines()[-1] == "RuntimeError: wrapped"
    assert "tools.ToolError: no" in result.err.splitlines()


def test_error_of_a_thread_has_the_programs_frames_only(peer: peers.Peer) -> None:
    code = (
        "import data, threading\nthreading.Thread(target=lambda: data.sync.get_devices()).start()"
    )

    def fail(*_: object) -> None:
        raise peers.Failing("ToolError", "no")

    result = peer.run(code, fail)
    assert "_oneshot" not in result.err and "worker" not in result.err and "<tool" not in result.err
    assert result.err.splitlines()[-1] == "tools.ToolError: no"


def test_errors_can_be_caught(peer: peers.Peer) -> None:
    code = """
import data, tools
try:
    await data.get_devices()
except tools.ToolError as error:
    {"error": str(error), "same": tools.ToolError is data.ToolError}
"""

    def fail(*_: object) -> None:
        raise peers.Failing("ToolError", "no")

    assert value_of(peer.run(code, fail, **VALUE)) == {"error": "no", "same": True}


# ---- many at once ----


def replies_in_reverse(peer: peers.Peer, count: int) -> frames.Result:
    open_calls = [peer.next_call() for _ in range(count)]
    for ident, _, args in reversed(open_calls):
        peer.reply(ident, {"result": args})
    assert len({ident for ident, _, _ in open_calls}) == count
    return peer.serve()


def test_gathered_calls_are_outstanding_together(peer: peers.Peer) -> None:
    peer.start(
        "import asyncio, data\n"
        "r = await asyncio.gather(*(data.get_devices(n=n) for n in range(1000)))\n"
        "[x['n'] for x in r] == list(range(1000))",
        **VALUE,
    )
    assert value_of(replies_in_reverse(peer, 1000)) is True


def test_calls_of_threads_are_outstanding_together(peer: peers.Peer) -> None:
    peer.start(
        "import data\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(20) as pool:\n"
        "    r = list(pool.map(lambda n: data.sync.get_devices(n=n)['n'], range(20)))\n"
        "r == list(range(20))",
        **VALUE,
    )
    assert value_of(replies_in_reverse(peer, 20)) is True


MIXED = """
import asyncio, data, threading
out = []
def plain(n):
    for _ in range(30):
        out.append(data.sync.get_devices(n=n)['args']['n'] == n)
def looping(n):
    async def main():
        for _ in range(10):
            r = await asyncio.gather(*(data.get_devices(n=n + i) for i in range(5)))
            out.append([x['args']['n'] for x in r] == list(range(n, n + 5)))
            out.append(data.sync.get_devices(n=n)['args']['n'] == n)
    asyncio.run(main())
threads = [threading.Thread(target=f, args=(n,)) for n in range(0, 40, 10) for f in (plain, looping)]
for t in threads: t.start()
for t in threads: t.join()
[len(out), all(out)]
"""


def test_threads_and_loops_share_the_channel(peer: peers.Peer) -> None:
    assert value_of(peer.run(MIXED, **VALUE)) == [200, True]


class Silent(calls.Call):
    """One that nobody waits for."""

    why: bytes | str = ""

    def finish(self, reply: bytes | str) -> None:
        self.why = reply


def test_ids_come_again_only_after_all_others_and_never_while_they_are_outstanding(
    tmp_path: pathlib.Path,
) -> None:
    with open(tmp_path / "channel", "wb") as file:
        all_calls = calls.Calls(wire.Wire(file.fileno()))
        all_calls.open()
        ids = []
        for n in range(70_000):
            ids.append(all_calls.enter(Silent()))
            if n != 5:  # the sixth stays outstanding
                all_calls.deliver(wire.REPLY, 0, ids[-1], b"{}")
        every = list(range(1, 65_536))
        assert ids == (every + every[:5] + every[6:])[:70_000]


def test_more_calls_than_ids_are_refused(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "channel", "wb") as file:
        all_calls = calls.Calls(wire.Wire(file.fileno()))
        all_calls.open()
        assert all(all_calls.enter(Silent()) for _ in range(65_535))
        late = Silent()
        assert (all_calls.enter(late), late.why) == (0, calls.TOO_MANY)
        all_calls.close()
        assert (all_calls.enter(late), late.why) == (0, calls.RUN_IS_OVER)


# ---- loops ----


@pytest.mark.parametrize(
    "code",
    [
        "asyncio.run(main())",
        "asyncio.new_event_loop().run_until_complete(main())",
        "[asyncio.run(main()) for _ in range(3)][2]",
        "await main()",
        "await asyncio.create_task(main())",
        "await asyncio.wait_for(data.get_devices(n=3), 60)",
        "await asyncio.to_thread(data.sync.get_devices, n=3)",
        "(await asyncio.gather(main(), asyncio.to_thread(lambda: asyncio.run(main()))))[1]",
    ],
)
def test_ways_to_await(peer: peers.Peer, code: str) -> None:
    head = "import asyncio, data\nasync def main():\n    return await data.get_devices(n=3)\n"
    assert value_of(peer.run(f"{head}r = {code}\nr['args']['n']", **VALUE)) == 3


def test_call_that_was_given_up_and_its_late_reply(peer: peers.Peer) -> None:
    code = """
import asyncio, data
try:
    await asyncio.wait_for(data.get_devices(n=1), 0.05)
except TimeoutError:
    task = asyncio.create_task(data.get_devices(n=2))
    await asyncio.sleep(0)
    task.cancel()
    [(await data.get_devices(n=3))['n'], task.cancelled(), data.sync.get_devices(n=4)['n']]
"""
    peer.start(code, **VALUE)
    calls = [peer.next_call() for _ in range(3)]
    assert [args["n"] for _, _, args in calls] == [1, 2, 3]
    for ident, _, args in calls:
        peer.reply(ident, {"result": args})
    ident, _, args = peer.next_call()
    peer.reply(ident, {"result": args})
    assert value_of(peer.serve()) == [3, True, 4]
    assert ident not in {number for number, _, _ in calls}


def test_program_ends_while_calls_are_outstanding(peer: peers.Peer) -> None:
    code = """
import asyncio, data, threading
threading.Thread(target=data.sync.get_devices, daemon=True).start()
task = asyncio.create_task(data.get_devices())
await asyncio.sleep(0)
5
"""
    peer.start(code, **VALUE)
    assert value_of(peer.serve(lambda *_: None)) == 5


# ---- several runs ----


def test_later_run_calls_again_and_old_replies_mean_nothing(peer: peers.Peer) -> None:
    peer.start(
        "import asyncio, data\ntask = asyncio.create_task(data.get_devices(n=1))\nawait asyncio.sleep(0)",
        is_kept=True,
    )
    old = peer.next_call()[0]
    while peer.next()[0] != peers.END:
        pass
    peer.reply(old, {"result": "stale" * 50_000})
    peer.start(
        "(await data.get_devices(n=2))['n'] + data.sync.get_devices(n=3)['n']",
        is_kept=True,
        **VALUE,
    )
    for _ in range(2):
        ident, _, args = peer.next_call()
        assert ident != old
        peer.reply(ident, {"result": args})
    assert value_of(peer.serve()) == 5


WAITING = """
import asyncio, data, threading, queue
found = queue.Queue()
def sync(n):
    try:
        data.sync.get_devices(n=n)
    except data.ToolError as error:
        found.put(str(error))
def loop():
    async def main():
        try:
            await data.get_devices(n=9)
        except data.ToolError as error:
            found.put(str(error))
    asyncio.run(main())
for target in (lambda: sync(1), lambda: sync(2), lambda: sync(3), loop):
    threading.Thread(target=target, daemon=True).start()
"""


def test_threads_that_wait_at_the_end_of_a_run_are_told_and_steal_nothing(peer: peers.Peer) -> None:
    peer.start(WAITING + "data.sync.get_devices(n=0)", is_kept=True)
    calls = [peer.next_call() for _ in range(5)]
    peer.reply(next(ident for ident, _, args in calls if args["n"] == 0), {"result": None})
    while peer.next()[0] != peers.END:
        pass
    code = "sorted(found.get(timeout=60) for _ in range(4)) + [data.sync.get_devices(n=5)['args']['n']]"
    text = "MCP tool 'get_devices' connection failed: the run is over"
    assert value_of(peer.run(code, is_kept=True, **VALUE)) == [text] * 4 + [5]
    assert value_of(peer.run("data.sync.get_devices(n=6)['args']['n']", **VALUE)) == 6


def test_tools_of_a_later_run_are_its_own(peer: peers.Peer) -> None:
    code = "import data\nold = data\nawait data.get_devices()"
    assert value_of(peer.run(code, is_kept=True, **VALUE))["name"] == "data.get_devices"
    other = {"modules": [{"name": "device", "functions": [{"name": "f"}]}]}
    code = "import device\nr = [(await device.f())['name']]\ntry:\n    import data\nexcept ImportError as e:\n    r + [str(e)]"
    value = value_of(peer.run(code, is_kept=True, tools=other, **VALUE))
    assert value == ["device.f", "No module named 'data'"]
    code = "import sys\n[n for n in ('data', 'device', 'tools') if n in sys.modules]"
    assert value_of(peer.run(code, is_kept=True, tools={}, **VALUE)) == []


# ---- other processes, a lost channel ----


def test_child_process_cannot_call(peer: peers.Peer) -> None:
    code = """
import asyncio, data, os, multiprocessing as mp
data.sync.get_devices()
def child(queue):
    for call in (data.sync.get_devices, lambda: asyncio.run(data.get_devices())):
        try:
            queue.put(call())
        except data.ToolError as error:
            queue.put(str(error))
queue = mp.get_context('fork').SimpleQueue()
if os.fork() == 0:
    child(queue)
    os._exit(0)
os.wait()
[queue.get(), queue.get(), data.sync.get_devices()['name']]
"""
    text = "MCP tool 'get_devices' connection failed: a child process has no channel to the host"
    assert value_of(peer.run(code, **VALUE)) == [text, text, "data.get_devices"]


def test_closed_channel_is_an_error_of_the_call(peer: peers.Peer) -> None:
    code = "import data, os, time\nos.close(3)\ntry:\n    data.sync.get_devices()\nexcept data.ToolError as e:\n    print(e)"
    peer.start(code)
    peer.process.wait(timeout=peers.DEADLINE_S)
    peer.close()
    text = b"MCP tool 'get_devices' connection failed: the channel to the host is closed\n"
    assert peer.output["stdout"] == text


def test_interrupt_leaves_a_call_and_the_next_one_works(peer: peers.Peer) -> None:
    code = """
import data, signal, threading
def interrupt(*_): raise KeyError('stop')
signal.signal(signal.SIGUSR1, interrupt)
sleeper = threading.Thread(target=lambda: data.sync.get_devices(n=2))
try:
    sleeper.start()
    data.sync.get_devices(n=1)
except KeyError:
    pass
sleeper.join()
data.sync.get_devices(n=3)['n']
"""
    peer.start(code, **VALUE)
    calls = [peer.next_call() for _ in range(2)]
    peer.wait_asleep()
    peer.process.send_signal(10)
    for ident, _, args in calls:
        if args["n"] == 2:
            peer.reply(ident, {"result": args})
    ident, _, args = peer.next_call()
    peer.reply(ident, {"result": args})
    assert value_of(peer.serve()) == 3


def test_deadline_while_a_call_is_outstanding_keeps_what_was_printed(peer: peers.Peer) -> None:
    peer.start("import data, sys\nsys.stdout.write('before')\ndata.sync.get_devices()")
    peer.next_call()
    peer.process.send_signal(24)
    kind, _, _, data = peer.next()
    assert (kind, data[0]) == (peers.END, 128 + 24)
    peer.close()
    assert peer.output["stdout"] == b"before"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_call_of_a_signal_handler_interrupts_another(
    peer: peers.Peer, order: tuple[int, int]
) -> None:
    code = """
import data, signal
found = []
signal.signal(signal.SIGUSR1, lambda *_: found.append(data.sync.get_devices(n=2)["n"]))
found.append(data.sync.get_devices(n=1)["n"])
found
"""
    peer.start(code, **VALUE)
    asked = [peer.next_call()]
    peer.wait_asleep()
    peer.process.send_signal(10)
    asked.append(peer.next_call())
    for n in order:
        peer.wait_asleep()
        peer.reply(asked[n][0], {"result": asked[n][2]})
    assert value_of(peer.serve()) == [2, 1]


def test_interrupted_call_that_sleeps_does_not_keep_the_handlers_from_reading(
    peer: peers.Peer,
) -> None:
    code = """
import data, signal, threading
found = []
signal.signal(signal.SIGUSR1, lambda *_: found.append(data.sync.get_devices(n=3)["n"]))
first = threading.Thread(target=data.sync.get_devices, kwargs={"n": 1})
first.start()
data.sync.get_devices(n=0)
found.append(data.sync.get_devices(n=2)["n"])
found
"""
    peer.start(code, **VALUE)
    asked = {}
    for n in range(4):
        ident, _, args = peer.next_call()
        asked[args["n"]] = ident
        if args["n"] == 0:
            peer.reply(ident, {"result": None})
        elif n == 2:
            peer.wait_asleep()
            peer.process.send_signal(10)
    for n in (1, 3, 2):
        peer.wait_asleep()
        peer.reply(asked[n], {"result": {"n": n}})
    assert value_of(peer.serve()) == [3, 2]


def test_default_timeout_of_sockets_is_none_of_the_channel(peer: peers.Peer) -> None:
    code = "import data, socket\nsocket.setdefaulttimeout(0.01)\nawait data.get_devices()"
    for _ in range(2):
        assert value_of(peer.run(code, is_kept=True, **VALUE))["name"] == "data.get_devices"
        # It waits for a job, longer than that.
        assert select.select([peer.socket], [], [], 0.2)[0] == []
    assert value_of(peer.run("socket.getdefaulttimeout()", **VALUE)) == 0.01


# ---- programs that are checked ----


def test_checked_stands_before_the_first_call(peer: peers.Peer) -> None:
    rules = {"names": ["eval"], "messages": {"name": "Use of '{x}' is not allowed"}}
    peer.start("import data\ndata.sync.get_devices()", validation=rules)
    assert peer.next()[0] == peers.CHECKED
    peer.reply(peer.next_call()[0], {})
    assert peer.serve().exit_code == 0


def test_refused_program_has_no_call_and_no_tree(peer: peers.Peer) -> None:
    rules = {"names": ["eval"], "messages": {"name": "Use of '{x}' is not allowed"}}
    result = peer.run("import data\ndata.sync.get_devices()\neval", validation=rules)
    fault = json.loads(result.fault)
    assert (fault["type"], fault["message"]) == ("SecurityError", "Use of 'eval' is not allowed")
    assert (peer.calls, (peer.work / "workspace").exists(), result.err) == ([], False, "")


# ---- through the real warden ----


def next_call_of(box: boxes.Box) -> tuple[int, dict[str, object]]:
    whole = b""
    deadline = time.monotonic() + engine.DEADLINE_S
    while True:
        kind, flags, ident, data = box.next(deadline)
        if kind == frames.CALL:
            whole += data
            if not flags & frames.MORE:
                return ident, json.loads(whole)


def reply_parts(ident: int, content: object) -> bytes:
    data = json.dumps(content).encode()
    cut = [data[at : at + frames.MAX] for at in range(0, len(data), frames.MAX)]
    return b"".join(
        frames.frame(frames.REPLY, part, frames.MORE * (number < len(cut) - 1), ident)
        for number, part in enumerate(cut)
    )


def test_calls_and_large_replies_pass_the_warden(make: MakeBox) -> None:
    box = make()
    tools = {"workspace": "/tmp/mcp_workspace", "modules": peers.MODULES}
    meta = {"tools": tools, "await": True, **VALUE}
    code = """
import asyncio, data, os
print("before")
many = await asyncio.gather(*(data.get_devices(n=n, text="y" * 100_000) for n in range(5)))
[len(x) for x in many] + [data.sync.get_devices(), os.listdir(os.environ["MCP_WORKSPACE_DIR"])]
"""
    for _ in range(2):
        box.start(code, meta=meta, flags=frames.KEEP)
        asked = [next_call_of(box) for _ in range(5)]
        assert [content["args"]["n"] for _, content in asked] == list(range(5))  # type: ignore[index]
        for ident, content in reversed(asked):
            assert len(content["args"]["text"]) == 100_000  # type: ignore[index]
            box.send(reply_parts(ident, {"result": "x" * (2 << 20)}))
        ident, _ = next_call_of(box)
        box.send(reply_parts(ident, {"result": 7}))
        value = value_of(box.wait())
        assert value[:-1] == [2 << 20] * 5 + [7] and sorted(value[-1]) == ["index.md", "servers"]
