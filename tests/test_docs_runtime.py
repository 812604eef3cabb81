"""docs/runtime.md: its parts are there and its tables are the code's. tests/test_readme.py runs its blocks."""

import re
from pathlib import Path

from saccade.runtime.scheduling.journal import ENDS
from saccade.runtime.scheduling.policy import Policy

TEXT = (Path(__file__).parents[1] / "docs" / "runtime.md").read_text()
BLOCKS = re.findall(r"^```python run\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_page_has_its_parts():
    assert len(BLOCKS) == 9
    for part in ("One shot", "Many users", "A camera", "A deadline", "A budget", "Several tenants"):
        assert f"## {part}" in TEXT


def test_the_options_are_those_there_are():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TEXT, re.MULTILINE))
    assert set(rows) == set(Policy.__struct_fields__)
    for name, default in rows.items():
        value = getattr(Policy(), name)
        assert default.strip().strip("`") in (str(value), "none" if value == () else str(int(value))), name


def test_the_ends_are_those_there_are():
    assert re.findall(r"^\| (?!end)(\w+) \| [^|]* \|.*\|$", TEXT, re.MULTILINE) == list(ENDS)
