"""The output folder: whose it is, what counts as done, what is swept."""

import json
import shutil

import msgspec
import pytest

from saccade.runtime.annotation import annotate
from saccade.runtime.annotation.folder import Folder
from saccade.runtime.annotation.rules import Identity, rules
from saccade.runtime.errors import AnnotationFileError, InputError, NoSpace
from saccade.runtime.index import Entry
from tests.runtime.annotation import fake
from tests.runtime.annotation.conftest import prompts_file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"min_score": 0.5}, "min_score 0.88, not 0.5"),
        ({"min_area": 3}, "min_area 0, not 3"),
        ({"grid": 8}, "grid 32, not 8"),
        ({"stage": "semi-automatic"}, 'stage "automatic", not "semi-automatic"'),
        ({"categories": ("a",)}, "categories"),
        ({"model": fake.Model("e" * 64)}, "model dddddddddddd, not eeeeeeeeeeee"),
        ({"model": fake.Model(precision="int8")}, 'engines of encoder "null fp32", not "null int8"'),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_other_rules_or_another_model_do_not_mix(change, says, model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    given = {"model": fake.Model(), **change}
    with pytest.raises(AnnotationFileError) as caught:
        annotate(given.pop("model"), folder, out, **given)
    assert says in str(caught.value)
    assert "--restart" in caught.value.hint
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_restart_begins_anew(model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out, formats=("coco", "sa1b"))
    annotate(model, folder, out, restart=True)
    assert model.encoded == 10
    annotate(model, folder, out, restart=True, min_score=0.5, min_stability=0.5)
    assert model.encoded == 15
    annotate(fake.Model(), folder, tmp_path / "fresh", min_score=0.5, min_stability=0.5)
    for name in ("annotations.json", "run.json"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert len(list((out / "shards").rglob("*.json"))) == 5


def test_what_cannot_be_is_said_before_anything_is_thrown_away(model, folder, tmp_path):
    out, none = tmp_path / "out", prompts_file(tmp_path / "p.json", [{"file_name": "none.png", "prompts": []}])
    annotate(model, folder, out, stage="semi-automatic")
    for given in ({"prompts": none}, {"formats": ["x"]}, {"prompts": tmp_path / "nowhere"}, {"min_score": 7.0}):
        with pytest.raises(InputError):
            annotate(model, folder, out, **{"stage": "semi-automatic", "restart": True, **given})
    assert annotate(model, folder, out, stage="semi-automatic").pictures == 5
    assert model.encoded == 5


def test_a_folder_with_something_else_is_left_alone(model, folder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    for restart in (False, True):
        with pytest.raises(AnnotationFileError, match="not empty and no run"):
            annotate(model, folder, tmp_path / "thesis", restart=restart)
    with pytest.raises((InputError, NoSpace)):
        annotate(model, folder, tmp_path / "thesis" / "thesis.tex")
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', '{"format": "saccade-annotation-1"}', "\xff"])
def test_a_damaged_run_is_refused_or_begun_anew(text, model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out)
    (out / "run.json").write_text(text, "latin-1")
    with pytest.raises(AnnotationFileError, match="damaged") as caught:
        annotate(model, folder, out)
    assert "--restart" in caught.value.hint
    assert annotate(model, folder, out, restart=True).pictures == 5


def test_run_json_says_what_the_run_is(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out", min_area=5)
    held = json.loads((tmp_path / "out" / "run.json").read_text())
    assert held["bundle"] == "d" * 64
    assert held["rules"]["min_area"] == 5
    assert held["engines"] == {"encoder": "null fp32"}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "of another", "gone", "link"])
def test_a_damaged_shard_is_made_again(damage, model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out)
    before = (out / "annotations.json").read_bytes()
    first, second = sorted((out / "shards").rglob("*.json"))[:2]
    data = bytearray(first.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        first.write_bytes(data)
    elif damage == "cut":
        first.write_bytes(data[:-20])
    elif damage == "empty":
        first.write_bytes(b"")
    elif damage == "of another":
        shutil.copy(second, first)
    else:
        first.unlink()
    if damage == "link":
        first.symlink_to("nowhere")
    again = fake.Model()
    assert annotate(again, folder, out).pictures == 5
    assert again.encoded == 1
    assert (out / "annotations.json").read_bytes() == before


def test_a_shard_of_another_run_does_not_count(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "one")
    annotate(model, folder, tmp_path / "two", min_area=1)
    shutil.rmtree(tmp_path / "two" / "shards")
    shutil.copytree(tmp_path / "one" / "shards", tmp_path / "two" / "shards")
    again = fake.Model()
    annotate(again, folder, tmp_path / "two", min_area=1)
    assert again.encoded == 5


def test_what_a_killed_process_was_writing_is_swept(model, folder, tmp_path):
    out = tmp_path / "out"
    annotate(model, folder, out, formats=("sa1b",))
    left = [out / ".annotations.json.abc.tmp", out / "sa1b" / "deep" / ".c.json.x.tmp", out / "shards" / ".x.tmp"]
    for file in left:
        file.write_text("{")
    annotate(model, folder, out)
    assert not any(file.exists() for file in left)


def test_the_lock_is_given_back(model, folder, tmp_path):
    identity = Identity.of(model, rules("automatic"))
    with Folder(tmp_path / "out", identity) as held:
        with pytest.raises(AnnotationFileError, match="another process"):
            Folder(tmp_path / "out", identity)
        held.close()
        Folder(tmp_path / "out", identity).close()
    assert held.known(Entry("a.png"), "automatic") is None


def test_shards_come_back_as_they_were(model, folder, tmp_path):
    annotate(model, folder, tmp_path / "out", stage="semi-automatic")
    with Folder(tmp_path / "out", Identity.of(model, rules("semi-automatic"))) as held:
        shard = held.shard("a.png", "automatic")
        assert shard is not None
        assert len(shard.annotations) == 2
        assert shard.asks[0].why == "uncertain"
        held.add(msgspec.structs.replace(shard, dropped=7))
        assert held.shard("a.png", "automatic").dropped == 7
        entry = Entry("a.png", shard.size, shard.mtime_ns)
        assert held.known(entry, "automatic") == held.shard("a.png", "automatic")
        assert held.known(Entry("a.png", shard.size + 1, shard.mtime_ns), "automatic") is None
        assert held.known(entry, "prompted") is None
