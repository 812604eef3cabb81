"""plan and explain: one table of what was measured, one of what was not and why; JSON has every row."""

import json

import pytest

from saccade.cli import run
from saccade.zoo.shipped import names


def told(capfd, *arguments, code=0):
    capfd.readouterr()
    assert run(list(arguments)) == code
    return capfd.readouterr()


def test_plan_then_explain_tell_the_same(capfd, tmp_path):
    made = tmp_path / "plan.json"
    planned = json.loads(told(capfd, "plan", "clip-tiny", "--seconds", "0.5", "-o", str(made), "--json").out)
    again = json.loads(told(capfd, "explain", "clip-tiny", "--json").out)
    given = json.loads(told(capfd, "explain", "clip-tiny", "--plan", str(made), "--json").out)
    assert planned == again == given
    chosen = [row for row in planned["graphs"] if row["chosen"]]
    assert sorted(row["graph"] for row in chosen) == ["image", "text"]
    assert all(row["passed"] and row["p50_ms"] > 0 and row["threads"] >= 1 for row in chosen)
    assert all(row["reason"] or row["p50_ms"] is not None for row in planned["graphs"])


@pytest.mark.parametrize("bundle", names())
def test_explain_reads_without_a_plan(capfd, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "new"))
    out = told(capfd, "explain", bundle).out
    assert "nothing is measured yet" in out
    assert "onnx_runtime" not in out  # back ends are called what users type
    measured, _, left = out.partition("not run or not taken")
    assert measured.count("chosen") == measured.count(" onnxruntime   fp32 ") + 1  # and once in the note
    assert "slower than" in " ".join(left.split())
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "clip-tiny", "--budget", "psnr=30"], "no metric 'psnr'"),
        (["plan", "clip-tiny", "--budget", "cosine"], "'cosine' is neither"),
        (["plan", "clip-tiny", "--budget", "cosine=-1"], "cosine: got -1.0"),
        (["explain", "clip-tiny", "--budget", "cosine=nan"], "cosine: got nan"),
        (["plan", "clip-tiny", "--threads", "-2"], "threads: -2"),
        (["plan", "clip-tiny", "--batch", "1,x"], "batch: got '1,x'"),
        (["explain", "clip-tiny", "--plan", "nowhere.json"], "no such file"),
    ],
)
def test_arguments_that_mean_nothing(capfd, arguments, said):
    assert said in told(capfd, *arguments, code=2).err


def test_a_plan_edited_by_hand_is_refused(capfd, tmp_path):
    made = tmp_path / "plan.json"
    told(capfd, "plan", "clip-tiny", "--seconds", "0.5", "-o", str(made), "--json")
    made.write_text(made.read_text().replace('"threads": ', '"threads": 99'))
    said = told(capfd, "explain", "clip-tiny", "--plan", str(made), code=2).err
    assert "threads, batch 1" in said
