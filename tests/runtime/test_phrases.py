"""Prompts to tokens and back: masks as the reference makes them, runs of equal weight, and what is refused."""

import numpy as np
import pytest

from saccade.runtime.errors import TextError
from saccade.runtime.phrases import Rules, _split, layout, word_labels, word_prompt
from saccade.runtime.text import Tokenizer, TokenizerSpec

SEPARATORS = (2, 3, 4, 5)


@pytest.fixture(scope="module")
def tokenizer(toy_grounding):
    return Tokenizer(toy_grounding.tokenizer(), TokenizerSpec("tokenizer.json", 32, 0))


@pytest.fixture
def rules():
    return Rules(32, True, SEPARATORS)


def words(wording, tokenizer):
    """For each phrase the tokens that say it, as text."""
    said = {}
    for row, run in enumerate(wording.said):
        for phrase, tokens in run:
            said[phrase] = [tokenizer._reader.id_to_token(int(id)) for id in wording.ids[row, tokens]]
    return [said[k] for k in range(len(wording.phrases))]


def test_the_layout_is_the_references():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers.models.grounding_dino.modeling_grounding_dino import (
        generate_masks_with_special_tokens_and_transfer_map as reference,
    )

    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 9, 40):
        ids = rng.choice([0, 2, 3, 4, 5, 9, 10, 11], size=(50, count)).astype(np.int64)
        attends, positions = layout(ids, SEPARATORS)
        want = reference(torch.from_numpy(ids), torch.tensor(SEPARATORS))
        assert attends.dtype == bool
        assert np.array_equal(attends, want[0].numpy())
        assert np.array_equal(positions, want[1].numpy())


def test_a_layout_without_blocks_is_plain():
    attends, positions = layout(np.array([[2, 9, 4, 3]]), SEPARATORS, blocks=False)
    assert attends.all()
    assert positions.tolist() == [[0, 1, 2, 3]]


def test_phrases_and_their_tokens(tokenizer, rules):
    prompt = "A cat.  a remote control . red?\nblue"
    made = word_prompt(prompt, tokenizer, rules)
    assert made.phrases == ("A cat", "a remote control", "red", "blue")
    assert [prompt[s:e] for ((s, e),) in made.spans] == list(made.phrases)
    assert words(made, tokenizer)[0] == ["a", "c", "##a", "##t"]
    assert words(made, tokenizer)[2:] == [["red"], ["blue"]]
    listed = word_labels(["A cat", "a remote control", "red", "blue"], tokenizer, rules)
    assert words(listed, tokenizer) == words(made, tokenizer)
    assert listed.spans is None
    ids = made.ids[0].tolist()
    assert (ids[0], ids[-2], ids[-1]) == (2, 4, 3)  # a full stop is put where none is
    first = made.said[0][0].tokens
    assert made.attends[0][np.ix_(first, first)].all()
    others = np.setdiff1d(np.arange(len(ids)), [*first, first[-1] + 1])
    assert not made.attends[0][np.ix_(first, others)].any()


def test_a_separator_in_a_label_does_not_split_it(tokenizer, rules):
    made = word_labels(["no. 5", "what? red"], tokenizer, rules)
    assert made.phrases == ("no. 5", "what? red")
    assert words(made, tokenizer) == [["n", "##o", "5"], ["w", "##h", "##a", "##t", "red"]]


