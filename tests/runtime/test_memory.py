"""The budget holds whatever the traffic, nothing in flight is taken away, and what cannot fit is refused first."""

import random
import threading

import numpy as np
import pytest

from saccade.runtime.call import Graph
from saccade.runtime.engines import Engines
from saccade.runtime.errors import Closed, EngineError, MemoryBudget, SettingsError
from saccade.runtime.memory import GUESS, Memory
from saccade.runtime.spec import GraphSpec, TensorSpec

SPEC = GraphSpec((TensorSpec("x", "float32", ("B",)),), (TensorSpec("y", "float32", ("B",)),), batch="B")
MB = 1 << 20


class World:
    """A process whose memory is what its open engines need."""

    def __init__(self):
        self.now, self.rss, self.peak, self.lock = 0.0, 100 * MB, 0, threading.Lock()
        self.opened: dict[str, int] = {}
        self.gate: threading.Event | None = None

    def memory(self, budget_mb, **more):
        return Memory(budget_mb * MB, clock=lambda: self.now, rss=lambda: self.rss, **{"settle_s": 0.0, **more})

    def add(self, memory, name, mb, *, really_mb=None, fails=False):
        def opener():
            if fails:
                raise EngineError(f"[{name}] broken", hint="none")
            return Fake(self, name, int((really_mb or mb) * MB))

        return memory.adopt(name, SPEC, int(mb * MB / GUESS), opener)


class Fake:
    about = {"backend": "fake"}  # noqa: RUF012  a constant

    def __init__(self, world, name, nbytes):
        self.world, self.name, self.nbytes, self.closed = world, name, nbytes, False
        with world.lock:
            world.rss += nbytes
            world.opened[name] = world.opened.get(name, 0) + 1
            world.peak = max(world.peak, world.rss)

    def __call__(self, x):
        if self.world.gate is not None:
            self.world.gate.wait(30)
        assert not self.closed, "run after it was given back"
        return {"y": 2 * x}

    def close(self):
        self.closed = True
        with self.world.lock:
            self.world.rss -= self.nbytes


X = np.ones(3, np.float32)


def resident(memory):
    return {row["graph"] for row in memory.rows() if row["resident"]}


def test_the_longest_unused_goes_first():
    world = World()
    memory = world.memory(100)
    a, b, c = (world.add(memory, name, 40) for name in "abc")
    for turn, engine in enumerate((a, b, a)):
        world.now = turn
        engine(x=X)
    assert resident(memory) == {"a", "b"}
    world.now = 9
    c(x=X)
    assert resident(memory) == {"a", "c"}
    assert memory.evictions == 1
    b(x=X)
    assert world.opened == {"a": 1, "b": 2, "c": 1}


def test_the_young_stay_if_an_older_one_will_do():
    world = World()
    memory = world.memory(100, settle_s=5.0)
    a, b, c = (world.add(memory, name, 40) for name in "abc")
    a(x=X)
    world.now = 10
    b(x=X)
    world.now = 11
    a(x=X)  # used later than b, but b is the younger
    c(x=X)
    assert resident(memory) == {"b", "c"}


def test_what_can_never_fit_evicts_nothing():
    world = World()
    memory = world.memory(100)
    small, large = world.add(memory, "small", 40), world.add(memory, "large", 101)
    small(x=X)
    with pytest.raises(MemoryBudget, match=r"\[large\] needs 10.* MB; the budget is 100 MB") as caught:
        large(x=X)
    assert caught.value.hint
    assert resident(memory) == {"small"}


def test_pins_count_as_gone():
    world = World()
    memory = world.memory(100)
    a, b = world.add(memory, "a", 60), world.add(memory, "b", 60)
    memory.pin(a)
    a(x=X)
    with pytest.raises(MemoryBudget, match="pinned"):
        b(x=X)
    memory.pin(a, False)
    b(x=X)
    assert resident(memory) == {"b"}


