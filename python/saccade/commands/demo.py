"""demo: the main job on what is shipped, from pictures to a table and a contact sheet."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.commands import demo_grounding, demo_sam
from saccade.commands.show import Json, as_json, load, progress, show, table

if TYPE_CHECKING:
    from saccade import Classifier, Index, Matches, Model, Scores
    from saccade.runtime.draw import Sheet
    from saccade.zoo.shipped import Truth


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(demo)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the pictures.")] = Path("saccade-demo"),
    json: Json = False,
) -> None:
    """Run the shipped models on the shipped pictures: classify, search, cut out, find by words; and draw it."""
    from saccade import index_pictures
    from saccade.zoo.shipped import names, pictures, truth

    found, known = pictures(), truth()
    captions = [known[p.name].caption for p in found]
    with load(Path("clip-tiny"), precision="int8") as model, progress("indexing", quiet=json) as report:
        labels = list(model.bundle.manifest.labels)
        classifier = model.classifier(labels)
        answers = [_timed(model, picture, classifier) for picture in found]
        folder = output / f"pictures-{model.bundle.digest[:8]}.index"  # another version's index stays what it is
        index, _ = index_pictures(model, found[0].parent, folder, progress=report)
        matches = [model.search(index, caption, 3) for caption in captions]
        about = model.about["image"]
    rows = [_row(p, known[p.name], scores, ms) for p, (scores, ms) in zip(found, answers, strict=True)]
    sheet = output / "demo.png"
    _sheet(rows, found, [scores for scores, _ in answers], matches, index, about).save_png(sheet)
    cuts, cut_about = demo_sam.cut_all(found) if demo_sam.NAME in names() else ([], {})  # a build may leave it out
    cut_sheet, found_sheet = output / "segment.png", output / "detect.png"
    if cuts:
        demo_sam.sheet(cuts).save_png(cut_sheet)
    both = cuts and demo_grounding.NAME in names()
    boxed, boxed_about = demo_grounding.find_all(found, known) if both else ([], {})
    if boxed:
        demo_grounding.sheet(boxed).save_png(found_sheet)
    if json:
        searches = [{"query": m.query, "found": list(m.names)} for m in matches]
        made = {"engine": about, "classified": rows, "searches": searches, "sheet": str(sheet)}
        made |= {"segmented": [cut.row for cut in cuts], "segment_sheet": str(cut_sheet) if cuts else ""}
        as_json({**made, "detected": [b.row for b in boxed], "detect_sheet": str(found_sheet) if boxed else ""})
        return
    _print(rows, matches, [p.name for p in found], about, len(labels))
    show(f"wrote {sheet}: open it")
    if cuts:
        show(*demo_sam.summary(cuts, cut_about), f"wrote {cut_sheet}: open it")
    if boxed:
        show(*demo_grounding.summary(boxed, boxed_about), f"wrote {found_sheet}: open it")


def _timed(model: Model, picture: Path, classifier: Classifier) -> tuple[Scores, float]:
    """Scores of one picture, and the milliseconds from its file to them; the first run is not counted."""
    model.classify(picture, classifier)
    start = perf_counter()
    scores = model.classify(picture, classifier)
    return scores, round((perf_counter() - start) * 1e3, 2)


def _row(picture: Path, known: Truth, scores: Scores, ms: float) -> dict[str, Any]:
    label, score = scores.top(1)[0][0]
    return {
        "picture": picture.name,
        "shows": known.caption,
        "label": label,
        "score": round(score, 4),
        "right": label in known.labels,
        "ms": ms,
    }


def _print(
    rows: list[dict[str, Any]], matches: list[Matches], names: list[str], about: dict[str, Any], labels: int
) -> None:
    shown = table(f"{len(rows)} pictures, {labels} labels", "picture", "shows", "says", "#score", "right", "#ms")
    for row in rows:
        cells = [row["picture"], row["shows"], row["label"], f"{row['score']:.2f}", "yes" if row["right"] else "no"]
        shown.add_row(*cells, f"{row['ms']:.1f}")
    first = sum(m.names[0] == name for m, name in zip(matches, names, strict=True))
    third = sum(name in m.names for m, name in zip(matches, names, strict=True))
    right = sum(row["right"] for row in rows)
    engine = f"{about['backend']} {about['version']}, {about['precision']}, {about['threads']} threads, no torch"
    show(shown, f"classified {right} of {len(rows)} right; found by its caption: {first} first, {third} among three")
    show(engine)


def _sheet(
    rows: list[dict[str, Any]],
    found: list[Path],
    scores: list[Scores],
    matches: list[Matches],
    index: Index,
    about: dict[str, Any],
) -> Sheet:
    from saccade.runtime.draw import RIGHT, WRONG, Row, Section, Sheet, Tile

    classified = []
    for row, picture, score in zip(rows, found, scores, strict=True):
        colour = RIGHT if row["right"] else WRONG
        bars = [Row(label, value, f"{value:.2f}", colour) for label, value in score.top(3)[0]]
        classified.append(Tile(picture, row["shows"], bars, colour))
    searched = []
    for match, picture in zip(matches, found, strict=True):
        best, cosine = match.names[0], float(match.scores[0])
        colour = RIGHT if best == picture.name else WRONG
        searched.append(
            Tile(index.path(best), f"“{match.query}”", [Row("cosine", max(cosine, 0), f"{cosine:.2f}")], colour)
        )
    engine = (
        f"{about['backend']} {about['version']}, {about['precision']}, {about['device']}; pictures not seen in training"
    )
    sections = [
        Section("what is it? the three best of all labels; green: the best one is right", classified),
        Section("find it: the picture that each caption brings first", searched),
    ]
    return Sheet("saccade: a tiny CLIP on the world of shapes", sections, note=engine)
