"""The scheduler's benchmark: its cases run, its gate holds, and memory does not grow with requests."""

import numpy as np
import pytest

import saccade
from saccade.benchmarks import scheduler as measure
from saccade.benchmarks import sharing
from saccade.benchmarks.overhead import null_bundle
from saccade.runtime.call import Graph
from saccade.runtime.engines import Engines, Options
from saccade.runtime.memory import resident_bytes


@pytest.fixture
def null(tmp_path):
    engines = Engines(Options(backend="null"))
    yield Graph(null_bundle(tmp_path / "null.bundle"), "graph"), engines
    engines.close()


def test_memory_does_not_grow_with_requests(null):
    """A request that was kept would cost a kilobyte; what pages and the allocator do is below 0.3."""
    if not resident_bytes():
        pytest.skip("the system does not say how much memory a process has")
    row = measure.memory(*null, count=6_000)
    assert row["bytes_per_request"] < 300
    assert row["cancelled"] > 1000
    assert row["superseded"] > 1000
    assert row["error"] == 0
    assert sum(row[end] for end in ("result", "cancelled", "superseded", "expired")) == 6_000


def test_single_rows_name_their_figures(null):
    rows = {row["case"]: row for row in measure.single(*null, count=20)}
    assert set(rows) == {"single", "future", "hop"}
    for row in rows.values():
        assert row["runs"] == 20
        assert row["direct_us_p50"] > 0
        assert np.isfinite([row["overhead_us_p50"], row["overhead_us_p99"]]).all()


def test_overload_and_latest_wins_count_what_they_say(null):
    row = measure.overload(null[0], 0.3)
    assert row["sent"] > 0
    assert 0 <= row["late"] <= 1
    frames = measure.latest_wins(null[0], 0.5)
    assert frames["answered"] + frames["superseded"] == 30
    assert frames["superseded"] > 10
    assert frames["age_ms_p50"] >= frames["service_ms"]


def test_users_of_one_picture_share_its_encoder(sam_bundle):
    """The gate inside compares each mask with the one that is asked for alone."""
    with saccade.load(sam_bundle, threads=1, spin=False) as sam:
        row = sharing.shared(sam, 1, users=4, bursts=1)
    assert row["encoder_rows"] == 1
    assert row["users"] == 4
