"""Threads for what takes time, shared fairly: callers take turns, and none holds all threads.

A caller that sends a hundred slow searches waits for its own; one that sends a single search waits for a thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from swath.errors import Unavailable

__all__ = ["FairPool"]

T = TypeVar("T")


class FairPool:
    """Runs work of the event loop it belongs to. Unavailable where too much is waiting, of one caller or of all."""

    def __init__(self, threads: int, most_waiting: int) -> None:
        self._threads, self._most = threads, most_waiting
        self._executor = ThreadPoolExecutor(threads, "search")
        self._queues: OrderedDict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = OrderedDict()
        self._running = Counter[str]()
        self._waiting = 0

    def submit(self, work: Callable[[], Any]) -> None:
        """Run something that nobody waits for."""
        self._executor.submit(work)

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        mine = self._queues.get(caller, ())
        if self._waiting >= self._most:
            raise Unavailable("the server is busy; try again in a moment")
        if len(mine) >= max(1, self._most // 2):
            raise Unavailable("you have too many searches waiting; try again when some of them are answered")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append((future, work))
        self._waiting += 1
        self._start()
        return await future

    def _start(self) -> None:
        """Give free threads to callers in turn. One that holds all threads but one gets no more."""
        most = max(1, self._threads - 1)
        while self._running.total() < self._threads:
            caller = next((each for each in self._queues if self._running[each] < most), None)
            if caller is None:
                return
            queue = self._queues.pop(caller)
            future, work = queue.popleft()
            if queue:
                self._queues[caller] = queue  # behind the others
            self._waiting -= 1
            if future.cancelled():  # the caller has gone
                continue
            self._running[caller] += 1
            running = asyncio.get_running_loop().run_in_executor(self._executor, work)
            running.add_done_callback(lambda done, caller=caller, future=future: self._done(caller, future, done))  # type: ignore[misc]

    def _done(self, caller: str, future: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        if done.cancelled():  # the server stops
            future.cancel()
        if not future.done():
            error = done.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result())
        self._start()

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
