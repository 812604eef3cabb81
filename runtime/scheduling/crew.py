"""Crew: threads that take jobs, and sleep on a lock of their own while there are none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

Take = Callable[[], tuple[Any, float | None]]


class Crew:
    """Threads `name-0`, `name-1`, … which start with `start()`.

    lock: of the board; take: gives (job, None), (None, seconds to sleep at most) or (None, None); called with the lock
    run: does a job; called without it
    """

    def __init__(self, name: str, count: int, lock: threading.RLock, take: Take, run: Callable[[Any], None]):
        self._lock, self._take, self._run = lock, take, run
        self._idle: list[threading.Lock] = []
        self._stopped = False
        self.threads = [threading.Thread(target=self._loop, name=f"{name}-{i}", daemon=True) for i in range(count)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self.threads:
            thread.start()

    def wake(self) -> None:
        """There may be a job: wake one that sleeps. Called with the lock."""
        if self._idle:
            self._idle.pop().release()

    def stop(self) -> None:
        """Let each thread end after the job it is at. Called with the lock."""
        self._stopped = True
        while self._idle:
            self._idle.pop().release()

    def join(self, seconds: float) -> bool:
        """Wait for the threads to end; False if one has not, such as one inside a hung engine."""
        for thread in self.threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(seconds)
        return not any(thread.is_alive() for thread in self.threads)

    def _loop(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        while True:
            with self._lock:
                if self._stopped:
                    return
                job, seconds = self._take()
                if job is None:
                    self._idle.append(bell)
            if job is not None:
                try:
                    self._run(job)
                except BaseException:  # a fault of the scheduler's own: it is shown, and the others go on
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
                del job  # or it would live until the next one
            elif not bell.acquire(timeout=-1 if seconds is None else seconds):
                with self._lock:
                    if bell in self._idle:
                        self._idle.remove(bell)
                    else:  # woken just as the time was up
                        bell.acquire()
