"""bundle.json: its types, and the checks that need no file but itself. docs/bundle.md is the normative text.

    bytes ──caps──▶ JSON, no duplicate keys ──upgrade──▶ Manifest (typed) ──rules──▶ Manifest
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from saccade.runtime.errors import BundleLimit, CorruptBundle, ForbiddenFile, ManifestError, UnsafePath
from saccade.runtime.spec import GraphSpec

MANIFEST = "bundle.json"
SCHEMA = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 1024
MAX_FILE_BYTES = 1 << 40
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
KINDS = (".onnx", ".data", ".safetensors", ".json", ".txt", ".png")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')
_DIGEST_AT = slice(0, 256)

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""For each older schema, the function that turns its document into the next schema's."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights come from. license is an SPDX expression, or empty when nobody said."""

    id: str
    revision: str = ""
    license: str = ""
    note: str = ""


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of a variant against the trained model, as export/verify.py measured it.

    mean, worst: over `samples` inputs; worst is the least favourable one
    reference: the trained model's own figure, where the metric has one (accuracy)
    """

    metric: str
    mean: float
    worst: float
    samples: int
    backend: str
    reference: float | None = None


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a graph at one precision.

    mergeable: whether a neighbour in the batch cannot change the answer beyond rounding
    within_budget: whether every figure with a budget keeps to it; if not, the variant is used only when asked for
    """

    precision: str
    file: str
    mergeable: bool = True
    within_budget: bool = True
    measured: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")


class GraphEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A graph: its contract and its variants, the most exact first."""

    spec: GraphSpec
    variants: tuple[Variant, ...]

    def __post_init__(self) -> None:
        precisions = [v.precision for v in self.variants]
        if not precisions or len(set(precisions)) != len(precisions):
            raise ValueError("a graph has at least one variant and one per precision")

    def variant(self, precision: str) -> Variant | None:
        """The variant of that precision, or None."""
        return next((v for v in self.variants if v.precision == precision), None)


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exact length in bytes and SHA-256 in lower-case hex."""

    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_FILE_BYTES or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("a file has a size and 64 lower-case hex digits")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of bundle.json. Field by field: docs/bundle.md."""

    digest: str
    schema: int
    family: str
    name: str
    source: Source
    graphs: dict[str, GraphEntry]
    files: dict[str, FileEntry]
    preprocess: dict[str, Any] = {}
    tokenizer: dict[str, Any] = {}
    config: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    budgets: dict[str, float] = {}
    golden: str = ""
    producer: dict[str, str] = {}


def parse(data: bytes) -> Manifest:
    """The manifest in `data`. Raises ManifestError, BundleLimit, CorruptBundle, UnsafePath or ForbiddenFile."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"[bundle] {MANIFEST}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES}", hint=BROKEN)
    document = _upgraded(_document(data))
    expected, got = _declared(data), digest_of(data)
    if expected != got:
        raise CorruptBundle(MANIFEST, f"digest {expected}", got)
    try:
        manifest = msgspec.convert(document, Manifest, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        text, _, path = str(error).partition(" - at `$")
        raise ManifestError(
            f"[bundle] {MANIFEST}{_pointer(path)}: {text}", pointer=_pointer(path), hint=BROKEN
        ) from None
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """The rules that types cannot say: names, kinds, counts, and that every file mentioned is listed."""
    if len(manifest.files) > MAX_FILES:
        raise BundleLimit(f"[bundle] {len(manifest.files)} files, at most {MAX_FILES}", hint=BROKEN)
    for name in manifest.files:
        check_name(name)
    lowered = [name.lower() for name in manifest.files]
    twice = next((name for name in lowered if lowered.count(name) > 1), "")
    if twice:
        raise UnsafePath(f"[bundle] {twice!r} is listed twice in different case", hint=BROKEN)
    wanted = [(f"/graphs/{g}/variants/{i}/file", v.file) for g, e in manifest.graphs.items() for i, v in enumerate(e.variants)]
    wanted += [("/golden", manifest.golden)] * bool(manifest.golden)
    wanted += [("/tokenizer/file", manifest.tokenizer[key]) for key in ("file",) if key in manifest.tokenizer]
    for pointer, name in wanted:
        if name not in manifest.files:
            raise ManifestError(f"[bundle] {MANIFEST}{pointer}: {name!r} is not in files", pointer=pointer, hint=BROKEN)
    for graph in manifest.graphs:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", graph):
            raise ManifestError(f"[bundle] {MANIFEST}/graphs: bad graph name {graph!r}", pointer="/graphs", hint=BROKEN)


def check_name(name: str) -> None:
    """Raise UnsafePath or ForbiddenFile unless `name` is a plain one of an allowed kind."""
    if not NAME.fullmatch(name) or name.endswith(".") or _RESERVED.fullmatch(name) or name.lower() == MANIFEST:
        raise UnsafePath(
            f"[bundle] {name[:128]!r} is not a plain file name",
            hint="names are 1 to 128 of A-Z a-z 0-9 . _ -, start with a letter or digit and hold no folder",
        )
    if not name.endswith(KINDS):
        raise ForbiddenFile(f"[bundle] {name}: a bundle holds only {' '.join(KINDS)}", hint=BROKEN)


def digest_of(data: bytes) -> str:
    """SHA-256 of the manifest's bytes with the digest's own 64 digits set to 0."""
    head = _DIGEST.sub(b'"digest": "' + b"0" * 64 + b'"', data[_DIGEST_AT], count=1)
    return hashlib.sha256(head + data[_DIGEST_AT.stop :]).hexdigest()


def serialise(manifest: Manifest) -> bytes:
    """The bytes of bundle.json: sorted, indented, and with the digest of themselves filled in."""
    document = msgspec.to_builtins(manifest)
    del document["digest"]
    body = json.dumps({"digest": "0" * 64, **_sorted(document)}, indent=1, ensure_ascii=False, allow_nan=False)
    data = body.encode() + b"\n"
    return data.replace(b"0" * 64, digest_of(data).encode(), 1)


BROKEN = "the bundle is damaged or was written by something else: fetch or export it again"


def _document(data: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} stands twice")
        return made

    def constant(text: str) -> None:
        raise ValueError(f"{text} is no JSON number")

    try:
        document = json.loads(data.decode(), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n")[0][:200]
        raise ManifestError(f"[bundle] {MANIFEST}: not JSON: {why}", hint=BROKEN) from None
    if not isinstance(document, dict):
        raise ManifestError(f"[bundle] {MANIFEST}: expected an object", hint=BROKEN)
    return document


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    schema = document.get("schema")
    if type(schema) is not int or schema < 0:
        raise ManifestError(f"[bundle] {MANIFEST}/schema: expected a number", pointer="/schema", hint=BROKEN)
    if schema > SCHEMA:
        raise ManifestError(
            f"[bundle] {MANIFEST}/schema: {schema} is newer than {SCHEMA}, the newest this version reads",
            pointer="/schema",
            hint="upgrade saccade",
        )
    while schema < SCHEMA:
        if schema not in UPGRADES:
            raise ManifestError(f"[bundle] {MANIFEST}/schema: {schema} is no known schema", pointer="/schema", hint=BROKEN)
        document = UPGRADES[schema](document)
        schema += 1
    return {**document, "schema": SCHEMA}


def _declared(data: bytes) -> str:
    found = _DIGEST.search(data[_DIGEST_AT])
    if not found:
        raise ManifestError(f"[bundle] {MANIFEST}/digest: expected 64 hex digits first", pointer="/digest", hint=BROKEN)
    return found.group(1).decode()


def _pointer(path: str) -> str:
    """msgspec's `.a[...].b[0]` as a JSON pointer; a key that it does not name stays `...`."""
    return re.sub(r"\.(?=[A-Za-z_])|\[", "/", path.strip("`")).replace("]", "").replace('"', "")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
