"""The whole road: equal bytes, nothing left behind, and typed errors before any work."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saccade.export import export, to_bundle
from saccade.export.recipe import FAMILIES, Checkpoint, kind_of
from saccade.export.source import resolve
from saccade.runtime import bundle as bundles
from saccade.runtime.errors import (
    ExportError,
    InputError,
    MissingExtra,
    NoSpace,
    Offline,
    ParityError,
    SettingsError,
    UnknownModel,
)


def content(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_equal_input_gives_equal_bytes(exported: Any, clip_folder: Path, photos: Path, tmp_path: Path) -> None:
    """In another process, started elsewhere, from a copy of the checkpoint."""
    source = tmp_path / "elsewhere" / clip_folder.name
    shutil.copytree(clip_folder, source)
    target = tmp_path / "again.bundle"
    code = (
        "import sys; from saccade.export import export; "
        "export(sys.argv[1], sys.argv[2], precisions=('int8','fp16','fp32'), calibrate=sys.argv[3], license='MIT')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(source), str(target), str(photos)],
        check=True, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONSAFEPATH": "1"}, timeout=300,
    )  # fmt: skip
    assert content(target) == content(exported.path)


def test_no_path_and_no_time_is_in_the_bundle(exported: Any, clip_folder: Path) -> None:
    for file in exported.path.iterdir():
        data = file.read_bytes()
        assert str(clip_folder.parent).encode() not in data
        assert b"site-packages" not in data
        assert b"Traceback" not in data


def test_progress_ends_at_its_total(exported: Any, clip_folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    export(clip_folder, tmp_path / "b", progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("at", [1, 3])
def test_ctrl_c_leaves_nothing_behind(clip_folder: Path, tmp_path: Path, at: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(clip_folder, tmp_path / "b.bundle", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_writing_leaves_nothing_behind(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def put(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "_put", put)
    with pytest.raises(KeyboardInterrupt):
        export(clip_folder, tmp_path / "b.bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_space(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def put(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(bundles, "_put", put)
    with pytest.raises(NoSpace) as caught:
        export(clip_folder, tmp_path / "b.bundle")
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_never_becomes_a_bundle(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saccade.export import to_onnx

    right = to_onnx.reference
    monkeypatch.setattr(to_onnx, "reference", lambda *given: {k: 1.01 * v for k, v in right(*given).items()})
    with pytest.raises(ParityError):
        export(clip_folder, tmp_path / "b.bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graphs: for what happens behind them."""
    monkeypatch.setattr(
        to_bundle, "_graphs", lambda recipe, *_: ({g.name: _one(g) for g in recipe.graphs}, _files(recipe))
    )


def _one(graph: Any) -> Any:
    from saccade.runtime.manifest import Variant

    return (Variant("fp32", f"{graph.name}.fp32.onnx"),)


def _files(recipe: Any) -> dict[str, bytes]:
    return {"golden.safetensors": b"", **{f"{g.name}.fp32.onnx": b"" for g in recipe.graphs}}


def test_an_existing_target_is_refused_at_once_and_kept(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(InputError, match="exists"):
        export(clip_folder, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("precisions", [("fp64",), ("fp32", "int4"), (), ("bf16",)])
def test_precisions_that_are_no_files_are_refused(
    clip_folder: Path, tmp_path: Path, precisions: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError, match="precision"):
        export(clip_folder, tmp_path / "b", precisions=precisions)


def test_int8_asks_for_pictures(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int8 needs pictures"):
        export(clip_folder, tmp_path / "b", precisions=("int8",))


def test_a_folder_without_pictures_says_so(clip_folder: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"\[calibrate\]"):
            export(clip_folder, tmp_path / "b", precisions=("int8",), calibrate=folder)


def test_without_the_extra_the_hint_names_it(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_bundle, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(MissingExtra) as caught:
        export(clip_folder, tmp_path / "b")
    assert caught.value.exit_code == 3
    assert "saccade[export]" in caught.value.hint


def test_an_unknown_family_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UnknownModel, match="'bert'") as caught:
        kind_of(Checkpoint(tmp_path, "m"))
    assert all(name in caught.value.hint for name in FAMILIES)
    assert caught.value.exit_code == 2


def test_open_clip_is_told_by_its_config(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert kind_of(Checkpoint(tmp_path, "m")) == "open_clip"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    assert kind_of(Checkpoint(tmp_path, "m")) == "clip"


@pytest.mark.parametrize("text", ["[]", "{", "\x00", '"clip"'])
def test_a_damaged_config_is_an_export_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ExportError, match=r"config\.json"):
        kind_of(Checkpoint(tmp_path, "m"))


@pytest.mark.parametrize("source", ["no/such/folder", "./missing", "/nowhere", "plain-word", "a b/c"])
def test_what_is_neither_folder_nor_id(source: str) -> None:
    with pytest.raises(UnknownModel, match="no such folder"):
        resolve(source)


def test_an_id_without_a_network_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(Offline) as caught:
        export("openai/clip-vit-base-patch32", tmp_path / "b")
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


def test_the_licence_is_the_model_cards(clip_folder: Path, tmp_path: Path) -> None:
    shutil.copy(clip_folder / "config.json", tmp_path)
    assert resolve(tmp_path).license == ""
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\nlicense: other\n")
    assert resolve(tmp_path).license == "apache-2.0"
    assert resolve(tmp_path, license="MIT").license == "MIT"


def test_an_id_is_never_a_local_path(tmp_path: Path) -> None:
    folder = tmp_path / "secret" / "model"
    folder.mkdir(parents=True)
    assert resolve(folder).id == "model"


def test_pickled_weights_are_refused_before_anything_reads_them(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(clip_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ExportError, match=r"no \.safetensors weights"):
        export(folder, tmp_path / "b")


def test_a_labelled_folder_is_one_folder_a_label(tmp_path):
    from PIL import Image

    from saccade.export.calibration import labelled_folder

    for label, colours in (("a red thing", ["red", "darkred"]), ("a blue thing", ["blue"])):
        (tmp_path / label).mkdir()
        for colour in colours:
            Image.new("RGB", (8, 8), colour).save(tmp_path / label / f"{colour}.png")
    found = labelled_folder(tmp_path)
    assert found.texts == ["a photo of a blue thing", "a photo of a red thing"]
    assert list(found.ids) == [0, 1, 1]
    assert found.pictures[0].pixels[0, 0].tolist() == [0, 0, 255]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="folders") as caught:
        labelled_folder(tmp_path)
    assert caught.value.hint
