"""Captions: spans to tokens, long ones in windows that cut no span, and what is refused."""

import numpy as np
import pytest

from saccade.runtime.captions import word_caption
from saccade.runtime.errors import TextError
from saccade.runtime.nouns import noun_spans
from saccade.runtime.phrases import Rules
from saccade.runtime.text import Tokenizer, TokenizerSpec

CAPTION = "A dog is on the grass next to a frisbee"
RULES = Rules(32, True, (2, 3, 4, 5))


@pytest.fixture(scope="module")
def tokenizer(toy_grounding):
    return Tokenizer(toy_grounding.tokenizer(), TokenizerSpec("tokenizer.json", 32, 0))


def said(wording, tokenizer):
    """For each phrase its tokens as text, of all runs."""
    made = {k: [] for k in range(len(wording.phrases))}
    for row, run in enumerate(wording.said):
        for phrase, tokens in run:
            made[phrase] += [tokenizer._reader.id_to_token(int(id)) for id in wording.ids[row, tokens]]
    return list(made.values())


def test_spans_and_their_tokens(tokenizer):
    made = word_caption(CAPTION, noun_spans(CAPTION), tokenizer, RULES)
    assert made.phrases == ("dog", "grass", "frisbee")
    assert [CAPTION[s:e] for ((s, e),) in made.spans] == list(made.phrases)
    assert said(made, tokenizer) == [["dog"], ["grass"], ["frisbee"]]
    assert len(made) == 1


def test_a_phrase_may_be_in_parts_and_within_a_word(tokenizer):
    made = word_caption(CAPTION, [[(2, 5), (16, 21)], (3, 4)], tokenizer, RULES)
    assert made.phrases == ("dog … grass", "o")
    assert said(made, tokenizer) == [["dog", "grass"], ["dog"]]
    assert made.spans == (((2, 5), (16, 21)), ((3, 4),))


@pytest.mark.parametrize("sentence", ["a red dog is on the grass. ", "a red dog next to a blue star, "])
def test_a_caption_of_5000_characters_is_read_in_windows(tokenizer, sentence):
    caption = (sentence * 400)[:5000]
    spans = noun_spans(caption)
    made = word_caption(caption, spans, tokenizer, RULES)
    assert len(made) > 10
    assert made.ids.shape[1] <= 32
    assert sorted({k for run in made.said for k, _ in run}) == list(range(len(spans)))
    for (start, end), tokens in zip(spans[:-1], said(made, tokenizer), strict=False):
        assert " ".join(tokens) == caption[start:end]


def test_windows_without_a_phrase_are_not_run(tokenizer):
    caption = "the dog. " + "it is on to of. " * 100 + "a star."
    made = word_caption(caption, [(4, 7), (len(caption) - 5, len(caption) - 1)], tokenizer, RULES)
    assert made.phrases == ("dog", "star")
    assert len(made) == 2


def test_scripts_without_blanks_are_cut_between_tokens(toy_grounding):
    words = toy_grounding.VOCABULARY
    from tokenizers import Tokenizer as Reader

    made = Reader.from_str(toy_grounding.tokenizer().decode())
    made.add_tokens(["狗", "草"])
    tokenizer = Tokenizer(made.to_str().encode(), TokenizerSpec("tokenizer.json", 32, 0))
    caption = "狗草" * 100
    found = word_caption(caption, [(i, i + 1) for i in range(0, 200, 7)], tokenizer, RULES)
    assert len(found) > 5
    assert {len(tokens) for run in found.said for _, tokens in run} == {1}
    assert "狗" not in words


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([], "0 spans"),
        ([(5, 5)], "not a span"),
        ([(5, 2)], "not a span"),
        ([(0, 99)], "not a span"),
        ([(-3, 2)], "not a span"),
        ([(0.0, 2.0)], "not a span"),
        ([(0, 1, 2)], "not a span"),
        ([[]], "not a span"),
        (["dog"], "not a span"),
        ([None], "not a span"),
        ([(1, 2)], "no word"),
    ],
)
def test_spans_that_cannot_be_asked(tokenizer, spans, says):
    with pytest.raises(TextError, match=says) as caught:
        word_caption(CAPTION, spans, tokenizer, RULES)
    assert caught.value.hint


def test_a_span_longer_than_a_run_and_unknown_words(tokenizer):
    with pytest.raises(TextError, match="span of more than"):
        word_caption("red " * 60, [(0, 200)], tokenizer, RULES)
    with pytest.raises(TextError, match="vocabulary"):
        word_caption("a собака", [(2, 8)], tokenizer, RULES)
    fine = word_caption("собака next to a dog", [(17, 20)], tokenizer, RULES)
    assert fine.phrases == ("dog",)
    assert np.count_nonzero(fine.mask) == fine.ids.size
