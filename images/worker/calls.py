"""Host calls: requests of the program that the front answers, over the control channel.

There is no thread of ours that reads. Whoever waits for a reply reads, and hands what is not its
own to those who wait for it: of the threads that wait one is the leader and reads, the others
sleep; an event loop watches the channel as long as replies to its tasks are due. Bytes are read
under one lock and only when some are there, so that nobody who was woken for nothing blocks in it.

At the end of a run nobody may read any more: the next frames are the worker's own next job.
"""

from __future__ import annotations

import _thread
import json
import os
import select
import sys

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

IDS = 0xFFFF

# In place of a reply: why there is none.
RUN_IS_OVER = "the run is over"
CHANNEL_IS_LOST = "the channel to the host is closed"
IN_CHILD = "a child process has no channel to the host"
TOO_MANY = f"more than {IDS} calls are outstanding"


class Call:
    """One that is outstanding. Its id is in use until the reply came, even if nobody waits."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def finish(self, reply: bytes | str) -> None:
        """Called once, under the guard, by whoever has read the reply."""
        raise NotImplementedError


class ThreadCall(Call):
    """A thread waits for it."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls
        self.thread = _thread.get_ident()
        self.reply: bytes | str | None = None
        self.outer: ThreadCall | None = None  # that it interrupts: made by a signal handler
        self.gate = _thread.allocate_lock()  # whoever does not read waits here
        self.gate.acquire()

    def finish(self, reply: bytes | str) -> None:
        self.reply = reply
        self.calls.wake(self)


