"""A caption's phrases and their boxes: each box knows the characters that name it.

python examples/caption.py OUT.png [DETECTOR PICTURE CAPTION]
"""

import sys

import saccade
from saccade.zoo.shipped import open_bundle, pictures

PICTURE = "cross-heart-star.png"
CAPTION = "a yellow star next to a blue heart and an orange cross"


def main(out, detector="grounding-tiny", picture=None, caption=CAPTION):
    picture = picture or next(path for path in pictures() if path.name == PICTURE)
    with saccade.load(open_bundle(detector)) as detector:
        found = detector.ground(picture, caption)
    print(caption)
    for phrase, spans in zip(found.phrases, found.spans, strict=True):
        boxes = found.of(phrase).boxes.round().astype(int).tolist()
        print(f"{' ' * spans[0][0]}{'~' * len(phrase)}  {phrase}: {boxes or 'not there'}")
    print(f"wrote {found.save(out)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
