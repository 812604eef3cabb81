"""Arguments that several pipelines take."""

import numpy as np
import pytest

from saccade.runtime.arguments import listed, share
from saccade.runtime.errors import InputError


@pytest.mark.parametrize("value", [0, 1, 0.25, np.float32(0.25), np.int64(1)])
def test_shares(value):
    assert share("threshold", value, 0.9) == pytest.approx(float(value))
    assert share("threshold", None, 0.9) == 0.9


@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_what_is_no_share(value):
    with pytest.raises(InputError, match="threshold") as caught:
        share("threshold", value, 0.9)
    assert "0 to 1" in caught.value.hint


def test_one_picture_or_many():
    assert listed("a.png") == ["a.png"]
    assert listed(("a.png", "b.png")) == ["a.png", "b.png"]
    with pytest.raises(InputError, match="no picture"):
        listed([])