def test_in_flight_is_never_taken_away():
    world = World()
    memory = world.memory(100, wait_s=0.0)
    a, b = world.add(memory, "a", 60), world.add(memory, "b", 60)
    world.gate = threading.Event()
    answers = []
    worker = threading.Thread(target=lambda: answers.append(a(x=X)))
    worker.start()
    while not any(row["in_flight"] and row["resident"] for row in memory.rows()):
        pass
    with pytest.raises(MemoryBudget, match="in use"):
        b(x=X)
    world.gate.set()
    worker.join()
    assert np.array_equal(answers[0]["y"], 2 * X)
    b(x=X)
    assert resident(memory) == {"b"}


def test_an_engine_larger_than_guessed_makes_others_go():
    world = World()
    memory = world.memory(100)
    a, b = world.add(memory, "a", 40), world.add(memory, "b", 20, really_mb=70)
    a(x=X)
    world.now = 1
    b(x=X)
    assert resident(memory) == {"b"}
    assert memory.used_bytes == 70 * MB


def test_one_opening_for_many_callers():
    world = World()
    memory = world.memory(100)
    a = world.add(memory, "a", 50)
    workers = [threading.Thread(target=a, kwargs={"x": X}) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert world.opened == {"a": 1}


def test_an_opening_that_fails_holds_nothing():
    world = World()
    memory = world.memory(100)
    broken, good = world.add(memory, "broken", 90, fails=True), world.add(memory, "good", 90)
    for _ in range(2):
        with pytest.raises(EngineError, match="broken"):
            broken(x=X)
    assert memory.used_bytes == 0
    good(x=X)


def test_random_traffic_never_exceeds_the_budget():
    world = World()
    seed = random.randrange(1 << 32)
    memory = world.memory(100, wait_s=1e9)
    engines = [world.add(memory, str(i), size) for i, size in enumerate((10, 20, 30, 40, 50))]
    failed = []

    def use(number):
        rng = random.Random(f"{seed} {number}")
        try:
            for _ in range(300):
                assert np.array_equal(rng.choice(engines)(x=X)["y"], 2 * X)
                assert memory.used_bytes <= 100 * MB
        except BaseException as error:  # noqa: BLE001  shown below, with the seed
            failed.append(error)

    workers = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed, (seed, failed)
    assert world.peak <= 200 * MB  # what was there before, and the budget
    assert all(row["in_flight"] == 0 for row in memory.rows())


def test_closed_is_closed_and_free():
    world = World()
    memory = world.memory(100)
    a = world.add(memory, "a", 50)
    a(x=X)
    a.close()
    a.close()
    with pytest.raises(Closed):
        a(x=X)
    assert world.rss == 100 * MB
    assert memory.rows() == []


def test_a_renewed_engine_is_another_from_the_next_call_on():
    world = World()
    memory = world.memory(100)
    a = world.add(memory, "a", 50)
    a(x=X)
    memory.renew(a, lambda: Fake(world, "new", 10 * MB))
    a(x=X)
    assert world.opened == {"a": 1, "new": 1}
    assert world.rss == 110 * MB


def test_what_was_measured_stays_when_it_is_opened_again():
    """The second time its memory may lie where it lay, and the process does not grow."""
    sizes = iter([0, 3000, 3000, 3000, 3000, 3000])
    memory = Memory(1 << 20, rss=lambda: next(sizes))
    made = memory.adopt("a", None, 1000, lambda: type("Quiet", (), {"close": lambda self: None})())
    for _ in range(3):
        memory.begin(made)
        memory.end(made)
        assert made.nbytes == 3000
        memory.free()


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_that_means_nothing(budget):
    with pytest.raises(SettingsError, match="budget_bytes") as caught:
        Memory(budget)
    assert caught.value.hint


def test_real_engines_share_a_budget(tiny):
    memory = Memory(1 << 30)
    engines = Engines(memory=memory)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    out = engines(Graph(tiny, "linear"))(x=x, y=x)
    assert np.array_equal(out["sum"], 2 * x)
    assert resident(memory) == {"tiny.linear"}
    assert engines(Graph(tiny, "linear")).about["opened"] == 1
    engines.close()
    assert memory.rows() == []
