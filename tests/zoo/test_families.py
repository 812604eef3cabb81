"""The table of families, and the one training command that serves them all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs the [export] extra")
pytest.importorskip("transformers", reason="training needs the [export] extra")

from saccade.zoo import metrics, train  # noqa: E402
from saccade.zoo.families import FAMILIES, Family, checkpoint_of  # noqa: E402


class Stub:
    """A family whose model is the list of what happened to it."""

    def family(self) -> Family:
        return Family(
            1e-3, 7, {"of": "stub"},
            start=lambda seed, folder: [f"new {seed}"] if folder is None else self.load(folder),
            load=self.load,
            train=self.train,
            save=self.save,
            quick=lambda model: {"length": float(len(model))},
            measure=lambda model: {"history": model},
        )  # fmt: skip

    def load(self, folder):
        return json.loads((folder / "model.json").read_text())

    def train(self, model, schedule, seed, *, report, checkpoint):
        schedule.start()
        for _ in range(2):
            schedule.steps += 3
            model = [*model, f"trained on {seed}"]
            report({"step": schedule.steps})
            checkpoint(model)
        return model

    def save(self, model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").write_text(json.dumps(model))


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setitem(FAMILIES, "stub", Stub().family)


def test_a_training_leaves_model_metrics_and_curve(stub, tmp_path, capsys):
    assert train.main(["stub", "--minutes", "1", "--seed", "5", "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["history"] == ["new 5", "trained on 5", "trained on 5"]
    assert told["run"] | {"minutes": 0} == {
        "seed": 5, "minutes": 0, "steps": 6, "pictures": 42, "threads": 1, "recipe": {"of": "stub", "peak_rate": 1e-3}
    }  # fmt: skip
    assert [row["length"] for row in told["curve"]] == [2, 3]
    assert "step 6" in capsys.readouterr().err


def test_a_resumed_training_goes_on_and_tells_of_both_runs(stub, tmp_path):
    arguments = ["stub", "--minutes", "1", "--out", str(tmp_path)]
    train.main([*arguments, "--seed", "5"])
    first = json.loads((tmp_path / "metrics.json").read_text())
    train.main([*arguments, "--seed", "6", "--resume"])
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["history"] == [*first["history"], "trained on 6", "trained on 6"]
    assert told["run"]["resumed_from"] == first["run"]
    assert [row["length"] for row in told["curve"]] == [2, 3, 4, 5]


def test_measuring_again_keeps_how_it_was_trained(stub, tmp_path, capsys):
    train.main(["stub", "--minutes", "1", "--out", str(tmp_path)])
    told = json.loads((tmp_path / "metrics.json").read_text())
    (tmp_path / "model.json").write_text('["another"]')
    assert metrics.main(["stub", "--checkpoint", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"history": ["another"]}
    assert json.loads((tmp_path / "metrics.json").read_text()) == told
    metrics.main(["stub", "--checkpoint", str(tmp_path), "--write"])
    assert json.loads((tmp_path / "metrics.json").read_text()) == told | {"history": ["another"]}


def test_a_bundle_is_measured_where_it_does_not_tell_itself(stub, tmp_path, monkeypatch):
    train.main(["stub", "--minutes", "1", "--out", str(tmp_path)])
    told = json.loads((tmp_path / "metrics.json").read_text())
    arguments = ["stub", "--checkpoint", str(tmp_path), "--bundle", "of.bundle", "--write"]
    with pytest.raises(SystemExit, match=r"bundle\.json"):
        metrics.main(arguments)
    measuring = replace(Stub().family(), measure_bundle=lambda folder: {"int8": folder.name})
    monkeypatch.setitem(FAMILIES, "stub", lambda: measuring)
    metrics.main(arguments)
    assert json.loads((tmp_path / "metrics.json").read_text()) == told | {"bundle": {"int8": "of.bundle"}}


@pytest.mark.parametrize("name", ["clip", "grounding", "sam"])
def test_the_committed_checkpoints_load(name: str):
    family = FAMILIES[name]()
    model = family.load(checkpoint_of(name))
    assert 0 < sum(p.numel() for p in model.parameters()) < 1_200_000
    assert not model.training


def test_a_checkpoint_with_other_words_is_refused(tmp_path):
    family = FAMILIES["clip"]()
    folder = checkpoint_of("clip")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["ring</w>"], words["heart</w>"] = words["heart</w>"], words["ring</w>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="words"):
        family.load(tmp_path)
