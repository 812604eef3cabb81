"""docs/annotate.md says what the code does."""

import json
import re
from pathlib import Path

from saccade.runtime.annotation import asks, sheet
from saccade.runtime.annotation.prompts import MAX_PROMPTS, PromptedPicture, read
from saccade.runtime.annotation.record import Prompted
from saccade.runtime.annotation.rules import STAGES, Rules

TEXT = (Path(__file__).parents[3] / "docs" / "annotate.md").read_text()


def fields(heading: str) -> set[str]:
    """The names in the first column of the table with this heading."""
    table = TEXT.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_examples_are_read(tmp_path):
    examples = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        (tmp_path / "p.json").write_text(example)
        assert len(read(tmp_path / "p.json")) == len(json.loads(example)["pictures"]) > 0


def test_every_field_is_described():
    assert fields("field of a picture") == set(PromptedPicture.__struct_fields__)
    assert fields("field of a prompt") == set(Prompted.__struct_fields__)
    assert fields("stage") == set(STAGES) - {"semi-automatic"}
    assert "`semi-automatic`" in TEXT


def test_every_rule_and_its_default():
    defaults = dict(zip(Rules.__struct_fields__, Rules.__struct_defaults__, strict=True))
    rows = re.findall(r"^\| `--([\w-]+)` \| ([\d.]*) ?\|", TEXT, re.MULTILINE)
    shown = {name.replace("-", "_"): value for name, value in rows}
    for name, value in defaults.items():
        if name in shown:
            assert shown[name] == (str(value) if value != () else "")
        elif name != "stage":
            assert f"`{name}` ({value})" in TEXT
    assert {"min_score", "min_stability", "min_area", "max_overlap", "grid", "crops", "categories"} == set(shown)


def test_the_numbers():
    assert f"at most {MAX_PROMPTS:,}".replace(",", " ") in TEXT
    assert f"at most {asks.MOST} open entries" in TEXT
    assert f"up to {sheet.PICTURES} of the pictures" in TEXT
