"""Texts to ids: as the reference tokenizers do, and nothing else gets through."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.runtime.errors import ManifestError, TextError
from saccade.runtime.text import MAX_CHARACTERS, MAX_TEXTS, Tokenizer, TokenizerSpec

ODD = [
    "a photo of a red circle",
    "  leading\tand\n\ntrailing   \u3000 space ",
    "UPPER Case, IT'S fine; they're 123 & 4567!",
    "naïve café — Straße, ﬁne ½ ①",
    "e\u0301 against é",
    "日本語のテキスト와 한국어 и русский",
    "🦊 fox 👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "İstanbul ẞ ǅ",
    "zero\u200bwidth \u202eright to left\u202c \ufeff",
    "<|endoftext|> in the middle <|startoftext|>",
    "null \x00 and control \x07",
    "a" * 500,
    "word " * 200,
    "!?.,;:",
]


@pytest.fixture(scope="module")
def words() -> Any:
    """transformers' CLIPTokenizer of the zoo."""
    pytest.importorskip("transformers")
    from saccade.zoo.tokenizer import build

    return build()


@pytest.fixture(scope="module")
def clip(words: Any) -> Tokenizer:
    spec = TokenizerSpec("tokenizer.json", words.model_max_length, words.pad_token_id)
    return Tokenizer(words.backend_tokenizer.to_str().encode(), spec)


def small(**more: Any) -> Tokenizer:
    """A tokenizer of letters, made here: [a] → 3 …, ends with 1."""
    from tokenizers import Tokenizer as Reader
    from tokenizers import models, pre_tokenizers, processors

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((c, -2.0) for c in "▁abcdefghijklmnopqrstuvwxyz")]
    made = Reader(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    spec = {"file": "tokenizer.json", "max_length": 8, "pad_id": 0, **more}
    return Tokenizer(made.to_str().encode(), TokenizerSpec.of(spec))


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_texts_are_those_of_transformers(clip: Tokenizer, words: Any, text: str) -> None:
    assert clip.encode([text])[0].tolist() == words(text, truncation=True)["input_ids"]


def test_a_batch_is_padded_to_its_longest(clip: Tokenizer, words: Any) -> None:
    ids = clip.encode(ODD)
    assert ids.dtype == np.int64
    assert ids.flags.c_contiguous
    assert ids.tolist() == words(ODD, padding=True, truncation=True)["input_ids"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80), min_size=1, max_size=3))
def test_any_text_is_that_of_transformers(texts: list[str]) -> None:
    pytest.importorskip("transformers")
    clip, words = _both()
    texts = [text for text in texts if text.strip()] or ["x"]
    assert clip.encode(texts).tolist() == words(texts, padding=True, truncation=True)["input_ids"]


_MADE: list[Any] = []


def _both() -> Any:
    if not _MADE:
        from saccade.zoo.tokenizer import build

        words = build()
        spec = TokenizerSpec("tokenizer.json", words.model_max_length, words.pad_token_id)
        _MADE.extend((Tokenizer(words.backend_tokenizer.to_str().encode(), spec), words))
    return _MADE


def test_a_long_text_keeps_its_end_token(clip: Tokenizer, words: Any) -> None:
    (ids,) = clip.encode(["red circle " * 100])
    assert len(ids) == clip.spec.max_length
    assert (ids[0], ids[-1]) == (words.bos_token_id, words.eos_token_id)


def test_fixed_length_and_side() -> None:
    right, left = small(pad_to=8), small(pad_to=8, pad_side="left")
    assert right.encode(["ab"])[0].tolist() == [3, 4, 5, 1, 0, 0, 0, 0]
    assert left.encode(["ab"])[0].tolist() == [0, 0, 0, 0, 3, 4, 5, 1]
    assert right.encode(["ab" * 50])[0].tolist()[-1] == 1


def test_canonical_texts() -> None:
    """SigLIP: lower case, no punctuation, single blanks."""
    made = small(lower=True, canonical=True)
    want = made.encode(["a b c"]).tolist()
    for text in ("A B C", "a,b c!".replace(",", " "), "  a \t b\n c.", '"A" (b) c?'):
        assert made.encode([text]).tolist() == want
    assert made.encode(["a-b"]).tolist() == made.encode(["ab"]).tolist()
    assert made.encode(["?!"]).tolist() == [[1]]


def test_lower_only_where_it_is_said() -> None:
    assert small().encode(["A"])[0].tolist() != small(lower=True).encode(["A"])[0].tolist()


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([], "0 texts"),
        ("a cat", "a list of texts expected, got str"),
        (None, "got NoneType"),
        ({"a"}, "got set"),
        (["a", 3], "text 1: a string expected, got int"),
        (["a", None], "text 1: a string expected, got NoneType"),
        ([b"a"], "text 0: a string expected, got bytes"),
        (["a", ""], "text 1: it is empty"),
        ([" \t\n\u3000"], "text 0: it is empty"),
        (["a" * (MAX_CHARACTERS + 1)], "100001 characters, at most 100000"),
        (["a\ud800b"], "half of a surrogate pair"),
        (["a"] * (MAX_TEXTS + 1), f"{MAX_TEXTS + 1} texts"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(texts: Any, why: str) -> None:
    with pytest.raises(TextError) as caught:
        small().encode(texts)
    assert why in caught.value.message
    assert caught.value.hint


def test_the_longest_text_that_is_allowed() -> None:
    assert small().encode(["ab " * (MAX_CHARACTERS // 3)]).shape == (1, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 1},
        {"max_length": 10**9},
        {"max_length": "8"},
        {"pad_id": -1},
        {"pad_to": 4},
        {"pad_side": "top"},
        {"unknown": 1},
        {"file": 3},
        {"lower": "yes"},
    ],
)
def test_a_bad_description_is_a_manifest_error(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError) as caught:
        TokenizerSpec.of({"file": "tokenizer.json", "max_length": 8, "pad_id": 0, **change})
    assert caught.value.pointer == "/tokenizer"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, json.dumps({"version": "1.0", "model": {"type": "x"}}).encode()],
)
def test_a_damaged_tokenizer_is_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError, match="no tokenizer"):
        Tokenizer(data, TokenizerSpec("tokenizer.json", 8, 0))


def test_threads_may_share_one() -> None:
    made = small()
    want = made.encode(["abc"]).tolist()
    wrong: list[Any] = []

    def work() -> None:
        wrong.extend(found for _ in range(50) if (found := made.encode(["abc"]).tolist()) != want)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
