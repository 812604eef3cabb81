"""load: from a bundle's path to something that answers.

path ──Bundle.open──▶ bundle ──family──▶ pipeline ──driven by──▶ Model
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from saccade.runtime.bundle import Bundle
from saccade.runtime.cache import Cache
from saccade.runtime.call import Pipeline
from saccade.runtime.direct import Direct
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import Closed, ManifestError
from saccade.runtime.memory import Memory
from saccade.runtime.planned import apply
from saccade.runtime.settings import setting

T = TypeVar("T")

FAMILIES = {
    "clip": ("saccade.runtime.pipelines.clip", "Clip"),
    "grounding": ("saccade.runtime.pipelines.grounding", "Grounding"),
    "owl": ("saccade.runtime.pipelines.owl", "Owl"),
    "sam": ("saccade.runtime.pipelines.sam", "Sam"),
}
"""For each bundle family the module and class of its pipeline."""

CACHES = {"grounding": 32 << 20, "owl": 128 << 20}
"""For families whose words are asked again and again, the bytes that `load` gives the cache if nothing is said."""

VERBS = {"sam": {"annotate": "saccade.runtime.annotation"}}
"""For each family the functions that take a whole model, by name and module; they are methods of it all the same."""


class Model:
    """A loaded bundle. The methods of its family's pipeline are methods here, each run at once in the caller's thread.

    pipeline: the family's pipeline, whose methods give generators for other drivers
    bundle: what was opened
    cache: keeps what was encoded, or None
    """

    def __init__(
        self, bundle: Bundle, pipeline: Any, engines: Engines, *, owned: bool = True, cache: Cache | None = None
    ):
        self.bundle, self.pipeline, self.cache = bundle, pipeline, cache
        self._engines, self._owned = engines, owned
        self._driver = Direct(engines, cache)
        self._closed = False
        self._end_search: Callable[[], None] = lambda: None

    @property
    def engines(self) -> Engines:
        """What runs its graphs; a scheduler shares them."""
        return self._engines

    def run(self, pipeline: Pipeline[T]) -> T:
        """Drive any pipeline with this model's engines, such as one that combines several models.

        A result that can ask further, such as a View, is bound to this model.
        """
        if self._closed:
            pipeline.close()
            raise Closed(f"[{self.bundle.name}] the model is closed", hint="load it again")
        result = self._driver.run(pipeline)
        bind = getattr(type(result), "bind", None)
        return bind(result, self.run) if bind else result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "pipeline":
            raise AttributeError(name)
        if home := self._verbs.get(name):
            return functools.partial(getattr(import_module(home), name), self)
        found = getattr(self.pipeline, name)
        if not inspect.isgeneratorfunction(found):
            return found
        bound = _runs(self.run, found)
        self.__dict__[name] = bound  # found once
        return bound

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._verbs, *(n for n in dir(self.pipeline) if not n.startswith("_"))})

    @property
    def _verbs(self) -> dict[str, str]:
        return VERBS.get(self.bundle.manifest.family, {})

    def __repr__(self) -> str:
        return (
            f"Model({self.bundle.name!r}, family={self.bundle.manifest.family!r}, digest={self.bundle.digest[:12]!r})"
        )

    def follow(self, plan: Any, *, seconds: float = 20.0, batches: Sequence[int] = (1,)) -> None:
        """Run by a plan from now on; see saccade.runtime.planned.apply."""
        self._end_search()
        self._end_search = apply(self.engines, self.bundle, plan, seconds=seconds, batches=batches)

    def warm_up(self) -> None:
        """Open every engine and run each golden input once, so that the first request is no slower than the next."""
        golden = self.bundle.golden()
        for graph in self.pipeline.graphs:
            inputs = {t.name: golden.get(f"{graph.name}.{t.name}") for t in graph.spec.inputs}
            engine = self._engines(graph)
            if all(array is not None for array in inputs.values()):
                engine(**inputs)

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """For each graph what runs it: back end, version, device, precision, threads. Opens the engines."""
        return {graph.name: self._engines(graph).about for graph in self.pipeline.graphs}

    def close(self) -> None:
        """Give the engines' memory back; later requests raise Closed."""
        self._closed = True
        self._end_search()
        if self.cache is not None:
            self.cache.clear()
        if self._owned:
            self._engines.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    bundle: str | os.PathLike[str] | Bundle,
    *,
    backend: str | None = None,
    precision: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    arena: bool = True,
    spin: bool = True,
    cache_bytes: int | None = None,
    engines: Engines | None = None,
    plan: Any = None,
    memory: Memory | None = None,
) -> Model:
    """Open a bundle and give its model. Engines open at their first use; `warm_up()` opens them now.

    bundle: a bundle's folder, or one already opened
    backend, precision, device, threads, arena, spin: see saccade.runtime.engines.Options
    cache_bytes: keep up to so many bytes of what pictures and texts were encoded to, for when they come again; a cache
        costs hashing every picture, so it is off by default; for text-prompted detectors it is on (CACHES)
    precision="auto": the fastest that keeps to the error budget here, by the plan that `saccade plan` made
    plan: "cached" (what "auto" means), "now" (search first), "measure" (answer at once on the portable default, search
        behind, then swap), or the path of a plan file; one that does not fit is ignored, and `about` says why
    memory: a byte budget, shared among the models that are given it: their engines come and go
    engines: a shared owner, so that several models can be driven together; it is closed by whoever made it
    Raises a BundleError for a bundle that cannot be trusted, SettingsError for an option that means nothing,
    MissingExtra or EngineError (at the first use) when nothing here can run it.
    """
    precision = setting("SACCADE_PRECISION", precision)
    if precision == "auto":
        precision, plan = "", plan or "cached"
    options = Options.of(backend, precision, device, threads, arena=arena, spin=spin)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    pipeline = pipeline_of(opened)
    room = CACHES.get(opened.manifest.family, 0) if cache_bytes is None else cache_bytes
    cache = Cache(room) if room else None
    model = Model(opened, pipeline, engines or Engines(options, memory=memory), owned=engines is None, cache=cache)
    if plan is not None:
        model.follow(plan)
    return model


def pipeline_of(bundle: Bundle) -> Any:
    """The family's pipeline of `bundle`. Raises ManifestError for a family that this version does not know."""
    family = bundle.manifest.family
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ManifestError(
            f"[bundle] /family: no family {family[:64]!a}; known: {known}", pointer="/family", hint="upgrade saccade"
        )
    module, name = FAMILIES[family]
    return getattr(import_module(module), name)(bundle)


def _runs(run: Callable[[Pipeline[T]], T], method: Callable[..., Pipeline[T]]) -> Callable[..., T]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> T:
        return run(method(*args, **kwargs))

    return call