class LoopCall(Call):
    """A task waits for it, or did so before it was cancelled."""

    def __init__(self, calls: Calls, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.calls = calls
        self.loop = loop
        self.future: asyncio.Future[bytes | str] = loop.create_future()

    def finish(self, reply: bytes | str) -> None:
        if sys.modules["asyncio"]._get_running_loop() is self.loop:
            self.settle(reply)
            return
        try:
            self.loop.call_soon_threadsafe(self.settle, reply)
        except RuntimeError:
            pass  # the loop is closed

    def settle(self, reply: bytes | str) -> None:
        self.calls.unwatch(self.loop)
        if not self.future.done():
            self.future.set_result(reply)


class Calls:
    """Of one worker, over all its runs."""

    def __init__(self, channel: wire.Wire) -> None:
        self.channel = channel
        self.is_open = False
        self.last_id = 0
        self.pending: dict[int, Call] = {}
        self.leader: ThreadCall | None = None  # its thread reads
        self.asleep: dict[ThreadCall, None] = {}
        self.loops: dict[asyncio.AbstractEventLoop, int] = {}  # that watch, and how many calls
        self.waker = -1
        self.reading = _thread.RLock()
        self.guard = _thread.RLock()  # of the fields above; never held while something blocks

    # ---- begin and end of a run ----

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        """Nobody reads from here on. Who still waits is told."""
        with self.reading:
            self.is_open = False
        self.finish_all(RUN_IS_OVER)

    def finish_all(self, why: str) -> None:
        with self.guard:
            while self.pending:
                self.pending.popitem()[1].finish(why)

    # ---- calls ----

    def wait(self, kind: str, name: str, args: bytes) -> bytes | str:
        """Blocks the thread. The reply, or why there is none."""
        if os.getpid() != self.channel.pid:
            return IN_CHILD
        call = ThreadCall(self)
        self.start(call, kind, name, args)
        try:
            while call.reply is None:
                if self.leads(call):
                    self.read_for(call)
                else:
                    call.gate.acquire()
        finally:
            self.leave(call)
        return call.reply

    async def ask(self, kind: str, name: str, args: bytes) -> bytes | str:
        """The same for a task."""
        import asyncio

        if os.getpid() != self.channel.pid:
            return IN_CHILD
        loop = asyncio.get_running_loop()
        call = LoopCall(self, loop)
        self.watch(loop)
        self.start(call, kind, name, args)
        return await call.future

    def start(self, call: Call, kind: str, name: str, args: bytes) -> None:
        ident = self.enter(call)
        if not ident:
            return
        head = json.dumps({"kind": kind, "name": name}).encode()
        try:
            self.channel.send_parts(wire.CALL, b'%s,"args":%s}' % (head[:-1], args), ident)
        except wire.Lost:
            self.finish_all(CHANNEL_IS_LOST)

    def enter(self, call: Call) -> int:
        """
        Gives the call an id that is not in use; all others have their turn before one comes again.
        0: it cannot be made, and is finished.
        """
        with self.guard:
            if not self.is_open or len(self.pending) >= IDS:
                call.finish(TOO_MANY if self.is_open else RUN_IS_OVER)
                return 0
            while True:
                self.last_id = self.last_id % IDS + 1
                if self.last_id not in self.pending:
                    self.pending[self.last_id] = call
                    return self.last_id

    # ---- replies ----

    def read_some(self) -> None:
        """Takes what is there, if anything is."""
        if os.getpid() != self.channel.pid:
            return
        with self.reading:
            if not self.is_open:
                return
            try:
                if not self.channel.is_ours():
                    raise wire.Lost
                if not select.select([self.channel.fd], [], [], 0)[0]:
                    return
                self.channel.fill()
            except wire.Lost:
                self.finish_all(CHANNEL_IS_LOST)
                return
            while (frame := self.channel.take()) is not None:
                self.deliver(*frame)

    def deliver(self, kind: int, flags: int, ident: int, data: bytes) -> None:
        with self.guard:
            call = self.pending.get(ident) if kind == wire.REPLY else None
            if call is None:
                return
            call.parts.append(data)
            if not flags & wire.MORE:
                del self.pending[ident]
                call.finish(b"".join(call.parts))

    # ---- threads ----

    def leads(self, call: ThreadCall) -> bool:
        """True: its thread is the one to read. False: it is to wait at its gate."""
        with self.guard:
            leader = self.leader
            if call.reply is not None:
                call.gate.release()
                return False
            if leader is None or leader.thread == call.thread:
                if leader is not call:
                    call.outer, self.leader = leader, call
                return True
            self.asleep[call] = None
            return False

    def read_for(self, call: ThreadCall) -> None:
        if self.waker < 0:
            self.waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        poller = select.poll()
        poller.register(self.channel.fd, select.POLLIN)
        poller.register(self.waker, select.POLLIN)
        while call.reply is None:
            if (self.waker, select.POLLIN) in poller.poll():
                os.eventfd_read(self.waker)
            self.read_some()

    def leave(self, call: ThreadCall) -> None:
        """It waits no more, for whatever reason. Somebody else has to read."""
        with self.guard:
            self.asleep.pop(call, None)
            if self.leader is call:
                self.leader = call.outer
                if call.outer is not None:
                    self.poke()  # its poll goes on, although its reply may have been read here
            if self.leader is None and self.asleep:
                # The last, for an earlier one may be what a signal handler's call interrupts.
                self.wake(next(reversed(self.asleep)))

    def wake(self, call: ThreadCall) -> None:
        if call in self.asleep:
            del self.asleep[call]
            call.gate.release()
        elif self.leader is call and call.thread != _thread.get_ident():
            self.poke()

    def poke(self) -> None:
        """The leader looks whether it has its reply."""
        if self.waker >= 0:
            os.eventfd_write(self.waker, 1)

    # ---- event loops ----

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.guard:
            for other in [other for other in self.loops if other.is_closed()]:
                del self.loops[other]
            count = self.loops.get(loop, 0)
            self.loops[loop] = count + 1
        if count == 0:
            loop.add_reader(self.channel.fd, self.read_some)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.guard:
            count = self.loops.pop(loop, 0) - 1
            if count > 0:
                self.loops[loop] = count
                return
        if not loop.is_closed():
            loop.remove_reader(self.channel.fd)
