"""A .pth is read as tensors and nothing else; what asks to be run is refused before it runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from saccade.export import export  # noqa: E402  torch first: without it there is nothing to test
from saccade.export.recipe import FAMILIES, Checkpoint, kind_of  # noqa: E402
from saccade.export.source import refuse_pickle, resolve  # noqa: E402
from saccade.export.state_dict import LAYOUTS, layout, load  # noqa: E402
from saccade.runtime.errors import ExportError, UnknownModel  # noqa: E402


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "it ran")


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    mark, file = tmp_path / "mark", tmp_path / "sam_vit_b_01ec64.pth"
    content = {"image_encoder.patch_embed.proj.weight": torch.ones(2, 2), "evil": Malicious(mark)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ExportError, match="could run code") as caught:
        export(file, tmp_path / "b.bundle")
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not mark.exists()
    assert not (tmp_path / "b.bundle").exists()


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"PK\x03\x04" + b"\x00" * 60, b"\x80\x02}q\x00."])
def test_a_damaged_file_is_one_typed_error(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(data)
    with pytest.raises(ExportError) as caught:
        kind_of(resolve(file))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"a.weight": torch.randn(64, 64)}, whole)
    cut.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(ExportError, match=r"cut.pth"):
        load(cut)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("legacy", [True, False])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrapper: str | None, legacy: bool) -> None:
    weights = {"module.image_encoder.patch_embed.seq.0.c.weight": torch.ones(2), "module.x": torch.zeros(1)}
    content = weights if wrapper is None else {wrapper: weights, "epoch": 3}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    assert set(load(tmp_path / "m.pt")) == {"image_encoder.patch_embed.seq.0.c.weight", "x"}
    assert layout(tmp_path / "m.pt") == "mobile_sam"


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.ones(2), {"model": {"a": "text"}}])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(ExportError, match="no names with tensors"):
        load(tmp_path / "m.pt")


def test_a_layout_that_nobody_knows_is_named(tmp_path: Path) -> None:
    torch.save({"backbone.conv.weight": torch.ones(1)}, tmp_path / "yolo.pt")
    with pytest.raises(UnknownModel, match="backbone.conv.weight") as caught:
        export(tmp_path / "yolo.pt", tmp_path / "b")
    assert "MobileSAM" in caught.value.hint


def test_sam2_official_says_what_to_do(tmp_path: Path) -> None:
    torch.save({"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.ones(1)}}, tmp_path / "sam2.pt")
    with pytest.raises(UnknownModel, match="not read yet") as caught:
        kind_of(resolve(tmp_path / "sam2.pt"))
    assert "transformers" in caught.value.hint


def test_every_layout_has_a_recipe() -> None:
    assert set(LAYOUTS.values()) <= set(FAMILIES)


def test_a_folder_with_a_pickle_alone_says_how_to_name_it(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "sam.pth")
    with pytest.raises(ExportError, match="no .safetensors") as caught:
        refuse_pickle(Checkpoint(tmp_path, "m"))
    assert "name the file" in caught.value.hint
    refuse_pickle(resolve(tmp_path / "sam.pth"))


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ExportError):
        load(tmp_path / "m.pth")
