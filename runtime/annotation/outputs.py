"""What is made of a run's shards when all pictures were seen: COCO, SA-1B, a contact sheet, and the counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from saccade.runtime.annotation import coco, sa1b
from saccade.runtime.annotation.finished import Finished, finished
from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.rules import Rules
from saccade.runtime.annotation.sheet import PICTURES
from saccade.runtime.annotation.sheet import draw as draw_sheet
from saccade.runtime.index import Entry

FORMATS = {"coco": "annotations.json", "sa1b": "sa1b"}
"""What can be written, and its name in the run's folder."""
SHEET = "sheet.png"


class Outputs:
    """Of the pictures `entries` in a run's folder, without those that had to be skipped."""

    def __init__(self, folder: Folder, chosen: Rules, entries: Sequence[Entry], skipped: set[str]):
        self._folder, self._rules = folder, chosen
        self._entries = [entry for entry in entries if entry.name not in skipped]

    def write(self, kind: str, model: Any) -> Path:
        """Write one of FORMATS, and say where. Raises NoSpace."""
        target = self._folder.path / FORMATS[kind]
        if kind == "sa1b":
            sa1b.write(target, self._finished())
        else:
            about = {"description": f"{self._rules.stage} masks of {model.bundle.name}", "version": "1.0"}
            about |= {"model": model.bundle.digest, "run": self._folder.run}
            coco.write(target, self._finished, self._rules.names, about)
        return target

    def sheet(self, root: Path, title: str) -> Path:
        """Draw up to PICTURES of the pictures, which lie below `root`, evenly chosen. Raises NoSpace."""
        target = self._folder.path / SHEET
        count = min(PICTURES, len(self._entries))
        shown = [self._entries[at * (len(self._entries) - 1) // max(count - 1, 1)] for at in range(count)]
        draw_sheet(root, finished(self._folder, shown, self._rules), title).save_png(target)
        return target

    def counts(self) -> tuple[int, int, int]:
        """Pictures and masks in the output, and prompts whose mask was dropped."""
        pictures = masks = 0
        for picture in self._finished():
            pictures, masks = pictures + 1, masks + len(picture.annotations)
        held = (self._folder.known(entry, "prompted") for entry in self._entries)
        return pictures, masks, sum(shard.dropped for shard in held if shard)

    def _finished(self) -> Iterator[Finished]:
        return finished(self._folder, self._entries, self._rules)
