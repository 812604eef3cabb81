"""A finished picture: its layers put together, in the order in which every output has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.record import Annotation, Shard
from saccade.runtime.annotation.rules import ASSISTED, Rules
from saccade.runtime.index import Entry


class Finished(NamedTuple):
    """A picture with all its annotations: the automatic ones that none replaces, then the prompted ones."""

    name: str
    height: int
    width: int
    annotations: tuple[Annotation, ...]


def finished(folder: Folder, entries: Iterable[Entry], rules: Rules) -> Iterator[Finished]:
    """The pictures that are done, in the order of `entries`. One is in memory at a time."""
    for entry in entries:
        layers = [folder.known(entry, layer) for layer in rules.layers]
        made = together(*layers) if rules.stage != ASSISTED else together(None, *layers)
        if made is not None:
            yield made


def together(automatic: Shard | None, prompted: Shard | None = None) -> Finished | None:
    """Both layers of a picture as one; None if there is neither."""
    first = automatic or prompted
    if first is None:
        return None
    gone = set(prompted.replaces) if prompted else set()
    found = [a for i, a in enumerate(automatic.annotations) if i not in gone] if automatic else []
    found += prompted.annotations if prompted else ()
    return Finished(first.name, first.height, first.width, tuple(found))
