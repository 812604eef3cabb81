"""Words to boxes to masks, in one call.

python examples/text_to_masks.py OUT.png [DETECTOR SAM PICTURE PROMPT]
"""

import sys

import saccade
from saccade.zoo.shipped import open_bundle, pictures

PICTURE = "cross-heart-star.png"
PROMPT = "a blue heart. a yellow star. an orange cross. a red circle."


def main(out, detector="grounding-tiny", sam="sam-tiny", picture=None, prompt=PROMPT):
    picture = picture or next(path for path in pictures() if path.name == PICTURE)
    with saccade.load(open_bundle(detector)) as detector, saccade.load(open_bundle(sam)) as sam:
        found = saccade.Together(detector, sam).detect(picture, prompt)
    for box, name, score, area in zip(found.boxes, found.names, found.score, found.masks.area, strict=True):
        print(f"{name:20} {score:.2f}  box {box.round().astype(int).tolist()}  {area} pixels")
    print(f"wrote {found.save(out)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
