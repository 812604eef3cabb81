"""Blocks of README and of pages in docs that are marked `run` are run as they stand, where what they name is."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from saccade.cli import run

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/annotate.md", "docs/sam.md")
BLOCKS = [
    (page, *found)
    for page in PAGES
    for found in re.findall(r"^```(sh|python) run\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
]


@pytest.fixture
def folder(tmp_path, pictures, clip_bundle, sam_bundle, monkeypatch):
    (tmp_path / "photos").mkdir()
    for picture in pictures[:4]:
        shutil.copy(picture, tmp_path / "photos")
    shutil.copy(pictures[0], tmp_path / "photo.png")
    shutil.copy(pictures[1], tmp_path / "photos" / "one.png")
    (tmp_path / "captions.txt").write_text("a red circle\na blue star\n")
    (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    shutil.copytree(clip_bundle, tmp_path / "clip.bundle")
    shutil.copytree(sam_bundle, tmp_path / "sam.bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_blocks():
    assert {(page, language) for page, language, _ in BLOCKS} == {(p, k) for p in PAGES for k in ("sh", "python")}


@pytest.mark.parametrize("block", [b for _, language, b in BLOCKS if language == "sh"])
def test_shell_blocks(block, folder, capfd):
    if "export" in block:
        pytest.importorskip("torch")
        shutil.rmtree(folder / "clip.bundle")
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "saccade"
        assert run(arguments) == 0, capfd.readouterr().err


@pytest.mark.parametrize("block", [b for _, language, b in BLOCKS if language == "python"])
def test_python_blocks(block, folder, capfd):
    exec(compile(block, "block", "exec"), {"__name__": "block"})
    assert capfd.readouterr().out


@pytest.mark.parametrize("page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link
