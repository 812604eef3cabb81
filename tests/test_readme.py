"""The blocks marked `run` of the README and of docs/ are run, as they stand, in a folder that has what they name."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from saccade.cli import run

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
FOUND = re.compile(r"^```(sh|python) run\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(page, *block) for page in PAGES for block in FOUND.findall((ROOT / page).read_text())]


def blocks(wanted):
    """(page, text) of the blocks in that language, told apart by page and number."""
    found = [(page, text) for page, language, text in BLOCKS if language == wanted]
    return [pytest.param(page, text, id=f"{page}-{number}") for number, (page, text) in enumerate(found)]


@pytest.fixture
def folder(tmp_path, pictures, clip_bundle, sam_bundle, grounding_bundle, owl_bundle, monkeypatch):
    (tmp_path / "photos").mkdir()
    for picture in pictures[:4]:
        shutil.copy(picture, tmp_path / "photos")
    shutil.copy(pictures[0], tmp_path / "photo.png")
    shutil.copy(pictures[1], tmp_path / "photos" / "one.png")
    (tmp_path / "captions.txt").write_text("a red circle\na blue star\n")
    (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    shutil.copytree(clip_bundle, tmp_path / "clip.bundle")
    shutil.copytree(sam_bundle, tmp_path / "sam.bundle")
    shutil.copytree(grounding_bundle, tmp_path / "grounding.bundle")
    shutil.copytree(owl_bundle, tmp_path / "owl.bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_blocks():
    assert {(page, language) for page, language, _ in BLOCKS} >= {("README.md", "sh"), ("README.md", "python")}


@pytest.mark.parametrize(("page", "block"), blocks("sh"))
def test_shell_blocks(page, block, folder, capfd):
    if "export" in block:
        pytest.importorskip("torch")
        shutil.rmtree(folder / "clip.bundle")
    for line in block.strip().splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "saccade"
        assert run(arguments) == 0, capfd.readouterr().err


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_blocks(page, block, folder, capfd):
    exec(compile(block, page, "exec"), {"__name__": "readme"})
    assert capfd.readouterr().out


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), link
