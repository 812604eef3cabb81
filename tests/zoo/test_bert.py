"""The BERT vocabulary of the world: special tokens in their places, one token a word, and the official files."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo import bert
from saccade.zoo.recipes.grounding_prompts import KINDS, draw_prompt, draw_scene

transformers = pytest.importorskip("transformers", reason="the tokenizer's class comes with the [export] extra")


@pytest.fixture(scope="module")
def tokenizer():
    return bert.build()


def test_special_tokens_stand_where_grounding_dino_looks_for_them(tokenizer):
    found = tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?"])
    assert found == [0, 100, 101, 102, 1012, 1029]
    assert len(tokenizer) == bert.SIZE == 1030


def test_our_spelling_is_that_of_the_class(tokenizer):
    rng = np.random.default_rng(3)
    texts = ["A dog. red circle?", "a cat-like thing, striped.", "small dotted pink heart left of the ring."]
    for kind in KINDS:
        for _ in range(20):
            prompt = draw_prompt(rng, kind, draw_scene(rng, kind, 1.0))
            texts += [prompt.text] if prompt else []
    assert len(texts) > 100
    for text in texts:
        ids, spans = bert.encode(text.lower())
        said = tokenizer(text, return_offsets_mapping=True)
        assert said["input_ids"] == ids
        assert said["offset_mapping"] == spans


def test_each_word_of_the_world_is_known(tokenizer):
    assert len(set(bert.words())) == len(bert.words())
    for word in bert.words():
        assert tokenizer(word)["input_ids"] == [bert.CLS, bert.VOCABULARY[word], bert.SEP]
    assert tokenizer("zebra")["input_ids"] == [bert.CLS, bert.UNK, bert.SEP]


def test_saved_and_read_again_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "a red circle left of the blue square. hexagon?"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
