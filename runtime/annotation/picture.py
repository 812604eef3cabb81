"""One picture through the layers of its run: what a shard holds already is not done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from saccade.runtime.annotation import asks, stages
from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.prompts import PromptedPicture, Prompts
from saccade.runtime.annotation.record import Annotation, Prompted, Shard
from saccade.runtime.annotation.rules import SEMI, Rules
from saccade.runtime.errors import AnnotationFileError
from saccade.runtime.image import Image, decode
from saccade.runtime.index import Entry


class Annotator:
    """Makes the shards that pictures lack.

    model: a loaded SAM; root: the folder with the pictures; given: the prompts of this run, if there are any
    """

    def __init__(self, model: Any, root: Path, folder: Folder, rules: Rules, given: Prompts | None):
        self._model, self._root, self._folder, self._rules, self._given = model, root, folder, rules, given

    def missing(self, entry: Entry) -> list[Shard]:
        """The layers that a picture lacks, made now; empty if it lacks none.

        Raises ImageError for one that cannot be read, InputError for one that its prompts do not fit.
        """
        first = "automatic" in self._rules.layers and self._folder.known(entry, "automatic") is None
        wanted = self.wanted(entry.name)
        held = self._folder.known(entry, "prompted")
        second = wanted is not None and (held is None or held.prompts != wanted.prompts)
        if not first and not second:
            return []
        seen = _Seen(self._model, decode(self._root / entry.name))
        if wanted is not None and second:
            self._check(wanted, seen.image)
        made = [self._automatic(entry, seen)] if first else []
        if wanted is not None and second:
            found = made[0] if made else self._folder.known(entry, "automatic")
            made.append(self._prompted(entry, seen, wanted.prompts, found.annotations if found else ()))
        return made

    def wanted(self, name: str) -> PromptedPicture | None:
        """The prompts that a picture is to have: this run's, else those that it had before."""
        if "prompted" not in self._rules.layers:
            return None
        if self._given is not None and (given := self._given.of(name)):
            return given
        before = self._folder.shard(name, "prompted")
        return PromptedPicture(name, before.prompts, before.digest) if before else None

    def _check(self, wanted: PromptedPicture, image: Image) -> None:
        if self._given is not None and self._given.of(wanted.file_name):
            self._given.fit(wanted.file_name, image.height, image.width, image.digest)
        elif wanted.digest != image.digest:
            raise AnnotationFileError(
                "[annotate] the picture has changed since its prompts were given", hint="give its prompts again"
            )

    def _automatic(self, entry: Entry, seen: _Seen) -> Shard:
        before = self._folder.shard(entry.name, "automatic")
        if before is not None and before.digest == seen.image.digest:
            return _touched(before, entry)
        found = stages.automatic(seen.view, self._rules)
        height, width = seen.image.height, seen.image.width
        open_ = asks.asks(seen.view, found, height, width, self._rules) if self._rules.stage == SEMI else ()
        return self._shard(entry, "automatic", seen.image, annotations=found, asks=open_)

    def _prompted(
        self, entry: Entry, seen: _Seen, prompts: tuple[Prompted, ...], automatic: tuple[Annotation, ...]
    ) -> Shard:
        before = self._folder.shard(entry.name, "prompted")
        if before is not None and (before.digest, before.prompts) == (seen.image.digest, prompts):
            return _touched(before, entry)
        accepted = any(prompt.accept for prompt in prompts)
        found = stages.prompted(seen.view, prompts, self._rules) if accepted else stages.Found(())
        gone = stages.replaced(automatic, found.annotations, self._rules)
        made = {"annotations": found.annotations, "prompts": prompts, "replaces": gone, "dropped": found.dropped}
        return self._shard(entry, "prompted", seen.image, **made)

    def _shard(self, entry: Entry, layer: str, image: Image, **made: Any) -> Shard:
        return Shard(
            run=self._folder.run,
            layer=layer,
            name=entry.name,
            size=entry.size,
            mtime_ns=entry.mtime_ns,
            digest=image.digest,
            height=image.height,
            width=image.width,
            **made,
        )


class _Seen:
    """A decoded picture, encoded when a stage first looks at it."""

    def __init__(self, model: Any, image: Image):
        self.image, self._model, self._view = image, model, None

    @property
    def view(self) -> Any:
        if self._view is None:
            self._view = self._model.encode(self.image)
        return self._view


def _touched(shard: Shard, entry: Entry) -> Shard:
    """The shard of a picture whose file was written anew with the same pixels."""
    made: Shard = msgspec.structs.replace(shard, size=entry.size, mtime_ns=entry.mtime_ns)
    return made
