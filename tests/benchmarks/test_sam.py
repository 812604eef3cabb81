"""The benchmark of SAM measures what it says, on a network small enough for a test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

for library in ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason="the [export] extra is not installed")

from saccade.benchmarks import sam  # noqa: E402
from saccade.runtime.errors import ParityError  # noqa: E402


@pytest.mark.slow
def test_rows_of_every_case(tmp_path: Path) -> None:
    found = sam.rows(tmp_path, size="small", seconds=0.2)
    assert [(row["graph"], row.get("input", ""), row["precision"]) for row in found] == [
        ("encoder", "", "fp32"),
        ("encoder", "", "int8"),
        ("decoder", "1 point", "fp32"),
        ("decoder", "64 prompts", "fp32"),
    ]
    for row in found:
        assert row["error"] < (0.05 if row["precision"] == "int8" else 1e-6)
        assert {"onnxruntime-plain", "torch-fp32"} <= {peer["name"] for peer in row["baselines"]}
    assert "saccade-64-calls" in {peer["name"] for peer in found[-1]["baselines"]}


def test_a_fast_wrong_graph_is_an_error() -> None:
    right, wrong = np.linspace(1, 2, 12), np.linspace(1, 2.1, 12)
    runs = {"saccade-fp32": partial(np.copy, wrong), "onnxruntime-plain": partial(np.copy, wrong)}
    with pytest.raises(ParityError, match="saccade-fp32"):
        sam._gate({**runs, "torch-fp32": partial(np.copy, right)})
    del runs["saccade-fp32"]
    assert set(sam._gate({**runs, "torch-fp32": partial(np.copy, right)})) == {"onnxruntime-plain", "torch-fp32"}
