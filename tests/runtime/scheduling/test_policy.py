"""What may be chosen, and the rank that orders what waits."""

import pytest

from saccade.runtime.errors import SettingsError
from saccade.runtime.scheduling.policy import NEVER, Policy


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"quickly": True}, "quickly"),
        ({"max_batch": 0}, "max_batch"),
        ({"max_batch": "many"}, "max_batch"),
        ({"workers": -1}, "workers"),
        ({"hosts": 0}, "hosts"),
        ({"max_open": 0}, "max_open"),
        ({"patience_ms": 0}, "patience_ms"),
        ({"max_delay_ms": -1}, "max_delay_ms"),
        ({"max_delay_ms": float("nan")}, "max_delay_ms"),
        ({"max_delay_ms": float("inf")}, "max_delay_ms"),
        ({"batches": (8, 4)}, "batches"),
        ({"batches": (0, 4)}, "batches"),
        ({"batches": (8,), "merge": False}, "batches without merge"),
    ],
)
def test_what_means_nothing_is_refused(chosen, says):
    with pytest.raises(SettingsError, match=says) as caught:
        Policy.of(**chosen)
    assert caught.value.hint


def test_the_earliest_deadline_goes_first_and_priority_moves_it():
    policy = Policy.of(patience_ms=100)
    assert policy.rank(0, 0, 0.05) < policy.rank(0, 0, 0.06) < policy.rank(0, 0, NEVER)
    assert policy.rank(5, -1, NEVER) < policy.rank(5, 0, NEVER) < policy.rank(5, 1, NEVER)
    assert policy.rank(5, 0, NEVER) < policy.rank(5.01, 0, NEVER)
    # Waiting for the worth of a step makes up for the step: nobody starves.
    assert policy.rank(5, 1, NEVER) < policy.rank(5.11, 0, NEVER)
