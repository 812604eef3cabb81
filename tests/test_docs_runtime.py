"""docs/runtime.md: its blocks run as they stand, and its tables are the code's."""

import re
import shutil
from pathlib import Path

import pytest

from saccade.runtime.scheduling.journal import ENDS
from saccade.runtime.scheduling.policy import Policy

TEXT = (Path(__file__).parents[1] / "docs" / "runtime.md").read_text()
BLOCKS = re.findall(r"^```python run\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(number) for number in range(len(BLOCKS))])
def test_blocks_run(block, tmp_path, pictures, clip_bundle, monkeypatch, capfd):
    shutil.copy(pictures[0], tmp_path / "photo.png")
    shutil.copytree(clip_bundle, tmp_path / "clip.bundle")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "runtime.md", "exec"), {"__name__": "page"})
    shown = capfd.readouterr().out
    assert shown
    assert "too late" not in shown


def test_the_page_has_its_parts():
    assert len(BLOCKS) == 7
    for part in ("One shot", "Many users", "A camera", "A deadline"):
        assert f"## {part}" in TEXT


def test_the_options_are_those_there_are():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TEXT, re.MULTILINE))
    assert set(rows) == set(Policy.__struct_fields__)
    for name, default in rows.items():
        value = getattr(Policy(), name)
        assert default.strip().strip("`") in (str(value), "none" if value == () else str(int(value))), name


def test_the_ends_are_those_there_are():
    assert re.findall(r"^\| (?!end)(\w+) \| [^|]* \|.*\|$", TEXT, re.MULTILINE) == list(ENDS)
