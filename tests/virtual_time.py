"""Virtual time: threads and calls that take turns in its order, one at a time, and nobody waits for real."""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class KilledError(BaseException):
    """Raised in a task that was killed, wherever it waits."""


class VirtualTime:
    """A clock that jumps from one thing that is due to the next; `passing` is told how far before each jump."""

    def __init__(self, passing: Callable[[float], None]) -> None:
        self.now = 1000.0
        self._passing = passing
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._own = threading.local()

    def __call__(self) -> float:
        return self.now

    def at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it so many seconds from now."""
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), call))

    def turn(self) -> None:
        """Jump to what is due next, and do it."""
        due, _, call = heapq.heappop(self._due)
        self._passing(due - self.now)
        self.now = due
        call()

    def begin(self, work: Callable[[], None]) -> "Task":
        """A task that begins as soon as it is its turn."""
        task = Task(work, self._own)
        self.at(0.0, task.resume)
        return task

    @property
    def task(self) -> "Task":
        """The one that asks."""
        found: Task = self._own.task
        return found

    def sleep(self, seconds: float) -> None:
        """For tasks only."""
        self.at(seconds, self.task.resume)
        self.task.pause()


class Task:
    """A thread that runs only while the loop waits for it."""

    def __init__(self, work: Callable[[], None], own: threading.local) -> None:
        self.ended = False
        self._killed = False
        self._work = work
        self._own = own
        self._error: BaseException | None = None
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Let it run until it waits again. Raises what it raised."""
        if not self.ended:
            self._go.release()
            self._paused.acquire()
            if self.ended:
                self._thread.join()
            if self._error is not None:
                raise self._error

    def pause(self) -> None:
        """By the task itself: wait until somebody resumes it."""
        self._paused.release()
        self._go.acquire()
        if self._killed:
            raise KilledError

    def kill(self) -> None:
        """It goes no further than where it waits."""
        self._killed = True
        self.resume()

    def _run(self) -> None:
        self._go.acquire()
        self._own.task = self
        try:
            if not self._killed:
                self._work()
        except KilledError:
            pass
        except BaseException as error:  # the loop's to raise
            self._error = error
        self.ended = True
        self._paused.release()


class VirtualLock:
    """A lock whose holder may wait: a real one would stop the loop."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._held = False
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        while self._held:
            self._waiting.append(self._time.task)
            self._time.task.pause()
        self._held = True

    def __exit__(self, *_: object) -> None:
        self._held = False
        if self._waiting:
            self._time.at(0.0, self._waiting.popleft().resume)


class VirtualExecutor(Executor):
    """One task that does what it is given in turn; who waits for a result lets others have theirs."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._asked: deque[tuple[_VirtualFuture, Callable[[], Any]]] = deque()
        self._idle = False
        self._task: Task | None = None

    def submit(self, work: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future = _VirtualFuture(self._time)
        self._asked.append((future, lambda: work(*args, **more)))
        if self._task is None:
            self._task = self._time.begin(self._run)
        elif self._idle:
            self._idle = False
            self._time.at(0.0, self._task.resume)
        return future

    def kill(self) -> None:
        if self._task is not None:
            self._task.kill()

    def _run(self) -> None:
        while True:
            while self._asked:
                future, work = self._asked.popleft()
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)
                future.tell()
            self._idle = True
            self._time.task.pause()


class _VirtualFuture(Future[Any]):
    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time
        self._waits: Task | None = None

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._waits = self._time.task
            self._waits.pause()
        return super().result(0)

    def tell(self) -> None:
        if self._waits is not None:
            self._time.at(0.0, self._waits.resume)
