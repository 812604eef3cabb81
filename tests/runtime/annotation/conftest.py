"""A folder with five pictures, and a fake segmenter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.annotation import fake

NAMES = ["a.png", "b.png", "deep/er/c.png", "deep/d.png", "z z.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, some in folders below."""
    for seed, name in enumerate(NAMES):
        fake.picture(tmp_path / "in" / name, seed)
    return tmp_path / "in"


@pytest.fixture
def model() -> fake.Model:
    """A fresh fake."""
    return fake.Model()


def prompts_file(target: Path, pictures: list[Any], **more: Any) -> Path:
    """A prompts file with these pictures."""
    target.write_text(json.dumps({"format": "saccade-prompts-1", "pictures": pictures, **more}))
    return target
