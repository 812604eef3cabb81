"""CLIP (arXiv 2103.00020) and SigLIP (arXiv 2303.15343): pictures and texts in one space.

picture ──preprocess──▶ image ──▶ embedding ─┐
                                             ├─ cosine × scale + bias ─ softmax | sigmoid ─▶ scores
text ────tokenizer────▶ text  ──▶ embedding ─┘
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from saccade.runtime.bundle import Bundle
from saccade.runtime.call import Call, Graph, Pipeline, Work
from saccade.runtime.classifier import Classifier
from saccade.runtime.errors import InputError, TextError
from saccade.runtime.image import Image, decode
from saccade.runtime.index import Index
from saccade.runtime.manifest import Manifest
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.results import Embeddings, Matches, Scores, normalise
from saccade.runtime.text import Tokenizer, TokenizerSpec

BATCH = 16
"""Pictures or texts in one engine run: enough to fill the matrix units of a CPU, little enough to bound memory."""
TEMPLATES = ("a photo of {}.",)
"""CLIP's own prompt for a label (arXiv 2103.00020, §3.1.4), used when the bundle names none."""


class Clip:
    """Encode, classify, search. Takes pictures as paths, bytes, PIL images, arrays, or lists of these."""

    def __init__(self, bundle: Bundle):
        manifest = bundle.manifest
        self.image, self.text = Graph(bundle, "image"), Graph(bundle, "text")
        self.graphs = (self.image, self.text)
        self.preprocess = Preprocess.read(manifest.preprocess)
        self.templates = _templates(manifest)
        self._bundle, self._config = bundle, manifest.config

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's own tokenizer, read at the first text: a robot that only classifies may never need it."""
        spec = TokenizerSpec.of(self._bundle.manifest.tokenizer)
        return Tokenizer(self._bundle.read(spec.file), spec)

    def encode_image(self, pictures: Any) -> Pipeline[Embeddings]:
        """Embeddings (N, E) of one picture or a list of N.

        Raises ImageError or ImageTooLarge for what is no picture; nothing has been computed then for its batch.
        """
        sources = _listed(pictures, "picture")
        vectors, names = [], []
        for start in range(0, len(sources), BATCH):
            images = []
            for source in sources[start : start + BATCH]:
                images.append((yield Work(decode, source)))
            pixels, _ = yield Work(self.preprocess.batch, images)
            out = yield Call(self.image, {"pixels": pixels}, key=functools.partial(_key, images))
            vectors.append(out["embedding"])
            names += [image.name for image in images]
        return Embeddings.of(np.concatenate(vectors), tuple(names), self._bundle.digest)

    def encode_text(self, texts: str | Sequence[str]) -> Pipeline[Embeddings]:
        """Embeddings (N, E) of one text or N texts; what is longer than the model reads is cut as in training.

        Raises TextError for an empty list, an empty text, or one of more than 100,000 characters.
        """
        lines = _listed(texts, "text")
        self.tokenizer.check(lines)
        vectors = []
        for start in range(0, len(lines), BATCH):
            ids = yield Work(self.tokenizer.encode, lines[start : start + BATCH])
            out = yield Call(self.text, {"input_ids": ids}, key=ids.tobytes)
            vectors.append(out["embedding"])
        return Embeddings.of(np.concatenate(vectors), tuple(lines), self._bundle.digest)

    def classifier(self, labels: Sequence[str], templates: Sequence[str] | None = None) -> Pipeline[Classifier]:
        """A Classifier of K labels: each the mean of its prompts' unit vectors (prompt ensemble), kept to be reused.

        templates: texts with one {} for the label; by default the bundle's
        Raises TextError for no labels, a label that stands twice, or a template without exactly one {}.
        """
        names = _labels(labels)
        chosen = _checked(tuple(templates) if templates is not None else self.templates)
        prompts = [template.replace("{}", name) for name in names for template in chosen]
        said = yield from self.encode_text(prompts)
        means = said.vectors.reshape(len(names), len(chosen), -1).mean(axis=1)
        config = self._config
        return Classifier(
            normalise(means),
            names,
            chosen,
            self._bundle.digest,
            config.get("scoring", "softmax"),
            float(config.get("logit_scale", 100.0)),
            float(config.get("logit_bias", 0.0)),
        )

    def classify(
        self, pictures: Any, labels: Sequence[str] | Classifier, templates: Sequence[str] | None = None
    ) -> Pipeline[Scores]:
        """Scores (N, K) of one picture or N against K labels, or against a classifier built before."""
        if not isinstance(labels, Classifier):
            labels = yield from self.classifier(labels, templates)
        seen = yield from self.encode_image(pictures)
        return labels(seen)

    def search(self, index: Index, query: Any, count: int = 10) -> Pipeline[Matches]:
        """The `count` entries of an index nearest to the query, best first.

        query: a text (str), a picture (anything else that `encode_image` takes; a path as pathlib.Path), or Embeddings
        Works every way: text → pictures, picture → texts, picture → pictures, text → texts.
        Raises IndexFileError if another model made the index.
        """
        if isinstance(query, Embeddings):
            asked = query
        elif isinstance(query, str):
            asked = yield from self.encode_text(query)
        else:
            asked = yield from self.encode_image(query)
        return index.nearest(asked, count)


def _listed(given: Any, what: str) -> list[Any]:
    many = list(given) if isinstance(given, list | tuple) else [given]
    if not many:
        raise (TextError if what == "text" else InputError)(f"[clip] no {what} given", hint=f"give at least one {what}")
    return many


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        labels = [labels]
    names = tuple(labels)
    if not names:
        raise TextError("[clip] no labels given", hint="give at least one, such as --labels 'a cat' 'a dog'")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TextError(f"[clip] the label {str(twice)[:80]!a} stands twice", hint="give each label once")
    return names


def _checked(templates: tuple[str, ...]) -> tuple[str, ...]:
    bad = next((t for t in templates if not isinstance(t, str) or t.count("{}") != 1), None)
    if bad is not None or not templates:
        raise TextError(f"[clip] not a template: {str(bad)[:80]!a}", hint="a template has one {} where the label goes")
    return templates


def _templates(manifest: Manifest) -> tuple[str, ...]:
    return tuple(manifest.config.get("templates", TEMPLATES))


def _key(images: Iterable[Image]) -> bytes:
    return "".join(image.digest for image in images).encode()
