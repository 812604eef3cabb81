"""The noun rule: what it promises, and what its page says that it gets wrong."""

import pytest

from saccade.runtime.nouns import noun_spans

SAID = {
    "A dog is lying on the grass next to a frisbee": ["dog", "grass", "frisbee"],
    "a small red circle left of a large blue star": ["small red circle", "large blue star"],
    "Two men riding horses in front of an old barn.": ["men", "horses", "old barn"],
    "a man wearing a red striped shirt and holding a baseball bat": ["man", "red striped shirt", "baseball bat"],
    "A cat sits on a wooden table, beside the remote control and a cup of coffee": [
        "cat",
        "wooden table",
        "remote control",
        "cup",
        "coffee",
    ],
    "a photo of a cat": ["cat"],
    "A painting of a ship": ["ship"],
    "a painting on the wall": ["painting", "wall"],
    "there are three rings and a cross above the yellow moon": ["rings", "cross", "yellow moon"],
    "a flying kite over people walking": ["flying kite", "people"],
    "A group of people standing around a table with plates of food": ["people", "table", "plates", "food"],
    "the cube is to the left of the ball": ["cube", "ball"],
    "the car parked near the fire hydrant is red": ["car", "fire hydrant"],
    "the dog's tail; a T-shirt": ["dog's tail", "T-shirt"],
    "": [],
    "...": [],
    "it is above": [],
}


@pytest.mark.parametrize(("caption", "said"), SAID.items(), ids=lambda v: v[:30] if isinstance(v, str) else "")
def test_things_are_named(caption, said):
    assert [caption[start:end] for start, end in noun_spans(caption)] == said


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("a dog chews a bone", ["dog chews", "bone"]),
        ("the sky is overcast", ["sky", "overcast"]),
        ("一只狗在草地上", ["一只狗在草地上"]),
    ],
)
def test_its_limits_are_as_told(caption, said):
    assert [caption[start:end] for start, end in noun_spans(caption)] == said


def test_a_long_caption_takes_no_long_time():
    caption = "a dog lying on the grass next to a frisbee " * 2000
    assert len(noun_spans(caption)) == 6000