@pytest.mark.parametrize("count", [1, 7, 80, 81, 200, 1000])
def test_many_labels_become_runs_of_equal_weight(tokenizer, count):
    rules = Rules(64, True, SEPARATORS, 12)
    labels = [f"red {i}" for i in range(count)]
    made = word_labels(labels, tokenizer, rules)
    assert sorted(k for run in made.said for k, _ in run) == list(range(count))
    sizes = made.mask.sum(axis=1)
    assert sizes.max() <= 64
    assert max(len(run) for run in made.said) <= 12
    assert sizes.max() - sizes.min() <= 26
    assert words(made, tokenizer)[-1][0] == "red"
    beyond = ~made.mask
    assert not made.ids[beyond].any()
    assert not made.positions[beyond].any()
    eye = np.eye(made.ids.shape[1], dtype=bool)
    assert all((made.attends[c][beyond[c]] == eye[beyond[c]]).all() for c in range(len(made)))


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_as_few_as_can_be_and_nearly_even(seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 9, rng.integers(1, 40)).tolist()
    room, most = int(rng.integers(max(weights), 30)), int(rng.integers(1, 9))
    runs = _split(weights, room, most)
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(weights)))
    heaviest = max(sum(weights[run]) for run in runs)
    assert heaviest <= room
    assert max(run.stop - run.start for run in runs) <= most

    fewest, held, labels = 1, 0, 0
    for weight in weights:  # filling each run up is the fewest there can be
        full = held + weight > room or labels == most
        fewest, held, labels = fewest + full, weight + held * (not full), 1 + labels * (not full)
    assert len(runs) <= fewest * 5 // 4 + 1


def test_a_long_prompt_becomes_runs_too(tokenizer, rules):
    prompt = ". ".join(f"red {i}" for i in range(30))
    made = word_prompt(prompt, tokenizer, rules)
    assert len(made) > 1
    assert len(made.phrases) == 30
    assert [prompt[s:e] for ((s, e),) in made.spans] == list(made.phrases)
    labels = word_labels([f"red {i}" for i in range(30)], tokenizer, rules)
    assert np.array_equal(made.ids, labels.ids)


def test_how_a_run_is_padded_does_not_change_it(tokenizer):
    rules = Rules(16, True, SEPARATORS)
    labels = ["red", "a dog on the grass", "blue star", "to the left of a circle"]
    made = word_labels(labels, tokenizer, rules)
    for row, run in enumerate(made.said):
        alone = word_labels([labels[k] for k, _ in run], tokenizer, rules)
        size = alone.ids.shape[1]
        assert np.array_equal(made.ids[row, :size], alone.ids[0])
        assert np.array_equal(made.attends[row, :size, :size], alone.attends[0])
        assert np.array_equal(made.positions[row, :size], alone.positions[0])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([], "0 labels"),
        ("red", "list"),
        (["red", 7], "list"),
        (["red", ""], "empty|nothing"),
        (["..."], "nothing"),
        (["?!,"], "nothing"),
        (["red", "RED "], "twice"),
        (["red.", "red"], "twice"),
        (["кошка"], "vocabulary"),
        (["赤い 犬"], "vocabulary"),
        (["red " * 40], "41|tokens"),
        (["red"] * 20_001, "20001"),
    ],
)
def test_labels_that_cannot_be_asked(tokenizer, rules, labels, says):
    with pytest.raises(TextError, match=says) as caught:
        word_labels(labels, tokenizer, rules)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("...", "nothing"),
        (". ? .", "nothing"),
        (", -", "nothing"),
        ("red. blue. Red.", "twice"),
        ("red. кошка.", "vocabulary"),
        ("\ud800 red", "surrogate"),
        ("red " * 40, "tokens"),
    ],
)
def test_prompts_that_cannot_be_asked(tokenizer, rules, prompt, says):
    with pytest.raises(TextError, match=says) as caught:
        word_prompt(prompt, tokenizer, rules)
    assert caught.value.hint


def test_accents_and_capitals_keep_their_places(tokenizer, rules):
    prompt = "Réd. BLÜE İ."
    made = word_prompt(prompt, tokenizer, rules)
    assert made.phrases == ("Réd", "BLÜE İ")
    assert words(made, tokenizer) == [["red"], ["blue", "i"]]


def test_lower_case_by_the_spec_keeps_places_too(toy_grounding, rules):
    made = word_prompt(
        "RED. Blue İ.", Tokenizer(toy_grounding.tokenizer(), TokenizerSpec("t", 32, 0, lower=True)), rules
    )
    assert made.phrases == ("RED", "Blue İ")
