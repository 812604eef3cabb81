"""saccade build-kernels: into the private cache, or a reason."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from saccade.cli import run
from saccade.kernels import cubins


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: pip install 'saccade[kernels]'")
def test_kernels_are_built_where_they_are_looked_for(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    assert run(["build-kernels", "--op", "nms", "--arch", "90", "--jobs", "1"]) == 0
    said = capfd.readouterr().out
    assert "nms" in said
    assert "90 ptx_80" in said
    folder = cubins.private_folder()
    assert folder in cubins.folders()
    assert folder.stat().st_mode & 0o777 == 0o700
    if cubins.native.module:
        _, constants = cubins.triton("nms", "fp32", 90)
        assert constants["TILE"] == 256


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--op", "resize"], "no Triton kernel"),
        (["--arch", "75"], "unknown architecture"),
        (["--arch", "x"], "unknown"),
    ],
)
def test_what_cannot_be_built_is_said(arguments, part, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    assert run(["build-kernels", *arguments]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_folder_open_to_others_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    assert run(["build-kernels"]) == 2
    assert "open to others" in capsys.readouterr().err
