"""An event loop with virtual time, and threads that take turns with it, so that a seed determines everything that happens.

Time moves only when nothing is left to do: it jumps to the next timer. Timers of the same moment fire in an order that the seed
chooses. Work in a thread runs in a real thread, but only one thread runs at a time: the loop waits until the thread
pauses or ends. So a thread can hang, or the process can die, between any two steps of its work.
"""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import Context
from typing import Any

_TIE_SECONDS = 1e-6  # timers that are closer than this fire in random order
_STEPS_MAX = 2_000_000


class WaitsForever(Exception):
    """Nothing is left to do and no timer is set, so the simulation would wait forever."""


class _VirtualSelector:
    """Takes the place of the operating system's wait for input and timers."""

    def __init__(self, loop: "VirtualTimeLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Advance the virtual time by `timeout` seconds, instead of waiting."""
        self._loop.advance(timeout)
        return []

    def close(self) -> None:
        """Do nothing."""


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop whose time is virtual and whose choices come from a seeded random generator."""

    def __init__(self, random_: random.Random) -> None:
        super().__init__()
        self._random, self._now, self._steps = random_, 0.0, 0
        self._selector = _VirtualSelector(self)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def advance(self, seconds: float | None) -> None:
        """Advance the time. None means that nothing would ever wake the loop."""
        self._steps += 1
        if seconds is None or self._steps > _STEPS_MAX:
            raise WaitsForever(f"at {self._now:.3f} s, after {self._steps} steps")
        self._now += seconds

    def block(self, seconds: float) -> None:
        """Advance the time while the loop does nothing, as a blocking call in a callback does."""
        self._now += seconds

    def call_at(  # type: ignore[override] # the types of the arguments do not matter here
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer; move it a little, so that the order of timers of the same moment is random."""
        return super().call_at(when + self._random.random() * _TIE_SECONDS, callback, *args, context=context)

    def _process_events(self, _events: list[Any]) -> None:
        """Do nothing, because there is no input."""

    def _write_to_self(self) -> None:
        """Do nothing: a thread never runs while the loop waits, so nobody needs to wake it."""


class _Runner:
    """A real thread that runs one piece of work after another, each on request."""

    _idle: "list[_Runner]" = []  # noqa: RUF012 - all simulations share the threads, because starting one costs 0.1 ms

    def __init__(self) -> None:
        self.go, self.back = threading.Lock(), threading.Lock()  # locked: wait; faster than semaphores
        self.go.acquire()
        self.back.acquire()
        self.work: Callable[[], None] | None = None
        threading.Thread(target=self._run, name="virtual", daemon=True).start()

    @classmethod
    def take(cls) -> "_Runner":
        """Return an idle runner, or a new one."""
        return cls._idle.pop() if cls._idle else cls()

    def _run(self) -> None:
        """Run work until the process ends."""
        while True:
            self.go.acquire()
            assert self.work is not None
            self.work()
            self.work = None
            self._idle.append(self)
            self.back.release()


class VirtualThread:
    """One piece of work in a real thread, which runs only while the event loop waits for it.

    Attributes:
        current: The thread that runs now; None while the event loop runs.
        timer: The timer that resumes the thread; None before the start.
        alive: False after the work has ended.
    """

    current: "VirtualThread | None" = None

    def __init__(
        self, loop: VirtualTimeLoop, work: Callable[[], None], ended: Callable[["VirtualThread"], None]
    ) -> None:
        """Create the thread without starting it. It calls `ended`, on the loop's side, after the work."""
        self._loop, self._work, self._ended = loop, work, ended
        self._runner: _Runner | None = None
        self._pause = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.alive = True

    def start(self, delay: float) -> None:
        """Start the thread after some virtual seconds."""
        self.timer = self._loop.call_later(delay, self.resume)

    def resume(self) -> None:
        """Run the thread until it pauses or ends. Call this on the event loop."""
        self._run_a_part()
        if self.alive:
            self.timer = self._loop.call_later(self._pause, self.resume)
        else:
            self._ended(self)

    def pause(self, seconds: float) -> None:
        """Run the event loop for some virtual seconds. Call this in the thread itself."""
        assert self._runner is not None
        self._pause = seconds
        self._runner.back.release()
        self._runner.go.acquire()

    def finish(self) -> None:
        """Run the thread to its end, without virtual time. A thread that has not started never runs."""
        if self.timer is not None:
            self.timer.cancel()
        while self.alive and self._runner is not None:
            self._run_a_part()

    def _run_a_part(self) -> None:
        """Run the thread until it pauses or ends."""
        if self._runner is None:
            self._runner = _Runner.take()
            self._runner.work = self._run
        before, VirtualThread.current = VirtualThread.current, self
        self._runner.go.release()
        self._runner.back.acquire()
        VirtualThread.current = before

    def _run(self) -> None:
        """Run the work in the thread."""
        try:
            self._work()
        finally:
            self.alive = False


class VirtualExecutor(Executor):
    """Runs work in at most `count` virtual threads. Work that waits for a thread starts in the order of its submission."""

    def __init__(self, loop: VirtualTimeLoop, random_: random.Random, count: int) -> None:
        self._loop, self._random, self._count = loop, random_, count
        self._waiting: deque[Callable[[], None]] = deque()
        self._running: list[VirtualThread] = []
        self._abandoned = False

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run work in a virtual thread."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = work(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        if not self._abandoned:
            self._waiting.append(run)
            self._start_waiting()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """Accept no more work. To wait means that the event loop does nothing until every thread has ended."""
        if cancel_futures:
            self._waiting.clear()
        while wait and self._running:
            timers = [thread.timer for thread in self._running if thread.timer is not None]
            timer = min(timers, key=lambda timer: timer.when())
            self._loop.block(max(0.0, timer.when() - self._loop.time()))
            timer.cancel()
            next(thread for thread in self._running if thread.timer is timer).resume()

    def abandon(self) -> None:
        """End every thread, as the death of the process does."""
        self._abandoned = True
        self._waiting.clear()
        for thread in list(self._running):
            thread.finish()
        self._running.clear()

    @property
    def busy(self) -> int:
        """Return the number of threads that work."""
        return len(self._running)

    def _start_waiting(self) -> None:
        """Start waiting work while a thread is free. It begins after a short, random time."""
        while self._waiting and len(self._running) < self._count:
            thread = VirtualThread(self._loop, self._waiting.popleft(), self._end)
            self._running.append(thread)
            thread.start(self._random.expovariate(2000.0))

    def _end(self, thread: VirtualThread) -> None:
        """Free a thread, and start the next work."""
        if thread in self._running:
            self._running.remove(thread)
        self._start_waiting()
