"""Pipelines under the direct driver: every way in, through and out."""

import threading

import numpy as np
import pytest

from saccade.runtime.call import All, Call, Graph, Work
from saccade.runtime.direct import Direct
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import EngineError, SpecError


class Fake:
    """An engine that adds one, and refuses 13."""

    def __call__(self, **inputs):
        if inputs["x"] == 13:
            raise EngineError("[fake] 13", hint="take another")
        return {"y": inputs["x"] + 1}


@pytest.fixture
def run():
    """Runs a pipeline; a Call's graph may be anything here."""
    return Direct(lambda graph: Fake()).run


def call(x):
    return Call("graph", {"x": x})


def test_a_result_without_a_step(run):
    def pipeline():
        return 7
        yield

    assert run(pipeline()) == 7


def test_calls_and_work_answer_in_turn(run):
    def pipeline():
        out = yield call(1)
        return (yield Work(lambda a, b: a * b, out["y"], 10))

    assert run(pipeline()) == 20


def test_all_answers_in_order(run):
    def inner(x):
        return (yield call(x))["y"]

    def pipeline():
        return (yield All(call(1), Work(str, 2), inner(3), All(inner(4), Work(str, 5)), All()))

    assert run(pipeline()) == [{"y": 2}, "2", 4, [5, "5"], []]


def test_pipelines_nest_by_yield_from_and_inside_all(run):
    def leaf(x):
        return (yield call(x))["y"]

    def branch(x):
        a = yield from leaf(x)
        return (yield All(leaf(a), leaf(a + 1)))

    def root():
        return (yield All(branch(0), branch(10))), (yield from branch(20))

    assert run(root()) == ([[2, 3], [12, 13]], [22, 23])


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (lambda: call(13), EngineError),
        (lambda: Work(int, "x"), ValueError),
        (lambda: All(call(1), call(13)), EngineError),
        (lambda: Work(next, iter(())), StopIteration),
        (lambda: "text", TypeError),
        (lambda: None, TypeError),
        (lambda: [call(1)], TypeError),
        (lambda: All("text"), TypeError),
    ],
)
def test_errors_are_raised_where_the_step_was_yielded(step, kind, run):
    def careful():
        try:
            yield step()
        except kind as error:
            after = yield call(1)  # and it goes on
            return error, after["y"]

    error, after = run(careful())
    assert type(error) is kind
    assert after == 2

    closed = []

    def careless():
        try:
            yield step()
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError if kind is StopIteration else kind):
        run(careless())
    assert closed == [True]


def test_an_unknown_step_is_named(run):
    def pipeline():
        yield 7

    with pytest.raises(TypeError, match="yields Call, Work or All, not int"):
        run(pipeline())


def test_a_failing_member_drops_the_rest(run):
    done = []

    def member(x):
        try:
            yield call(x)
            done.append(x)
        finally:
            done.append(f"closed {x}")

    def pipeline():
        yield All(member(1), member(13), member(2))

    started = member(3)

    def with_started():
        next(started)
        yield All(call(13), started)

    with pytest.raises(EngineError):
        run(pipeline())
    assert done == [1, "closed 1", "closed 13"]  # the last never began
    done.clear()
    with pytest.raises(EngineError):
        run(with_started())
    assert done == ["closed 3"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_closed_on_every_way_out(kind, run):
    seen = []

    def raises():
        raise kind

    def inner():
        try:
            yield Work(raises)
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            seen.append("inner")

    def outer():
        try:
            yield All(inner())
        finally:
            seen.append("outer")

    with pytest.raises(kind):
        run(outer())
    first = MemoryError if kind is MemoryError else GeneratorExit
    assert seen == [first, "inner", "outer"]


def test_what_the_pipeline_raises_reaches_the_caller_as_it_is(run):
    def pipeline():
        yield call(1)
        raise SpecError("[x] mine", hint="h")

    with pytest.raises(SpecError, match="mine"):
        run(pipeline())


def test_an_error_may_be_replaced_by_a_better_one(run):
    def pipeline():
        try:
            yield call(13)
        except EngineError as error:
            raise SpecError("[x] better", hint="h") from error

    with pytest.raises(SpecError, match="better") as caught:
        run(pipeline())
    assert isinstance(caught.value.__cause__, EngineError)


def test_a_pipeline_runs_once(run):
    def pipeline():
        return (yield call(1))["y"]

    made = pipeline()
    assert run(made) == 2
    assert run(made) is None  # a generator that has ended


def test_work_may_drive_a_pipeline_of_its_own(run):
    def inner(x):
        return (yield call(x))["y"]

    def outer():
        return (yield Work(run, inner(1))) + (yield from inner(2))

    assert run(outer()) == 5


def test_several_threads_share_one_driver(tiny):
    engines = Engines(Options(threads=1))
    driver, graph = Direct(engines), Graph(tiny, "linear")
    wrong = []

    def pipeline(number):
        for turn in range(50):
            x = np.full((1 + turn % 3, 3), number, np.float32)
            out = yield Call(graph, {"x": x, "y": x * turn})
            if not np.array_equal(out["sum"], x * (turn + 1)):
                wrong.append(number)
        return number

    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(driver.run(pipeline(n)))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engines.close()
    assert sorted(results) == list(range(6))
    assert not wrong
