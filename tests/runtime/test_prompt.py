"""Prompt: what may be asked, in every form, and what is refused."""

import json

import numpy as np
import pytest

from saccade.runtime.errors import PromptError
from saccade.runtime.prompt import MOST, Prompt, gather

LOGITS = np.zeros((32, 32), np.float32)


def test_a_prompt_is_a_value():
    prompt = Prompt(points=[(3, 4), (5, 6)], box=(1, 2, 9, 9))
    assert prompt.labels.tolist() == [1, 1]
    assert repr(prompt) == "Prompt(2 points, box=[1.0, 2.0, 9.0, 9.0])"
    with pytest.raises(ValueError, match="read-only"):
        prompt.points[0] = 0
    with pytest.raises(AttributeError):
        prompt.box = None
    given = np.zeros((1, 2))
    assert Prompt(points=given).points is not given


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=[(3.5, 4)], labels=[0]),
        Prompt(box=(0, 0, 5, 5)),
        Prompt(points=[(1, 1)], mask=np.eye(6, 9) > 0),
        Prompt(mask=np.arange(6, dtype=np.float32).reshape(2, 3)),
    ],
)
def test_json_there_and_back(prompt):
    again = Prompt.read(json.loads(json.dumps(prompt.fields())))
    for name in ("points", "labels", "box", "mask"):
        one, two = getattr(prompt, name), getattr(again, name)
        assert (one is None) == (two is None)
        assert one is None or (np.array_equal(one, two) and one.dtype == two.dtype)


def test_only_a_lone_click_is_ambiguous():
    assert Prompt(points=[(1, 1)]).ambiguous
    assert not Prompt(points=[(1, 1), (2, 2)]).ambiguous
    assert not Prompt(points=[(1, 1)], box=(0, 0, 2, 2)).ambiguous
    assert not Prompt(box=(0, 0, 2, 2)).ambiguous


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"points": [(1, 2), (3, 4)]}, [(2, False, False)]),
        ({"points": (1, 2)}, [(1, False, False)]),
        ({"points": [(1, 2), (3, 4)], "labels": [1, 0]}, [(2, False, False)]),
        ({"points": np.zeros((3, 2, 2))}, [(2, False, False)] * 3),
        ({"points": np.zeros((2, 1, 2)), "labels": [[1], [0]]}, [(1, False, False)] * 2),
        ({"boxes": (0, 0, 4, 4)}, [(0, True, False)]),
        ({"boxes": [(0, 0, 4, 4)] * 5}, [(0, True, False)] * 5),
        ({"boxes": (0, 0, 4, 4), "points": [(1, 1), (2, 2)]}, [(2, True, False)]),
        ({"boxes": [(0, 0, 4, 4)] * 2, "points": np.ones((2, 3, 2))}, [(3, True, False)] * 2),
        ({"mask": LOGITS}, [(0, False, True)]),
        ({"mask": LOGITS[None], "points": [(1, 1)]}, [(1, False, True)]),
        ({"mask": np.stack([LOGITS] * 2)}, [(0, False, True)] * 2),
        ({"prompts": Prompt(points=[(1, 1)])}, [(1, False, False)]),
        ({"prompts": [Prompt(points=[(1, 1)]), Prompt(box=(0, 0, 1, 1))]}, [(1, False, False), (0, True, False)]),
    ],
)
def test_what_the_arguments_mean(given, want):
    made = gather(*(given.get(name) for name in ("points", "labels", "boxes", "mask", "prompts")))
    assert [(len(p.points), p.box is not None, p.mask is not None) for p in made] == want


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no prompt"),
        ({"prompts": []}, "no prompt"),
        ({"prompts": [1]}, "no Prompt"),
        ({"prompts": [], "points": [(1, 1)]}, "prompts and"),
        ({"points": []}, "empty prompt"),
        ({"points": np.zeros((0, 1, 2))}, "no prompt"),
        ({"points": [(1, 2, 3)]}, r"\(1, 3\)"),
        ({"points": np.zeros((1, 1, 1, 2))}, "points"),
        ({"points": [(float("nan"), 1)]}, "NaN"),
        ({"points": [(float("inf"), 1)]}, "NaN or infinity"),
        ({"points": "here"}, "no numbers"),
        ({"points": [(1, 2), (3,)]}, "no numbers"),
        ({"points": [(1, 1)], "labels": [2]}, r"labels \[2\]"),
        ({"points": [(1, 1)], "labels": [-1]}, "labels"),
        ({"points": [(1, 1)], "labels": [0.5]}, "labels"),
        ({"points": [(1, 1)], "labels": [1, 1]}, "2 labels for 1 points"),
        ({"labels": [1]}, "labels without points"),
        ({"boxes": (5, 0, 5, 9)}, "a box"),
        ({"boxes": (0, 9, 5, 3)}, "a box"),
        ({"boxes": (0, 0, 5)}, "a box"),
        ({"boxes": (0, 0, float("nan"), 4)}, "NaN"),
        ({"boxes": [(0, 0, 4, 4)] * 2, "points": np.ones((3, 1, 2))}, "2 and 3 objects"),
        ({"boxes": np.ones((100_000, 4)) * (0, 0, 1, 1)}, "100,000 prompts"),
        ({"points": np.ones((100_000, 1, 2))}, "100,000 prompts"),
        ({"points": np.ones((100_000, 2))}, "100,000 points"),
        ({"prompts": [Prompt(points=(1, 1))] * (MOST + 1)}, "1,025 prompts"),
        ({"mask": np.zeros((2, 2), np.int64)}, "mask"),
        ({"mask": np.full((2, 2), np.nan)}, "NaN"),
        ({"mask": np.zeros(4)}, "mask"),
    ],
)
def test_what_means_nothing_is_refused(given, says):
    with pytest.raises(PromptError, match=says) as caught:
        gather(*(given.get(name) for name in ("points", "labels", "boxes", "mask", "prompts")))
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt(points=[(5, 5), (101, 5)]), r"\(101, 5\) outside"),
        (Prompt(points=[(5, 51)]), "outside"),
        (Prompt(points=[(-0.1, 5)]), "outside"),
        (Prompt(box=(0, 0, 101, 5)), "sticks out"),
        (Prompt(box=(-1, 0, 10, 5)), "sticks out"),
        (Prompt(mask=np.zeros((31, 32))), "a mask"),
        (Prompt(mask=np.zeros((100, 50), bool)), "a mask"),
    ],
)
def test_what_does_not_fit_the_picture_is_refused(prompt, says):
    with pytest.raises(PromptError, match=says) as caught:
        prompt.check(50, 100, (32, 32))
    assert caught.value.hint


def test_what_fits_passes():
    for prompt in (
        Prompt(points=[(0, 0), (100, 50)]),
        Prompt(box=(0, 0, 100, 50)),
        Prompt(mask=LOGITS),
        Prompt(mask=np.ones((50, 100), bool)),
    ):
        prompt.check(50, 100, (32, 32))


@pytest.mark.parametrize(
    "fields",
    [None, [], {"point": [1, 2]}, {"mask": {"size": [2, 2], "counts": "5"}}, {}, {"points": [[1, "x"]]}],
)
def test_json_that_is_no_prompt_is_refused(fields):
    with pytest.raises(PromptError) as caught:
        Prompt.read(fields)
    assert caught.value.hint
