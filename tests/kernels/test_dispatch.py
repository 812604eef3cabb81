"""Which candidate runs, and what is said when the one that was asked for cannot."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

import pytest

from saccade.kernels import OPS, gpu
from saccade.kernels.dispatch import Candidate, explain, pick
from saccade.runtime.errors import KernelError, SettingsError

FAST = Candidate("fast", lambda *args: "needs an even number" if args and args[0] % 2 else "", lambda n: ("fast", n))
SLOW = Candidate("slow", lambda *_: "", lambda n: ("slow", n))
NEVER = Candidate("never", lambda *_: "there is no such machine", None)
LIST = (NEVER, FAST, SLOW)
OP = OPS[0]


@pytest.fixture
def forced(monkeypatch):
    return lambda text: monkeypatch.setenv("SACCADE_KERNEL", text)


def test_the_first_usable_runs():
    assert pick(OP, LIST, 2).name == "fast"
    assert pick(OP, LIST, 3).name == "slow"


def test_none_usable_gives_every_reason():
    with pytest.raises(KernelError, match="never: there is no such machine; fast: needs an even number"):
        pick(OP, LIST[:2], 3)


def test_argument_then_environment_then_order(forced):
    forced(f"{OP}:slow")
    assert pick(OP, LIST, 2).name == "slow"
    assert pick(OP, LIST, 2, force="fast").name == "fast"
    assert pick("another_op", LIST, 2).name == "fast"


def test_several_pairs_and_spaces(forced):
    forced(f" {OP}:slow , ")
    assert pick(OP, LIST, 2).name == "slow"


def test_forcing_what_cannot_run_gives_its_reason(forced):
    with pytest.raises(KernelError, match="fast was asked for and cannot run: needs an even number"):
        pick(OP, LIST, 3, force="fast")
    forced(f"{OP}:never")
    with pytest.raises(KernelError, match="no such machine"):
        pick(OP, LIST, 2)


def test_unknown_names_list_the_known(forced):
    with pytest.raises(KernelError) as caught:
        pick(OP, LIST, 2, force="faster")
    assert "never, fast, slow" in caught.value.hint
    forced(f"{OP}:faster")
    with pytest.raises(KernelError, match="faster"):
        pick(OP, LIST, 2)


@pytest.mark.parametrize("text", ["fast", f"{OP}:", "no_such_op:fast", f"{OP}=fast"])
def test_nonsense_in_the_environment_is_refused(forced, text):
    forced(text)
    with pytest.raises(SettingsError, match="SACCADE_KERNEL") as caught:
        pick(OP, LIST, 2)
    assert OP in caught.value.hint


@pytest.mark.parametrize("op", OPS)
def test_explain_lists_every_candidate_and_reference_last(op):
    said = explain(op)
    assert said[-1] == ("reference", "")
    assert len(dict(said)) == len(said)


def test_explain_knows_its_ops():
    with pytest.raises(KernelError) as caught:
        explain("no_such_op")
    assert OP in caught.value.hint


class OnDevice:
    """As far as dispatch looks."""

    __cuda_array_interface__: ClassVar[dict[str, int]] = {"version": 3}


def test_arrays_are_not_moved_behind_the_callers_back():
    cuda = Candidate("cuda", lambda *_: "", None, "gpu")
    both = (cuda, SLOW)
    assert pick(OP, both, ("an", "array", OnDevice())).name == "cuda"
    assert pick(OP, both, ("an", "array")).name == "slow"
    with pytest.raises(KernelError, match="cuda was asked for and cannot run: the arrays are on the host"):
        pick(OP, both, ("an", "array"), force="cuda")
    with pytest.raises(KernelError, match="slow was asked for and cannot run: the arrays are on the device"):
        pick(OP, both, (OnDevice(), 1), force="slow")
    with pytest.raises(KernelError, match="slow: the arrays are on the device"):
        pick(OP, (NEVER, SLOW), (OnDevice(),))


def test_without_arrays_a_gpu_candidate_says_what_the_machine_lacks():
    for op in OPS:
        candidates = import_module(f"saccade.kernels.{op}").CANDIDATES
        reasons = dict(explain(op))
        for candidate in candidates:
            if candidate.place == "gpu":
                assert not reasons[candidate.name].startswith(f"[{op}]")
                if gpu.machine():
                    assert reasons[candidate.name] == gpu.machine()
