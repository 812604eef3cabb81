"""The tokenizer: one token a word, no unknown token, and the official files."""

from __future__ import annotations

import pytest

from saccade.zoo.captions import describe
from saccade.zoo.tokenizer import END, START, byte_symbols, vocabulary, words

numpy = pytest.importorskip("numpy")
pytest.importorskip("transformers", reason="the tokenizer's class comes with the [export] extra")

from saccade.zoo.tokenizer import build  # noqa: E402
from saccade.zoo.world import sample_scene  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer():
    return build()


def test_each_word_is_one_token(tokenizer):
    for word in words():
        ids = tokenizer(word)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == [START, word + "</w>", END]


def test_captions_fit_and_have_no_pieces(tokenizer):
    rng = numpy.random.default_rng(0)
    for _ in range(300):
        text = describe(rng, sample_scene(rng, "hard"), detail=0.7).text
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        assert len(tokens) == len(text.replace(".", " .").split()) + 2 <= 32


@pytest.mark.parametrize("text", ["a cat", "Ünïcode 漢字", "emoji 🙂!", "co-op's #7"])
def test_an_unknown_word_does_not_end_the_text(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_case_and_padding(tokenizer):
    assert tokenizer("A Red CIRCLE")["input_ids"] == tokenizer("a red circle")["input_ids"]
    padded = tokenizer("a red circle", padding="max_length")
    assert len(padded["input_ids"]) == 32
    assert set(padded["input_ids"][5:]) == {tokenizer.eos_token_id}
    assert padded["attention_mask"] == [1] * 5 + [0] * 27


def test_ids_do_not_trip_the_legacy_pooling(tokenizer):
    assert tokenizer.eos_token_id == len(tokenizer) - 1 != 2
    assert tokenizer.bos_token_id == len(tokenizer) - 2


def test_saved_and_read_again_it_is_the_same(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "a photo of a small striped red circle left of an orange heart."
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (tmp_path / "tokenizer.json").is_file()


def test_the_byte_table_is_complete():
    assert len(set(byte_symbols())) == 256
    vocab, merges = vocabulary()
    assert sorted(vocab.values()) == list(range(len(vocab)))
    assert len(set(merges)) == len(merges)
