"""Each way to run a graph once, and what may still be better about the best of them."""

import pytest

from saccade.runtime import candidates as module
from saccade.runtime.bundle import Bundle
from saccade.runtime.candidates import candidates, refinements
from saccade.runtime.engines import Options
from saccade.zoo.shipped import bundle_path


@pytest.mark.parametrize("backend", ["onnx_runtime", "open_vino"])
def test_one_file_is_one_candidate(backend):
    """The tiny SAM's decoder has no int8 of its own: its int8 is the fp32 file."""
    bundle = Bundle.open(bundle_path("sam-tiny"), hard_links=True)
    files = {v.precision: v.file for v in bundle.graphs["decoder"].variants}
    assert files["int8"] == files["fp32"]
    found = candidates(bundle, "decoder", Options(backend=backend, provider="cpu"))
    told = {made.precision: reason for made, reason in found}
    assert told["int8"] == "it is the file of fp32"
    assert "it is the file" not in told["fp32"]
    assert "it is the file" not in told.get("bf16", "")  # the same file, run in another way
    other = candidates(bundle, "encoder", Options(backend=backend, provider="cpu"))
    assert not any("it is the file" in reason for _, reason in other)


def test_refinements(monkeypatch):
    monkeypatch.setattr(module, "thread_counts", lambda: (8, 4, 1))
    best = Options(backend="onnx_runtime", threads=8)
    about = {"device": "cpu", "ops": {"RelPosAttention": "kernel"}}
    made = refinements(Options(), best, about)
    assert [(m.threads, m.kernels) for m in made] == [(4, ""), (1, ""), (8, "relpos_attention:body")]
    assert refinements(Options(threads=8, kernels="relpos_attention:custom"), best, about) == []
    assert refinements(Options(), best, {"device": "cuda", "ops": {"RelPosAttention": "body: asked for"}}) == []
