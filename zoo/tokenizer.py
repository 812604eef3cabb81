"""A real CLIPTokenizer over the world's few words: one token a word, and bytes for every word that it does not know.

CLIP's tokenizer is a byte-pair encoding. Merges built from the end of each word ("l" + "e</w>" -> "le</w>", ...) make
each known word one token; the 512 byte symbols below them spell anything else, so nothing ever maps to the unknown
token, which in CLIP is the end of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saccade.zoo.captions import TEMPLATES
from saccade.zoo.words import COLOURS, RELATIONS, SHAPES, SIZES, TEXTURES

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 32  # text positions of the zoo's models
LABEL_WORDS = ("the", "with", "on", "photo", "picture", "shape", "shapes", "background", "dark")


def words() -> list[str]:
    """Every word that captions use, and a few more that prompts do, in a fixed order."""
    sentences = [*TEMPLATES, *RELATIONS, *SHAPES, *COLOURS, *TEXTURES, *SIZES, "a an and", *LABEL_WORDS]
    found = " ".join(sentences).replace("{}", " ").split()
    return list(dict.fromkeys(found))


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in the order of the bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in plain}
    hidden = [byte for byte in range(256) if byte not in table]
    table.update({byte: chr(256 + number) for number, byte in enumerate(hidden)})
    return [table[byte] for byte in range(256)]


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(token to id, merges in order of priority)."""
    symbols = byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols]
    merges: list[tuple[str, str]] = []
    for word in words():
        tail = word[-1] + "</w>"
        for letter in reversed(word[:-1]):
            if (letter, tail) not in merges:
                merges.append((letter, tail))
            tail = letter + tail
            tokens.append(tail)
    tokens = list(dict.fromkeys([*tokens, START, END]))
    return {token: number for number, token in enumerate(tokens)}, merges


def build() -> CLIPTokenizer:
    """The tokenizer, ready for save_pretrained: pads with the end token as the original does, at most 32 tokens."""
    from transformers import CLIPTokenizer

    vocab, merges = vocabulary()
    return CLIPTokenizer(
        vocab=vocab, merges=merges, bos_token=START, eos_token=END, unk_token=END, pad_token=END,
        model_max_length=MAX_TOKENS,
    )  # fmt: skip
