"""A real BertTokenizer over the world's words: one token a word, [UNK] for every word that it does not know.

Grounding DINO's code holds the ids of its special tokens as constants ([PAD] 0, [CLS] 101, [SEP] 102, "." 1012, "?"
1029): phrases are cut at them, so a vocabulary has to keep them in their places. The rows between are unused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from saccade.zoo.captions import TEMPLATES
from saccade.zoo.words import COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES

if TYPE_CHECKING:
    from transformers import BertTokenizer

PAD, MASK, UNK, CLS, SEP, STOP, ASK = 0, 99, 100, 101, 102, 1012, 1029
SIZE = 1030
MAX_TOKENS = 48
FILLERS = ("the", "with", "next to", "shape", "and", "an")


def words() -> list[str]:
    """Every word that the prompts of training use, in a fixed order."""
    sentences = [*SHAPES, *COLOURS, *FILLERS, *RELATIONS, *TEXTURES, *SIZES, *TEMPLATES]
    return list(dict.fromkeys(" ".join(sentences).replace("{}", " ").split()))


def vocabulary() -> dict[str, int]:
    """Token to id: 1030 entries, the special ones where bert-base-uncased has them, words from 103 on."""
    placed = {PAD: "[PAD]", MASK: "[MASK]", UNK: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", STOP: ".", ASK: "?"}
    placed |= {103 + number: word for number, word in enumerate(words())}
    return {placed.get(number, f"[unused{number}]"): number for number in range(SIZE)}


VOCABULARY = vocabulary()
_PIECE = re.compile(r"[a-z0-9]+|[^a-z0-9\s]")


def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """(ids with [CLS] and [SEP], characters of each) as the tokenizer gives them for plain lower-case text.

    A plain loop, since training asks for it a few hundred thousand times.
    """
    pieces = list(_PIECE.finditer(text))
    ids = [VOCABULARY.get(piece.group(), UNK) for piece in pieces]
    return [CLS, *ids, SEP], [(0, 0), *(piece.span() for piece in pieces), (0, 0)]


def build() -> BertTokenizer:
    """The tokenizer, ready for save_pretrained."""
    from transformers import BertTokenizer

    return BertTokenizer(vocab=VOCABULARY, do_lower_case=True, model_max_length=MAX_TOKENS)
