"""Threads that sleep, wake and stop."""

import threading
from collections import deque

from saccade.runtime.scheduling.crew import Crew

LONG = 30


def crew(count, take, run):
    lock = threading.RLock()
    made = Crew("test", count, lock, take, run)
    made.start()
    return made, lock


def test_every_job_is_done_once_by_whoever_is_awake():
    jobs, done, finished = deque(), [], threading.Semaphore(0)

    def run(job):
        done.append(job)
        finished.release()

    made, lock = crew(3, lambda: (jobs.popleft() if jobs else None, None), run)
    for job in range(1, 500):
        with lock:
            jobs.append(job)
            made.wake()
    for _ in range(1, 500):
        assert finished.acquire(timeout=LONG)
    with lock:
        made.stop()
    assert made.join(LONG)
    assert sorted(done) == list(range(1, 500))


def test_one_that_sleeps_for_a_time_looks_again():
    looks, enough = [], threading.Event()

    def take():
        looks.append(1)
        if len(looks) >= 5:
            enough.set()
        return None, 0.001

    made, lock = crew(1, take, None)
    assert enough.wait(LONG)
    for _ in range(200):  # woken now and then just as the time is up
        with lock:
            made.wake()
    with lock:
        made.stop()
    assert made.join(LONG)


def test_one_that_is_stuck_is_left_behind():
    stuck, entered = threading.Event(), threading.Event()
    jobs = deque([1])

    def run(job):
        entered.set()
        stuck.wait(LONG)

    made, lock = crew(1, lambda: (jobs.popleft() if jobs else None, None), run)
    assert entered.wait(LONG)
    with lock:
        made.stop()
    assert not made.join(0.01)
    stuck.set()
    assert made.join(LONG)


def test_a_job_that_raises_is_shown_and_the_thread_goes_on(monkeypatch):
    jobs, shown, done = deque([1, 2]), [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append((args.exc_type, args.thread.name)))

    def run(job):
        if job == 1:
            raise ValueError
        done.set()

    made, lock = crew(1, lambda: (jobs.popleft() if jobs else None, None), run)
    assert done.wait(LONG)
    with lock:
        made.stop()
    assert made.join(LONG)
    assert shown == [(ValueError, "test-0")]
