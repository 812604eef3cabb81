"""Texts to token ids, by the checkpoint's own tokenizer; described by a value that lies in the bundle.

texts ──check──▶ clean (SigLIP) ──tokenizers──▶ cut, end token kept ──pad──▶ (B, N) int64
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from saccade.runtime.errors import ManifestError, TextError

MAX_CHARACTERS = 100_000
"""Of one text. What a model reads ends far below; this bounds what a request can make the tokenizer chew."""
MAX_TEXTS = 200_000
"""In one list: ImageNet's 1,000 labels with 80 templates are 80,000."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TokenizerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest's `tokenizer`.

    file: a tokenizer.json of the `tokenizers` library, in the bundle
    max_length: tokens that the model reads, start and end tokens among them; longer texts are cut before the end token
    pad_id: what fills up shorter texts of a batch
    pad_to: pad every batch to this length, as the model was trained; 0 pads to the longest of the batch
    pad_side: "right", or "left" as a few tokenizers do
    lower: lower-case first
    canonical: lower-case if `lower`, drop ASCII punctuation, make runs of white space one blank, strip: SigLIP's
        rule (big_vision, evaluators/proj/image_text/prompt_engineering.py)
    """

    file: str
    max_length: int
    pad_id: int
    pad_to: int = 0
    pad_side: str = "right"
    lower: bool = False
    canonical: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.max_length <= 65_536:
            raise ValueError(f"max_length {self.max_length} is not between 2 and 65536")
        if not 0 <= self.pad_id < 2**31:
            raise ValueError(f"pad_id {self.pad_id} is no token id")
        if self.pad_to and not self.max_length <= self.pad_to <= 65_536:
            raise ValueError(f"pad_to {self.pad_to} is shorter than max_length {self.max_length}")
        if self.pad_side not in ("right", "left"):
            raise ValueError(f"pad_side {self.pad_side!r} is neither right nor left")

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> TokenizerSpec:
        """The value that the manifest describes. Raises ManifestError."""
        try:
            return msgspec.convert(dict(described), cls)
        except msgspec.ValidationError as error:
            raise ManifestError(f"[bundle] tokenizer: {error}", pointer="/tokenizer", hint="export it again") from None


class Spelling(NamedTuple):
    """The tokens of one text, uncut.

    ids: N token ids
    spans: for each the characters (start, end) of the text that it stands for; (0, 0) for a special one
    special: for each whether the tokenizer added it, such as [CLS]
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    special: list[bool]


class Tokenizer:
    """The tokenizer of one bundle. It is not changed after it was made, so threads may share it."""

    def __init__(self, data: bytes, spec: TokenizerSpec):
        """data: the content of spec.file. Raises ManifestError if that is no tokenizer."""
        from tokenizers import Tokenizer as Reader

        self.spec, self._data = spec, data
        try:
            self._reader = Reader.from_str(data.decode())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library's Rust comes as a BaseException
            why = str(error).split("\n")[0][:160]
            raise ManifestError(f"[bundle] {spec.file}: no tokenizer: {why}", pointer="/tokenizer/file") from None
        self._reader.no_padding()
        self._reader.enable_truncation(spec.max_length)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids, (B, N) int64 in C order: N is pad_to, or the longest of the batch.

        Raises TextError for what `check` refuses.
        """
        self.check(texts)
        spec = self.spec
        found = self._reader.encode_batch_fast([self._cleaned(text) for text in texts])
        rows = [line.ids for line in found]
        ids = np.full((len(rows), spec.pad_to or max(map(len, rows))), spec.pad_id, np.int64)
        for line, row in zip(ids, rows, strict=True):
            line[slice(len(row)) if spec.pad_side == "right" else slice(len(line) - len(row), None)] = row
        if not ids.size:
            raise TextError("[text] no token in any text", hint="the tokenizer of this bundle adds no end token")
        return ids

    def spell(self, texts: Sequence[str]) -> list[Spelling]:
        """The tokens of each text with the characters that they stand for; nothing is cut, no padding is added.

        Raises TextError for what `check` refuses. `canonical` does not hold here: it would move the characters.
        """
        self.check(texts)
        found = self._uncut.encode_batch([_lowered(text) if self.spec.lower else text for text in texts])
        return [Spelling(f.ids, f.offsets, [bool(s) for s in f.special_tokens_mask]) for f in found]

    @functools.cached_property
    def unknown(self) -> int | None:
        """The id that stands for what the vocabulary lacks; None where every byte has a token."""
        name = getattr(self._reader.model, "unk_token", None)
        return None if name is None else self._reader.token_to_id(name)

    @functools.cached_property
    def end(self) -> int | None:
        """The id that ends every text; None where none is added."""
        (spelled,) = self.spell(["a"])
        return spelled.ids[-1] if spelled.special[-1] else None

    def characters(self, ids: Sequence[int]) -> frozenset[str]:
        """Of these tokens those that are a single character, such as the full stop."""
        texts = [self._reader.id_to_token(id) for id in ids]
        return frozenset(text for text in texts if text is not None and len(text) == 1)

    @functools.cached_property
    def _uncut(self) -> Any:
        from tokenizers import Tokenizer as Reader

        reader = Reader.from_str(self._data.decode())
        reader.no_padding()
        reader.no_truncation()
        return reader

    @staticmethod
    def check(texts: Sequence[str]) -> None:
        """Raise TextError for no texts, more than MAX_TEXTS, or one that is no string, blank, over MAX_CHARACTERS or
        holds half of a surrogate pair."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise TextError(f"[text] a list of texts expected, got {type(texts).__name__}", hint="put it in a list")
        if not 0 < len(texts) <= MAX_TEXTS:
            raise TextError(f"[text] {len(texts)} texts; between 1 and {MAX_TEXTS}", hint="give fewer at a time")
        for place, text in enumerate(texts):
            if reason := _unfit(text):
                raise TextError(f"[text] text {place}: {reason}", hint="each text is a few words of plain Unicode")

    def _cleaned(self, text: str) -> str:
        if self.spec.lower:
            text = text.lower()
        if self.spec.canonical:
            text = re.sub(r"\s+", " ", text.translate(_PUNCTUATION)).strip()
        return text


def _lowered(text: str) -> str:
    """Lower case, character by character, so that places stay what they are."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def _unfit(text: object) -> str:
    if not isinstance(text, str):
        return f"a string expected, got {type(text).__name__}"
    if len(text) > MAX_CHARACTERS:
        return f"{len(text)} characters, at most {MAX_CHARACTERS}"
    if not text.strip():
        return "it is empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair"
    return ""
