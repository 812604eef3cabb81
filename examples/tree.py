"""A tree prompt: things, things within them, and what they are called (as NanoOWL's).

python examples/tree.py OUT.png [DETECTOR CLIP PICTURE PROMPT]
"""

import sys

import saccade
from saccade.zoo.shipped import open_bundle, pictures

PICTURE = "crowd.png"
PROMPT = "[a heart (a pink heart, a blue heart, an orange heart), a square, a star]"


def main(out, detector="grounding-tiny", clip="clip-tiny", picture=None, prompt=PROMPT):
    picture = picture or next(path for path in pictures() if path.name == PICTURE)
    with saccade.load(open_bundle(detector)) as detector, saccade.load(open_bundle(clip)) as clip:
        found = saccade.Together(detector, clip).detect(picture, prompt)
    for row in found.fields()["detections"]:
        inside = f"in {found.names[row['parent']]}" if row["parent"] >= 0 else ""
        print(f"{row['phrase']:12} {row['score']:.2f} {row.get('kind', ''):16} {inside}")
    print(f"wrote {found.save(out)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
