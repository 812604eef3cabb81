"""A classifier made of words: the label texts' vectors, kept so that they are encoded once.

Zero-shot classification as in CLIP (arXiv 2103.00020, §3.1): a label's vector is the mean of the unit vectors of its
prompts, one a template, scaled to unit length. SigLIP (arXiv 2303.15343) scores each label on its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from saccade.runtime.errors import IndexFileError
from saccade.runtime.files import write_file
from saccade.runtime.results import Embeddings, Floats, Scores, same_model

_FORMAT = "saccade-classifier-1"


@dataclass(frozen=True)
class Classifier:
    """K labels as vectors of one model; call it with that model's picture embeddings.

    weights: (K, E) float32, unit length
    scoring: "softmax" (over the labels) or "sigmoid" (each label alone)
    """

    weights: Floats
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    model: str
    scoring: str
    logit_scale: float
    logit_bias: float

    def __call__(self, pictures: Embeddings) -> Scores:
        """Scores (N, K) of the pictures. Raises SpecError if another model made them."""
        same_model(self.model, pictures.model)
        logits = pictures.vectors @ self.weights.T * np.float32(self.logit_scale) + np.float32(self.logit_bias)
        return Scores(_SCORINGS[self.scoring](logits), self.labels, pictures.names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, all at once. Raises NoSpace."""
        from safetensors.numpy import save

        about = {"format": _FORMAT, "labels": json.dumps(self.labels), "templates": json.dumps(self.templates)}
        about |= {"model": self.model, "scoring": self.scoring}
        about |= {"logit_scale": repr(self.logit_scale), "logit_bias": repr(self.logit_bias)}
        write_file(Path(path), save({"weights": self.weights}, metadata=about))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Read what `save` wrote. Raises IndexFileError for anything else."""
        arrays, about = read_safetensors(Path(path), _FORMAT, "a classifier")
        try:
            labels, templates = tuple(json.loads(about["labels"])), tuple(json.loads(about["templates"]))
            scale, bias = float(about["logit_scale"]), float(about["logit_bias"])
            weights = arrays["weights"]
            if weights.ndim != 2 or weights.dtype != np.float32 or len(labels) != len(weights):
                raise ValueError("weights and labels do not match")
            if not np.isfinite(weights).all() or about["scoring"] not in _SCORINGS:
                raise ValueError("weights or scoring make no sense")
        except (KeyError, ValueError) as error:
            raise IndexFileError(f"{path} is damaged: {error}", hint="build the classifier again") from None
        return cls(weights, labels, templates, about["model"], about["scoring"], scale, bias)


def read_safetensors(path: Path, form: str, what: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file of ours. Raises IndexFileError unless its format entry is `form`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            about: dict[str, str] = file.metadata() or {}
            if about.get("format") != form:
                raise IndexFileError(f"{path} is not {what}", hint=f"expected the format {form}")
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118  it is no dict
    except FileNotFoundError:
        raise IndexFileError(f"no such file: {path}", hint=f"expected {what}") from None
    except (SafetensorError, OSError) as error:
        raise IndexFileError(f"{path} is not {what}: {str(error)[:80]}", hint=f"expected the format {form}") from None


def softmax(logits: Floats) -> Floats:
    """Softmax along the last axis in float32."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x) without overflow, through tanh."""
    result: Floats = np.float32(0.5) * (np.tanh(np.float32(0.5) * logits) + np.float32(1))
    return result


_SCORINGS = {"softmax": softmax, "sigmoid": sigmoid}
