"""The harness on a made-up op and a made-up clock: what is wrong leaves no row, turns are fair, figures add up."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

import numpy as np
import pytest

from saccade.benchmarks import kernels as house
from saccade.benchmarks.kernels import harness, peaks, roofline
from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels import native
from saccade.kernels.dispatch import Candidate
from saccade.runtime.errors import KernelError, SettingsError

PEAKS = {"read_gbps": 40.0, "write_gbps": 20.0, "fp32_gflops": 100.0}
COST_MS = {"fast": 1.0, "slow": 2.0, "wrong": 0.1, "reference": 5.0, "peer": 4.0, "liar": 0.2}


class World:
    """An op that doubles a number; each way to do it costs a fixed time on a clock of its own."""

    def __init__(self):
        self.now_s, self.log = 0.0, []

    def clock(self):
        return self.now_s

    def does(self, name, value):
        def run():
            self.log.append(name)
            self.now_s += COST_MS[name] / 1e3
            return value

        return run

    def problem(self, *peers):
        results = {"fast": 8.0, "slow": 8.25, "wrong": 9.0, "reference": 8.0}
        return Problem(
            case="four", shape={"N": 4}, dtype="fp32", run=lambda impl: self.does(impl, results[impl])(),
            expected=lambda: 8.0, error=lambda ours, right: abs(ours - right), tolerance=0.5, bytes=30_000_000,
            flops=20_000_000, facts={"kept": 3},
            peers=tuple(Peer(name, self.does(name, value), lambda a, b: abs(a - b), 0.5) for name, value in peers),
        )  # fmt: skip

    def measure(self, problem, *names, **options):
        candidates = [Candidate(name, lambda *_: "", None) for name in names]
        return harness.measure("double", [problem], candidates, PEAKS, clock=self.clock, **options)


@pytest.fixture
def world():
    return World()


def test_a_wrong_candidate_leaves_no_row_and_is_never_timed(world):
    report = world.measure(world.problem(), "wrong", "slow", "reference")
    assert [row["impl"] for row in report.rows] == ["slow"]
    assert report.failures == ["[double] four: wrong: error 1, allowed 0.5"]
    assert world.log.count("wrong") == 1
    assert "reference" not in world.log


def test_only_wrong_ones_leave_nothing(world):
    report = world.measure(world.problem(("peer", 8.0)), "wrong")
    assert report.rows == []
    assert len(report.failures) == 1
    assert world.log == ["wrong", "peer"]


def test_a_wrong_peer_is_no_baseline(world):
    report = world.measure(world.problem(("liar", 99.0), ("peer", 8.0)), "fast")
    assert [baseline["name"] for baseline in report.rows[0]["baselines"]] == ["peer"]
    assert "liar: error 91" in report.failures[0]


def test_nan_is_no_result(world):
    report = world.measure(world.problem(("liar", float("nan"))), "fast")
    assert report.rows[0]["baselines"] == []
    assert "nan" in report.failures[0]


def test_figures_of_a_row(world):
    fast, slow = world.measure(world.problem(("peer", 8.5)), "fast", "slow").rows
    assert (fast["p50_ms"], slow["p90_ms"], fast["runs"]) == (pytest.approx(1), pytest.approx(2), harness.ROUNDS)
    assert (fast["error"], slow["error"], fast["tolerance"]) == (0, 0.25, 0.5)
    assert fast["achieved"] == {"gbps": 30, "gflops": 20, "of_peak": 0.75}  # of reading 40 GB/s, the larger share
    assert slow["achieved"] == {"gbps": 15, "gflops": 10, "of_peak": 0.375}
    (peer,) = slow["baselines"]
    assert (peer["name"], peer["ratio"], peer["ratio_low"], peer["ratio_high"]) == ("peer", 2, 2, 2)
    assert (fast["op"], fast["case"], fast["shape"], fast["backend"], fast["kept"]) == (
        "double", "four", {"N": 4}, "cpu", 3,
    )  # fmt: skip
    assert fast["work"] == {"bytes": 30_000_000, "flops": 20_000_000}


def test_arithmetic_may_be_the_larger_share_and_without_peaks_there_is_none(world):
    assert harness.achieved(world.problem(), 1.0, {"read_gbps": 300.0, "fp32_gflops": 40.0})["of_peak"] == 0.5
    assert "of_peak" not in harness.achieved(world.problem(), 1.0, {})


def test_a_ratio_is_taken_round_by_round(world):
    ticks = iter([1.0, 2.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0] * 100)

    def uneven():
        world.now_s += next(ticks) / 1e3

    times = harness.rounds({"ours": world.does("fast", 0), "peer": uneven}, 16, world.clock)
    (peer,) = harness.compared(times["ours"], {"peer": times["peer"]})
    assert peer["ratio"] == 1
    assert peer["ratio_high"] > 1.5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_everyone_stands_everywhere_and_follows_everyone(count):
    names = [f"run {i}" for i in range(count)]
    turns = [harness.order(names, turn) for turn in range(2 * count)]
    assert all(sorted(turn) == names for turn in turns)
    for place in range(count):
        assert set(Counter(turn[place] for turn in turns).values()) == {2}
    pairs = Counter(pair for turn in turns for pair in zip(turn, turn[1:], strict=False))
    assert len(pairs) == count * (count - 1)
    assert len(set(pairs.values())) <= 1


def test_rounds_keep_to_that_order(world):
    runs = {name: world.does(name, 0) for name in ("fast", "slow", "peer")}
    harness.rounds(runs, 6, world.clock)
    assert world.log[-18:] == [name for turn in range(6) for name in harness.order(list(runs), turn)]


def test_warm_up_ends_when_two_medians_agree(world):
    costs = iter([50, *[9] * 3, *[5] * 3, *[4.9] * 3, *[1] * 99])
    calls = []

    def run():
        calls.append(1)
        world.now_s += next(costs) / 1e3

    assert harness.settle(run, world.clock) == pytest.approx(50)
    assert len(calls) == 10
    restless = iter(range(1, 10_000))

    def never():
        calls.append(1)
        world.now_s += 2.0 ** (next(restless) // 3) / 1e6

    harness.settle(never, world.clock)
    assert len(calls) < 10 + 30


def test_quick_has_fewer_rounds(world):
    assert world.measure(world.problem(), "fast", quick=True).rows[0]["runs"] == harness.QUICK


def test_a_named_candidate_is_measured_alone_even_the_reference(world):
    names = ("fast", "slow", "reference")
    assert [row["impl"] for row in world.measure(world.problem(), *names, impl="reference").rows] == ["reference"]
    assert world.measure(world.problem(), *names, impl="quux").rows == []
    absent = Candidate("absent", lambda *_: "there is no such machine", None)
    with pytest.raises(KernelError, match="no such machine"):
        harness.chosen("double", [absent], "absent")
    with pytest.raises(KernelError, match="quux") as caught:
        house.run([("nms", house.module("nms"))], {}, impl="quux")
    assert "avx2" in caught.value.hint


EVERY = ("resize_normalize", "decode_boxes", "nms", "mask_decode", "relpos_attention", "deformable_attention")


def test_every_op_with_a_module_here_yields_whole_problems():
    assert set(EVERY) <= set(house.measured())
    for op in house.measured():
        for problem in house.module(op).problems(True):
            assert problem.bytes > 0
            assert problem.flops > 0
            names = [c.name for c in import_module(f"saccade.kernels.{op}").CANDIDATES]
            assert not {peer.name for peer in problem.peers} & set(names), "a peer would hide a candidate"


@pytest.mark.parametrize("op", EVERY)
def test_the_gate_of_each_op_tells_right_from_wrong(op):
    problem = next(iter(house.module(op).problems(True)))
    right = problem.expected()
    assert problem.error(problem.run("base" if native.module else "reference"), right) <= problem.tolerance
    assert problem.error(_damaged(problem.run("reference")), right) > problem.tolerance


def _damaged(result):
    if isinstance(result, np.ndarray):
        broken = result.copy()
        broken.flat[0] += 1
        return broken
    name = "area" if hasattr(result, "area") else "scores"
    broken = getattr(result, name).copy()
    broken[0] += 1
    return result._replace(**{name: broken})


def test_an_op_without_a_benchmark_is_refused():
    with pytest.raises(SettingsError, match="quux") as caught:
        house.module("quux")
    assert "nms" in caught.value.hint


@pytest.mark.skipif(native.module is None, reason="the native module was not built")
def test_peaks_count_what_the_loops_do():
    """Sizes small enough for a test; the rate of a clock that stands at a second a loop is the work itself."""
    ticks = iter(range(1000))
    found = peaks.measure(runs=1, floats=1 << 10, repeats=1000, clock=lambda: float(next(ticks)))
    assert {"read_gbps", "write_gbps", "triad_gbps", "fp32_gflops"} <= set(found)
    a, b, c = (np.full(512, value, np.float32) for value in (0, 2, 4))
    for name, reason in native.module.peaks_candidates():
        if reason:
            continue
        assert native.module.peaks(name, 0, a, None, None, 0) == 2048
        assert native.module.peaks(name, 2, a, b, c, 0) == 3 * 2048
        assert (a == 4).all()
        assert native.module.peaks(name, 1, a, None, None, 0) == 2048
        assert (a == 1).all()
        assert native.module.peaks(name, 3, a, None, None, 10) % 24 == 0
    with pytest.raises(RuntimeError, match="256"):
        native.module.peaks("base", 0, a[:100].copy(), None, None, 0)
    with pytest.raises(RuntimeError, match="no dot product"):
        native.module.peaks("base", 4, a, None, None, 1)


def test_the_picture(world, tmp_path):
    pytest.importorskip("matplotlib")
    rows = world.measure(world.problem(("peer", 8.0)), "fast", "slow").rows
    for peaks_ in (PEAKS, {**PEAKS, "int8_gops": 400.0}, {}):
        roofline.draw(rows, peaks_, "a machine", tmp_path / "roof.png")
        assert (tmp_path / "roof.png").read_bytes()[:4] == b"\x89PNG"
    roofline.draw(rows, PEAKS, "a machine", tmp_path / "roof.svg")
    text = (tmp_path / "roof.svg").read_text()
    assert text.startswith("<?xml")
    (column,) = roofline._columns(rows)
    assert column["x"] == pytest.approx(2 / 3)
    assert column["ours"] == {"fast": pytest.approx(20), "slow": pytest.approx(10)}
    assert column["peers"] == {"peer": pytest.approx(5)}


def test_work_is_counted_by_hand():
    from saccade.kernels.decode_boxes import cases as boxes
    from saccade.kernels.deformable_attention import cases as deformable
    from saccade.kernels.mask_decode import cases as masks
    from saccade.kernels.nms import cases as nms
    from saccade.kernels.relpos_attention import cases as relpos
    from saccade.kernels.resize_normalize import cases as resize

    halved = resize.Case("half", (8, 6), (4, 3), {"filter": "box"})  # two taps a value, each way
    assert resize.work(halved) == (3 * 8 * 6 + 4 * 3 * 4 * 3, 3 * (2 * 2 * 8 * 3 + 2 * 2 * 4 * 3 + 3 * 4 * 3))
    cropped = halved._replace(options={"filter": "box", "crop": (1, 0, 2, 3), "pad_to": (5, 5)})
    assert resize.work(cropped) == (3 * 4 * 6 + 12 * 25, 3 * (2 * 2 * 4 * 3 + 2 * 2 * 2 * 3 + 3 * 2 * 3))
    assert nms.work(10, np.array([3, 0, 2]), classes=True) == (10 * 28 + 8 * 5, 6 * (3 + 1 + 5))
    assert boxes.work(boxes.Case("", 7, 5), 3) == (4 * 35 + 16 * 7 + 36 * 3, 35 + 48)
    assert relpos.work(relpos.Case("", 1, 2, (2, 3), 5)) == (2 * 6 * (20 + 5) * 4, 2 * 2 * 36 * (5 + 5))
    pyramid = deformable.Case("", 1, 5, 2, 3, ((2, 3), (1, 1)), 4)  # seven pixels; eight points a query and head
    assert deformable.work(pyramid) == (4 * (7 * 6 + 5 * 6 + 3 * 5 * 2 * 8), 8 * 5 * 2 * 8 * 3)
    case = masks.Case("", "noise", 1, (4, 4), (4, 4), (4, 4), (4, 4))
    low = np.full((1, 4, 4), 9, np.float32)
    assert masks.work(case, low, 11) == (4 * 16 + 28 + 11, 2 * 16)  # nothing straddles a threshold
    low[0, 3, 3] = 0  # in the taps of the nine pixels at the lower right, and of three rows of three columns
    assert masks.work(case, low, 11)[1] == 2 * 16 + 5 * 9 + 8 * 9
