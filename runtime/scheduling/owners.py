"""Owners: whose engine runs a graph: its model's, or that of the owner given for graphs of other models."""

from __future__ import annotations

from collections.abc import Callable

from saccade.runtime.call import Graph
from saccade.runtime.engines import Engine, Engines
from saccade.runtime.errors import InputError
from saccade.runtime.model import Model

Owner = Engines | Callable[[Graph], Engine]


class Owners:
    """By graph. others: the owner of engines for graphs of models that were not given."""

    def __init__(self, others: Owner | None):
        self._others = others
        self._homes: dict[Graph, Owner] = {}

    def adopt(self, model: Model) -> None:
        """The model's graphs run on the model's engines."""
        for graph in model.pipeline.graphs:
            self._homes[graph] = model.engines

    def engine(self, graph: Graph) -> Engine:
        """The engine of a graph. Raises InputError if nobody owns one."""
        owner = self._homes.get(graph, self._others)
        if owner is None:
            hint = "give it: Scheduler(model, …)"
            raise InputError(f"[{graph.name}] the scheduler does not have its model", hint=hint)
        return owner(graph)

    def distrust(self, graph: Graph, suspect: Engine) -> str:
        """See saccade.runtime.quarantine.distrust."""
        from saccade.runtime.quarantine import distrust  # what opens and proves engines, for when it is needed

        return distrust(self._homes.get(graph, self._others), graph, suspect)
