"""Any words, no text-prompted detector: SAM finds regions, a CLIP says what they are (ViLD's inference).

python examples/two_stage.py OUT.png [SAM CLIP PICTURE LABEL …]
"""

import sys

import saccade
from saccade.zoo.shipped import open_bundle, pictures

PICTURE = "star-crescent-square.png"
LABELS = ("a blue square", "a yellow star", "a red crescent", "a green circle", "a purple ring")


def main(out, sam="sam-tiny", clip="clip-tiny", picture=None, *labels):
    picture = picture or next(path for path in pictures() if path.name == PICTURE)
    with saccade.load(open_bundle(sam)) as sam, saccade.load(open_bundle(clip)) as clip:
        model = saccade.TwoStage(sam, clip)
        looked = {"grid": 16, "min_score": 0.6, "min_stability": 0.6}  # tiny SAM, small pictures
        found = model.detect(picture, labels or LABELS, background=(), threshold=0.9, **looked)
    for box, name, score in zip(found.boxes, found.names, found.score, strict=True):
        print(f"{name:16} {score:.2f}  box {box.astype(int).tolist()}")
    print(f"wrote {found.save(out)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
