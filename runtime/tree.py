"""Tree prompts, as NanoOWL writes them: what to detect, what to look for within it, and what to call it.

[a face [an eye, a nose] (happy, sad), a hand]
 │       │                └ classify each face           ( ) alternatives for a CLIP
 │       └ detect within each face                       [ ] things for a detector
 └ detect in the picture
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from saccade.runtime.errors import TextError

MAX_DEPTH, MAX_ITEMS = 4, 256
_TOKEN = re.compile(r"\s*([\[\](),]|[^\[\](),]+)")
_HINT = 'such as "[a face [an eye, a nose] (happy, sad), a hand]"'


@dataclass(frozen=True)
class Item:
    """A thing to detect; `parts` are looked for within each of it, `kinds` are what it may be called."""

    name: str
    parts: tuple[Item, ...] = ()
    kinds: tuple[str, ...] = ()

    @property
    def classified(self) -> bool:
        """Whether it or a part of it has kinds: whether a CLIP is needed."""
        return bool(self.kinds) or any(part.classified for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and those of its parts, from the outside in."""
        return (self.name, *(name for part in self.parts for name in part.names))


def is_tree(prompt: object) -> bool:
    """Whether a prompt is written as a tree."""
    return isinstance(prompt, str) and prompt.lstrip().startswith("[")


def parse(prompt: str) -> tuple[Item, ...]:
    """The items of a tree prompt. Raises TextError that says where it is wrong."""
    tokens = [(found.group(1).strip(), found.start(1)) for found in _TOKEN.finditer(prompt)]
    tokens = [(text, at) for text, at in tokens if text]
    if sum(text not in "[](),'" for text, _ in tokens) > MAX_ITEMS:
        raise TextError(f"[tree] more than {MAX_ITEMS} names", hint="ask in several prompts")
    reader = _Reader(tokens, len(prompt))
    items = reader.things(0)
    if reader.left:
        raise reader.wrong("the end")
    return items


class _Reader:
    def __init__(self, tokens: list[tuple[str, int]], end: int):
        self.tokens, self.end, self.place = tokens, end, 0

    @property
    def left(self) -> bool:
        return self.place < len(self.tokens)

    def things(self, depth: int) -> tuple[Item, ...]:
        if depth >= MAX_DEPTH:
            raise TextError(f"[tree] deeper than {MAX_DEPTH}", hint=_HINT)
        self.take("[")
        items = [self.item(depth)]
        while self.peek() == ",":
            self.take(",")
            items.append(self.item(depth))
        self.take("]")
        _refuse_twice([item.name for item in items])
        return tuple(items)

    def item(self, depth: int) -> Item:
        name = self.name()
        parts: tuple[Item, ...] = ()
        kinds: tuple[str, ...] = ()
        while self.peek() in ("[", "("):
            if self.peek() == "[" and not parts:
                parts = self.things(depth + 1)
            elif self.peek() == "(" and not kinds:
                kinds = self.kinds()
            else:
                raise self.wrong("a comma")
        return Item(name, parts, kinds)

    def kinds(self) -> tuple[str, ...]:
        self.take("(")
        names = [self.name()]
        while self.peek() == ",":
            self.take(",")
            names.append(self.name())
        self.take(")")
        _refuse_twice(names)
        return tuple(names)

    def name(self) -> str:
        text = self.peek()
        if not text or text in "[](),":
            raise self.wrong("a name")
        self.place += 1
        return text

    def take(self, wanted: str) -> None:
        if self.peek() != wanted:
            raise self.wrong(f"{wanted!r}")
        self.place += 1

    def peek(self) -> str:
        return self.tokens[self.place][0] if self.left else ""

    def wrong(self, wanted: str) -> TextError:
        text, at = self.tokens[self.place] if self.left else ("the end", self.end)
        return TextError(f"[tree] {wanted} expected at character {at}, not {text[:32]!r}", hint=_HINT)


def _refuse_twice(names: list[str]) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TextError(f"[tree] {twice[:64]!r} stands twice in one group", hint="give each name once")
