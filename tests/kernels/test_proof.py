"""The doctor's proofs pass for what is right, and would notice what is not."""

import pytest

from saccade.kernels import OPS
from saccade.kernels.dispatch import explain, place
from saccade.kernels.proof import PROOFS, agrees
from saccade.runtime.errors import KernelError

USABLE = [(op, name) for op in OPS for name, reason in explain(op) if not reason and place(op, name) == "cpu"]


def test_every_op_has_a_proof():
    assert set(PROOFS) == set(OPS)


@pytest.mark.parametrize(("op", "name"), USABLE)
def test_every_candidate_here_is_right(op, name):
    assert agrees(op, name)


@pytest.mark.parametrize("op", OPS)
def test_a_wrong_candidate_would_be_noticed(op, monkeypatch):
    """A candidate that gives the reference's answer for other data."""
    import numpy as np

    from saccade.kernels import proof

    module = proof.import_module(f"saccade.kernels.{op}")
    real = getattr(module, op)

    def swapped(first, *given, impl, **more):
        if impl == "wrong":
            first, impl = np.ascontiguousarray(first[::-1]), "reference"
        return real(first, *given, impl=impl, **more)

    monkeypatch.setattr(module, op, swapped)
    assert not agrees(op, "wrong")


def test_an_unknown_op():
    with pytest.raises(KernelError, match="no proof") as caught:
        agrees("fft", "avx2")
    assert caught.value.hint
