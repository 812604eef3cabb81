"""saccade: an inference runtime for vision foundation models.

    import saccade

    clip = saccade.load("clip.bundle")
    scores = clip.classify("photo.jpg", ["a cat", "a dog"])

    sam = saccade.load("sam.bundle")
    masks = sam.encode("photo.jpg").segment(points=[(420, 280)])

    detector = saccade.load("grounding.bundle")
    boxes = detector.detect("photo.jpg", "a cat. a remote control.")

Importing costs next to nothing: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saccade.runtime.bundle import Bundle as Bundle
    from saccade.runtime.classifier import Classifier as Classifier
    from saccade.runtime.detections import Detections as Detections
    from saccade.runtime.errors import SaccadeError as SaccadeError
    from saccade.runtime.image import Image as Image
    from saccade.runtime.image import decode as decode
    from saccade.runtime.index import Index as Index
    from saccade.runtime.index import open_index as open_index
    from saccade.runtime.indexing import index_pictures as index_pictures
    from saccade.runtime.indexing import index_texts as index_texts
    from saccade.runtime.masks import Masks as Masks
    from saccade.runtime.memory import Memory as Memory
    from saccade.runtime.model import Model as Model
    from saccade.runtime.model import load as load
    from saccade.runtime.prompt import Prompt as Prompt
    from saccade.runtime.results import Embeddings as Embeddings
    from saccade.runtime.results import Matches as Matches
    from saccade.runtime.results import Scores as Scores
    from saccade.runtime.scheduler import Scheduler as Scheduler
    from saccade.runtime.together import Together as Together
    from saccade.runtime.together import TwoStage as TwoStage
    from saccade.runtime.tracing import trace as trace
    from saccade.runtime.view import View as View

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "bundle",
    "Classifier": "classifier",
    "Detections": "detections",
    "Embeddings": "results",
    "Image": "image",
    "Index": "index",
    "Masks": "masks",
    "Matches": "results",
    "Memory": "memory",
    "Model": "model",
    "Prompt": "prompt",
    "SaccadeError": "errors",
    "Scheduler": "scheduler",
    "Scores": "results",
    "Together": "together",
    "TwoStage": "together",
    "View": "view",
    "decode": "image",
    "index_pictures": "indexing",
    "index_texts": "indexing",
    "load": "model",
    "open_index": "index",
    "trace": "tracing",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saccade' has no attribute {name!r}")
    value = getattr(import_module(f"saccade.runtime.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
