"""What pipelines yield: plain values that know nothing of who runs them."""

import numpy as np
import pytest

from saccade.runtime.call import All, Call, Graph, Work


def test_a_handle_knows_its_bundle_and_contract(tiny):
    graph = Graph(tiny, "linear")
    assert graph.spec is tiny.graphs["linear"].spec
    assert repr(graph) == "Graph(tiny.linear)"
    assert Graph(tiny, "linear") != graph  # a handle is found by identity: a pipeline makes each once
    with pytest.raises(KeyError):
        Graph(tiny, "none")


def test_steps_hold_what_they_were_given(tiny):
    graph, inputs = Graph(tiny, "linear"), {"x": np.zeros((1, 3), np.float32)}
    call = Call(graph, inputs)
    assert (call.graph, call.inputs, call.key) == (graph, inputs, None)
    work = Work(max, 1, 2)
    assert (work.function, work.args) == (max, (1, 2))
    assert All(call, work).members == (call, work)


def test_a_key_is_asked_for_only_by_who_caches():
    asked = []
    call = Call("graph", {}, key=lambda: asked.append(1) or b"key")
    assert not asked
    assert call.key() == b"key"


@pytest.mark.parametrize("step", [Call("g", {}), Work(max), All()])
def test_a_misspelt_attribute_is_an_error(step):
    with pytest.raises(AttributeError):
        step.inptus = {}
