"""kill -9 at any moment: nothing is lost, nothing is doubled, and what comes out is what an undisturbed run gives."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saccade.runtime.annotation import annotate
from saccade.runtime.errors import AnnotationFileError
from tests.runtime.annotation import fake, killed
from tests.runtime.annotation.conftest import NAMES, prompts_file


def content(out: Path) -> dict[str, bytes]:
    """Everything that a run leaves, by name."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def killed_and_compared(mode: str, names: list[str], folder: Path, tmp_path: Path) -> tuple[int, dict[str, bytes]]:
    """How often the process was killed, and what each run that was gone on with left, which is what one left that was
    not disturbed. Every second picture has an answer beside what is found."""
    rows = [{"file_name": n, "prompts": [{"points": [[30, 20]], "category": f"of {n}"}]} for n in names[::2]]
    prompts = prompts_file(tmp_path / "p.json", rows)
    killed.run(str(folder), str(tmp_path / "undisturbed"), str(prompts), sheet=mode == "moments")
    want = content(tmp_path / "undisturbed")
    command = [sys.executable, killed.__file__, *map(str, [folder, tmp_path / "out", prompts, mode, 20])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    made = sorted(tmp_path.glob("out.*"))
    assert made
    for out in made:
        assert content(out) == want, out.name
    return int(done.stdout), want


def test_killed_at_20_seeded_moments(folder: Path, tmp_path: Path) -> None:
    kills, want = killed_and_compared("moments", NAMES, folder, tmp_path)
    assert kills == 20
    found = json.loads(want["annotations.json"])["annotations"]
    assert len({(a["image_id"], a["segmentation"]["counts"]) for a in found}) == len(found) >= 10


def test_killed_before_each_file_operation(tmp_path: Path) -> None:
    """Not the moments that time happens to hit but all in which something is half done."""
    for seed, name in enumerate(NAMES[:2]):
        fake.picture(tmp_path / "in" / name, seed, [fake.SURE, fake.UNSURE], size=(24, 40))
    kills, _ = killed_and_compared("operations", NAMES[:2], tmp_path / "in", tmp_path)
    assert kills > 40


def test_one_process_at_a_time_and_a_killed_one_leaves_no_lock(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = subprocess.Popen([sys.executable, killed.__file__, folder, out, "", "slow", "0"])
    try:
        while not (out / "run.json").exists():
            assert other.poll() is None
            time.sleep(0.01)
        with pytest.raises(AnnotationFileError, match="another process") as caught:
            annotate(fake.Model(), folder, out)
        assert caught.value.hint
        with pytest.raises(AnnotationFileError, match="another process"):
            annotate(fake.Model(), folder, out, restart=True)
    finally:
        other.kill()
        other.wait()
    assert annotate(fake.Model(), folder, out, stage="semi-automatic", ask_grid=4).pictures == 5
