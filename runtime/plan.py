"""A plan: for each graph of a bundle which back end, precision and threads run it fastest here, and how that is known.

    search (planner.py) ──▶ Plan ──▶ private cache, or a file ──▶ load(…, plan=…) ──golden check──▶ engines

A plan is advice, never trusted: it counts only for the bundle, the machine and the library versions that it was
measured with, and an engine that it names still has to pass the golden check when it is opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from saccade.runtime.engines import DEVICES, PROVIDERS, Options
from saccade.runtime.errors import SaccadeError
from saccade.runtime.files import write_file
from saccade.runtime.hardware import cores, machine
from saccade.runtime.manifest import PRECISIONS
from saccade.runtime.settings import setting
from saccade.runtime.stamp import private

SCHEMA = 2
MAX_BYTES = 4 << 20
LIBRARIES = ("saccade", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One candidate for one graph at one batch size.

    provider: ONNX Runtime's execution provider, empty for other back ends; kernels: as Options has them
    reason: why it was not run or not taken, empty if it could be; p50_ms, first_ms: None if it was not run
    worst: the golden check's least favourable sample, of `metric`; passed: whether that is good enough
    """

    graph: str
    batch: int
    backend: str
    precision: str
    device: str
    threads: int
    reason: str = ""
    p50_ms: float | None = None
    first_ms: float | None = None
    metric: str = ""
    worst: float | None = None
    passed: bool = False
    chosen: bool = False
    provider: str = ""
    kernels: str = ""

    @classmethod
    def of(cls, graph: str, batch: int, options: Options, reason: str = "") -> Row:
        """A candidate that has not been run."""
        made = cls(graph, batch, options.backend, options.precision, options.device, options.threads, reason)
        return msgspec.structs.replace(made, provider=options.provider, kernels=options.kernels)

    def options(self, like: Options) -> Options:
        """How to open it; what a plan does not decide is as in `like`."""
        return msgspec.structs.replace(
            like, backend=self.backend, precision=self.precision, device=self.device, threads=self.threads,
            provider=self.provider, kernels=self.kernels or like.kernels,
        )  # fmt: skip

    def nonsense(self) -> str:
        """What in this row no search would write; empty if nothing. Back ends and kernels are looked up when opened."""
        texts = (self.graph, self.backend, self.reason, self.metric, self.kernels)
        if not all(text.isprintable() and len(text) <= 1000 for text in texts):
            return "text that is not printable, or too long"
        if self.precision not in PRECISIONS or self.device not in DEVICES or self.provider not in ("", *PROVIDERS):
            return f"{self.precision[:16]!a} on {self.device[:16]!a} {self.provider[:16]!a}"
        if not 0 <= self.threads <= cores() or self.batch < 1:
            return f"{self.threads} threads, batch {self.batch}"
        return ""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a search found. rows: every candidate, chosen or not, so that the choice can be explained."""

    schema: int
    bundle: str
    machine: str
    rows: tuple[Row, ...]
    seconds: float = 0.0

    def chosen(self, graph: str) -> tuple[Row, ...]:
        """The chosen candidate of `graph` for each batch size, the smallest first; empty if it was not planned."""
        return tuple(sorted((r for r in self.rows if r.graph == graph and r.chosen), key=lambda r: r.batch))

    def foreign(self, bundle: str) -> str:
        """Why this plan says nothing about that bundle on this machine; empty if it does."""
        if self.schema != SCHEMA:
            return f"its schema is {self.schema}, this version reads {SCHEMA}"
        if self.bundle != bundle:
            return "it was measured for another bundle"
        if self.machine != fingerprint():
            return "it was measured on another machine, or with other library versions"
        return next((f"a row has {found}" for row in self.rows if (found := row.nonsense())), "")


def fingerprint() -> str:
    """SHA-256 that stands for processor, core limit, system and library versions: equal machines share plans."""
    versions = {}
    for library in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            versions[library] = version(library)
    known = {key: value for key, value in machine().items() if key != "memory_gb"}
    return hashlib.sha256(msgspec.json.encode([known, versions], order="sorted")).hexdigest()


def read(data: bytes) -> tuple[Plan | None, str]:
    """The plan in `data`, or None and why it is none."""
    try:
        return msgspec.json.decode(data, type=Plan), ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, f"it is not a plan: {str(error)[:120]}"


def read_file(path: str | os.PathLike[str]) -> tuple[Plan | None, str]:
    """The plan in a file, or None and why there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return None, (error.strerror or "cannot be read").lower()
    return read(data) if len(data) <= MAX_BYTES else (None, f"it is larger than {MAX_BYTES >> 20} MB")


def write(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan atomically, to be shared among equal machines. Raises NoSpace or InputError."""
    write_file(Path(path), msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def cached(bundle: str, options: Options) -> Plan | None:
    """This machine's own plan of the bundle for these options, if it has been made."""
    place = _place(bundle, options)
    found = read_file(place)[0] if place is not None else None
    return found if found is not None and not found.foreign(bundle) else None


def keep(plan: Plan, options: Options) -> None:
    """Put a plan into the private cache; silently not where there is none, since it only saves a search."""
    place = _place(plan.bundle, options)
    if place is not None:
        with contextlib.suppress(SaccadeError, OSError):
            write(plan, place)


@contextlib.contextmanager
def one_search(bundle: str, options: Options) -> Iterator[None]:
    """Held by whoever searches: a second process waits here, and then finds the first one's plan."""
    place = _place(bundle, options)
    if place is None:
        yield
        return
    fd = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _place(bundle: str, options: Options) -> Path | None:
    try:
        folder: Path = setting("SACCADE_CACHE") / "plans"
        folder.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError, ValueError):
        return None
    key = hashlib.sha256(msgspec.json.encode([bundle, fingerprint(), options])).hexdigest()[:40]
    return folder / f"{key}.json" if private(folder) else None
