"""Imports the policy's libraries while the container is parked.

A container may be taken before that is done, and a program that does not need the libraries must
not wait for them. So a second thread imports, and asks before each further import whether a job has
come. If so it stands still, half-way through: the modules that it has begun are taken out of
sys.modules, as if they had never been asked for, and the program starts. Their locks stay with the
thread. Whoever imports one of them comes upon such a lock; then the modules are put back, the
thread finishes what it began, and the import goes on as it would between any two threads. The same
happens before a fork, where a child would find the locks taken for ever.
"""

from __future__ import annotations

import _imp
import _thread
import gc
import os
import sys

from . import ending, plots, rehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

SHORT_SWITCH_S = 0.0005  # the importing thread gives way to an arriving job after so long
RECHECK_S = 0.02
FORK_S = 60.0  # the rest of a library takes its time on a busy machine
FOR_EVER_S = 1e9

RUNNING, HELD, DONE = range(3)
FORKS = ("os.fork", "os.forkpty")


class Warmer:
    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.state = DONE
        self.is_asked = False
        self.has_traces = True
        self.switch_s = sys.getswitchinterval()
        self.ident = 0
        self.still = _thread.allocate_lock()  # free once the thread stands still or is done
        self.gate = _thread.allocate_lock()  # the thread waits here
        self.done = _thread.allocate_lock()  # free once it is done
        self.resuming = _thread.allocate_lock()
        self.watches_forks = False
        self.hidden: dict[str, ModuleType] = {}
        self.filters: object = None
        self.outer_filters: object = None
        self.locks = getattr(sys.modules["_frozen_importlib"], "_ModuleLock", None)
        self.acquire = getattr(self.locks, "acquire", None)

    # ---- in the main thread ----

    def start(self) -> None:
        for lock in (self.still, self.gate, self.done):
            lock.acquire()
        import warnings

        self.outer_filters = warnings.filters
        self.state = RUNNING
        sys.meta_path.insert(0, self)
        sys.setswitchinterval(SHORT_SWITCH_S)
        gc.disable()
        _thread.start_new_thread(self.work, ())

    def ask(self) -> None:
        """A job is coming."""
        self.is_asked = True

    def hold(self) -> None:
        """Returns once nothing is imported any more and nothing half-imported can be seen."""
        if self.state != DONE:
            with self.still:
                pass
        if not self.has_traces:
            return
        self.has_traces = False
        if self.ident:
            self.leave_no_trace()
        if self.state == HELD:
            self.hide()
        # What is there is no garbage: the collector need not look at it in the program's time.
        gc.freeze()
        gc.enable()

    def resume(self, limit_s: float = FOR_EVER_S) -> None:
        """Lets the thread finish the library that it is at, and waits for that."""
        with self.resuming:
            if self.state != HELD:
                return
            self.state = RUNNING
            ending.Parked.threads = 0
            if self.locks is not None:
                self.locks.acquire = self.acquire
            sys.modules.update(self.hidden)
            self.hidden = {}
            program_filters = self.swap_filters(self.filters)
            self.gate.release()
            waited = 0.0
            while not self.done.acquire(True, RECHECK_S):
                waited += RECHECK_S
                if self.waits_for_me() or waited > limit_s:
                    break
            self.swap_filters(program_filters)
            forget_thread(self.ident)
            plots.arm(plots.State.wants_figures)

    def hide(self) -> None:
        if self.locks is None or self.acquire is None:
            # An import system that is not known here: the program waits rather than see half.
            self.resume()
            return
        begun = [name for name, module in list(sys.modules.items()) if is_begun(module)]
        for name in list(sys.modules):
            if any(name == root or name.startswith(root + ".") for root in begun):
                self.hidden[name] = sys.modules.pop(name)
        self.filters = self.swap_filters(self.outer_filters)
        plain, ident, resume = self.acquire, self.ident, self.resume

        def acquire(lock: object) -> bool:
            if lock.owner == ident and _thread.get_ident() != ident:  # type: ignore[attr-defined]
                resume()
            return bool(plain(lock))

        self.locks.acquire = acquire
        ending.Parked.threads = 1
        if not self.watches_forks:
            self.watches_forks = True
            # Hooks of libraries take locks before a fork, logging's for one, that the thread may
            # need: the audit event comes before all of them, ours only before the older ones. It
            # is for subprocess's preexec_fn, which has no event.
            sys.addaudithook(self.before_fork)
            os.register_at_fork(before=self.before_fork)

    def before_fork(self, event: str = "os.fork", _: object = None) -> None:
        if self.state == HELD and event in FORKS:
            self.resume(FORK_S)

    def leave_no_trace(self) -> None:
        """Of the thread and of how it was made to run."""
        # Another list: the thread may be going through the old one.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
        sys.setswitchinterval(self.switch_s)
        forget_thread(self.ident)

    def swap_filters(self, filters: object) -> object:
        """Libraries import within warnings.catch_warnings(): what that has put aside meanwhile."""
        import warnings

        old, warnings.filters = warnings.filters, filters  # type: ignore[assignment]
        warnings._filters_mutated()  # type: ignore[attr-defined]
        return old

    def waits_for_me(self) -> bool:
        """The thread needs a module that this one is importing: both must go on."""
        blocking = getattr(sys.modules["_frozen_importlib"], "_blocking_on", {})
        lock = blocking.get(self.ident)
        return getattr(lock, "owner", None) == _thread.get_ident()

    # ---- in the importing thread ----

    def work(self) -> None:
        self.ident = _thread.get_ident()
        try:
            for name in self.names:
                if self.is_asked:
                    break
                self.take(name)
        finally:
            self.state = DONE
            self.done.release()
            if self.still.locked():
                self.still.release()

    def take(self, name: str) -> None:
        try:
            __import__(name)
            rehearse = rehearsal.LIBRARIES.get(name.partition(".")[0])
            if rehearse is not None:
                rehearse(self.checkpoint)
        except BaseException:
            pass  # whatever is wrong with the library, the program that imports it will see

    def checkpoint(self) -> None:
        if self.is_asked and self.state == RUNNING and self.still.locked():
            self.state = HELD
            self.still.release()
            self.gate.acquire()

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """As a finder in sys.meta_path: called before each import, knows no module."""
        if self.is_asked and _thread.get_ident() == self.ident:
            # The import system's own lock is held around finders: nobody else could import.
            try:
                _imp.release_lock()
            except RuntimeError:
                return  # a library asks the finders by itself
            try:
                self.checkpoint()
            finally:
                _imp.acquire_lock()


def is_begun(module: ModuleType) -> bool:
    # By the dictionary: modules that load themselves lazily would do so at any other look.
    names = getattr(module, "__dict__", {})
    return bool(getattr(names.get("__spec__"), "_initializing", False))


def forget_thread(ident: int) -> None:
    """threading knows it only if a library has asked for the current thread meanwhile."""
    sys.modules["threading"]._active.pop(ident, None)
