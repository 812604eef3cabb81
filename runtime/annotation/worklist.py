"""The worklist: everything that was asked and answered about a folder's pictures, and what is still open.

It is a prompts file (prompts.py). Who fills it sets `accept` of an entry to true or false, may give it a category and
other points or a box, and may add entries; given back, what is accepted is segmented. Nothing that was filled is lost:
answers are in the next worklist too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.prompts import FORMAT, PromptedPicture, Prompts
from saccade.runtime.annotation.record import Prompted, Shard
from saccade.runtime.files import writing
from saccade.runtime.index import Entry


def write(target: Path, folder: Folder, entries: Iterable[Entry], given: Prompts | None) -> int:
    """Write the worklist, picture by picture, and give the number of open asks. Raises NoSpace."""
    still = 0
    with writing(target) as file:
        head = {"format": FORMAT, "run": folder.run}
        file.write(msgspec.json.encode(head)[:-1] + b',"pictures":[')
        for at, picture in enumerate(_pictures(folder, entries, given)):
            still += sum(prompt.accept is None for prompt in picture.prompts)
            file.write((b",\n" if at else b"\n") + msgspec.json.encode(picture))
        file.write(b"]}\n")
    return still


def _pictures(folder: Folder, entries: Iterable[Entry], given: Prompts | None) -> Iterable[PromptedPicture]:
    for entry in entries:
        automatic, prompted = folder.known(entry, "automatic"), folder.known(entry, "prompted")
        held = given.of(entry.name) if given else None
        answers = held.prompts if held else prompted.prompts if prompted else ()
        prompts = (*answers, *_open(automatic, {prompt.ask for prompt in answers}))
        if not prompts:
            continue
        made = automatic or prompted
        if made is None and held is not None:
            yield held  # the picture could not be read this time
        elif made is not None:
            digest = held.digest if held and held.digest else made.digest
            yield PromptedPicture(entry.name, prompts, digest, made.width, made.height)


def _open(automatic: Shard | None, answered: set[int | None]) -> Iterable[Prompted]:
    return (ask for ask in automatic.asks if ask.ask not in answered) if automatic else ()
