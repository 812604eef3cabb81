"""What is left of a pipeline after each of its stages."""

import pytest

from saccade.runtime.scheduling.foresight import START, Foresight
from saccade.runtime.scheduling.request import Request


def pipeline():
    yield


def other():
    yield


def request(made, *trail, total=0.0):
    one = Request(None, made(), 0.0, 0, 1e9, "")
    one.number, one.trail, one.served_s = 1, list(trail), total
    return one


def test_the_least_and_the_usual_rest_are_learnt_by_stage():
    foresight = Foresight()
    assert foresight.left(request(pipeline), START) == (0.0, 0.0)
    for total in (0.5, 0.3, 0.4):
        foresight.learn(request(pipeline, (START, 0.0), ("encoder", 0.2), total=total))
    least, safe = foresight.left(request(pipeline), START)
    assert least == pytest.approx(0.3, rel=0.01)
    assert safe >= 0.3
    assert foresight.left(request(pipeline), "encoder")[0] == pytest.approx(0.1, rel=0.02)
    assert foresight.left(request(other), START) == (0.0, 0.0)


def test_one_in_eight_is_followed_and_each_with_a_deadline():
    foresight, followed = Foresight(), 0
    for number in range(80):
        one = request(pipeline)
        one.number, one.trail = number, None
        foresight.begin(one, timed=False)
        followed += one.trail is not None
    assert followed == 10
    one.trail = None
    foresight.begin(one, timed=True)
    assert one.trail == [(START, 0.0)]


def test_it_does_not_grow_for_ever():
    foresight = Foresight()
    for number in range(10_000):
        foresight.learn(request(pipeline, (number, 0.0), total=1.0))
    assert len(foresight._levels) <= 4096
