"""A bundle as the functions that its metric asks for, run by the engine or the pipeline that users run.

sam: bundle, precision -> encode, decode -> segmentation.one_click and its neighbours
grounding: folder, precision -> detect -> detection.average_precision and its neighbours
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine
from saccade.runtime.image import decode as open_picture
from saccade.runtime.model import load
from saccade.runtime.preprocess import Preprocess
from saccade.zoo.detection import FLOOR, Detect, Found, Spans
from saccade.zoo.segmentation import Decode, Encode

Floats = NDArray[np.float32]


def halves(bundle: Bundle, precision: str = "") -> tuple[Encode, Decode]:
    """(encode, decode) of a bundle of the sam family, on one thread.

    precision: fp32, fp16 or int8; by default what a user gets who names none
    Raises SettingsError for a precision that the bundle does not hold.
    """
    preprocess = Preprocess.read(bundle.manifest.preprocess)
    options = Options(precision=precision, threads=1)
    encoder, decoder = (open_engine(bundle, graph, options) for graph in ("encoder", "decoder"))
    low: list[int] = bundle.manifest.config["low"]

    def encode(pixels: NDArray[np.uint8]) -> Any:
        batch, _ = preprocess.batch([open_picture(picture) for picture in pixels])
        return encoder(pixels=batch)["embedding"]

    def decode(
        embeddings: Any,
        picture: NDArray[np.int64],
        points: Floats,
        labels: NDArray[np.int64],
        mask: Floats,
        has_mask: Floats,
    ) -> tuple[Floats, Floats]:
        """Each target is an image of its own with one prompt, so that a batch may mix pictures."""
        given = np.broadcast_to(mask, (len(points), *low))[:, None]
        found = decoder(
            embedding=embeddings[picture],
            points=points[:, None],
            labels=labels[:, None],
            mask=np.ascontiguousarray(given),
            has_mask=has_mask[:, None],
        )
        return found["logits"][:, 0].astype(np.float32), found["iou"][:, 0].astype(np.float32)

    return encode, decode


def detector(folder: Path, precision: str = "") -> Detect:
    """The grounding pipeline of a bundle, on one thread; a box may be of several phrases.

    precision: fp32, fp16 or int8; by default what a user gets who names none
    """
    model = load(folder, precision=precision, threads=1)

    def detect(picture: NDArray[np.uint8], text: str, spans: Spans) -> Found:
        said = model.ground(picture, text, spans=spans, threshold=FLOOR, every=True)
        return Found(said.boxes, said.score, said.label)

    return detect
