"""An answer is a concurrent.futures.Future to everybody who uses one."""

import asyncio
import concurrent.futures as futures
import threading

import pytest

from saccade.runtime.scheduling.answer import Answer


@pytest.mark.parametrize("waited_on", [False, True])
def test_result_and_error(waited_on):
    good, bad = Answer(), Answer()
    assert not good.done()
    if waited_on:
        with pytest.raises(TimeoutError):
            good.result(0)
        with pytest.raises(TimeoutError):
            bad.exception(0)
    good.finish(7, None)
    bad.finish(None, KeyError("x"))
    assert (good.result(), good.result(0), good.exception()) == (7, 7, None)
    for _ in range(2):
        with pytest.raises(KeyError):
            bad.result()
    assert isinstance(bad.exception(), KeyError)
    assert good.done()
    assert not good.cancelled()
    assert not good.cancel()


def test_callbacks_run_once_whenever_they_are_added():
    seen = []
    early = Answer()
    early.add_done_callback(lambda f: seen.append(f.result()))
    early.finish(1, None)
    early.add_done_callback(lambda f: seen.append(f.result() + 1))
    assert seen == [1, 2]


def test_wait_and_as_completed():
    made = [Answer() for _ in range(20)]
    made[3].finish(3, None)
    threading.Timer(0.01, lambda: [f.finish(i, None) for i, f in enumerate(made) if i != 3]).start()
    assert sorted(f.result() for f in futures.as_completed(made, timeout=10)) == list(range(20))
    done, left = futures.wait(made, timeout=10)
    assert (len(done), len(left)) == (20, 0)


def test_many_threads_wait_while_it_ends():
    for _ in range(200):
        answer, got = Answer(), []
        threads = [threading.Thread(target=lambda a=answer, g=got: g.append(a.result(10))) for _ in range(3)]
        for thread in threads:
            thread.start()
        answer.finish(5, None)
        for thread in threads:
            thread.join(10)
        assert got == [5, 5, 5]


def test_asyncio_awaits_it():
    async def main():
        answer = Answer()
        threading.Timer(0.01, answer.finish, (8, None)).start()
        return await asyncio.wrap_future(answer)

    assert asyncio.run(main()) == 8
