"""bundle.json: its types, and the checks that need no file but itself. docs/bundle.md is the normative text.

bytes ──cap──▶ strict JSON ──schema, digest──▶ upgrade ──▶ Manifest (typed) ──rules──▶ Manifest
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from saccade.runtime import strict_json
from saccade.runtime.errors import BundleLimit, CorruptBundle, ForbiddenFile, ManifestError, UnsafePath
from saccade.runtime.spec import GraphSpec

MANIFEST = "bundle.json"
SCHEMA = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILES = 1024
MAX_FILE_BYTES = 1 << 37
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
KINDS = (".onnx", ".data", ".safetensors", ".json", ".txt", ".png")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_GRAPH = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DIGEST = re.compile(rb'\s*\{\s*"digest": "([0-9a-f]{64})"')
_DIGEST_WITHIN = 256

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
        if self.size < 0 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
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
    document = _document(data)
    _refuse_schema(document)
    expected, got = _declared(data), digest_of(data)
    if expected != got:
        raise CorruptBundle(MANIFEST, f"digest {expected}", got)
    manifest = _typed(_upgraded(document))
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """The rules that types cannot say: names, kinds, counts, and that every file mentioned is listed."""
    if len(manifest.files) > MAX_FILES:
        raise BundleLimit(f"[bundle] {len(manifest.files)} files, at most {MAX_FILES}", hint=BROKEN)
    lowered: set[str] = set()
    for name, entry in manifest.files.items():
        check_name(name)
        if name.lower() in lowered:
            raise UnsafePath(f"[bundle] {name.lower()!r} is listed twice in different case", hint=BROKEN)
        lowered.add(name.lower())
        if entry.size > MAX_FILE_BYTES:
            raise BundleLimit(f"[bundle] {name}: {entry.size} bytes, at most {MAX_FILE_BYTES}", hint=BROKEN)
    for graph in manifest.graphs:
        if not _GRAPH.fullmatch(graph):
            raise _broken(("graphs", graph), f"{graph[:64]!a} is not a lower-case name of at most 64 characters")
    for graph, held in manifest.graphs.items():
        for i, variant in enumerate(held.variants):  # only .onnx files are scanned for what they point at
            _refuse_unlisted(manifest, ("graphs", graph, "variants", i, "file"), variant.file, ".onnx")
    if manifest.golden:
        _refuse_unlisted(manifest, ("golden",), manifest.golden, ".safetensors")
    if "file" in manifest.tokenizer:
        _refuse_unlisted(manifest, ("tokenizer", "file"), manifest.tokenizer["file"], ".json")


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
    found = _DIGEST.match(data[:_DIGEST_WITHIN])
    if not found:
        return hashlib.sha256(data).hexdigest()
    low, high = found.span(1)
    return hashlib.sha256(data[:low] + b"0" * 64 + data[high:]).hexdigest()


def serialise(manifest: Manifest) -> bytes:
    """The bytes of bundle.json: sorted, indented, and with the digest of themselves filled in. Raises ManifestError."""
    try:
        document = msgspec.to_builtins(manifest)
        del document["digest"]
        body = json.dumps({"digest": "0" * 64, **_sorted(document)}, indent=1, ensure_ascii=False, allow_nan=False)
        data = body.encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # such as a NumPy number, or NaN
        hint = "use plain strings and numbers"
        raise _broken((), f"not to be written as JSON: {str(error)[:200]}", hint=hint) from None
    return data.replace(b"0" * 64, digest_of(data).encode(), 1)


BROKEN = "the bundle is damaged or was written by something else: fetch or export it again"


def _broken(path: Iterable[str | int], why: str, *, hint: str = BROKEN) -> ManifestError:
    pointer = strict_json.pointer(path)
    return ManifestError(f"[bundle] {MANIFEST}{pointer[:256]}: {why}", pointer=pointer, hint=hint)


def _refuse_unlisted(manifest: Manifest, path: Iterable[str | int], name: Any, kind: str) -> None:
    if not isinstance(name, str) or name not in manifest.files or not name.endswith(kind):
        raise _broken(path, f"{str(name)[:128]!a} is not a {kind} file in files")


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = strict_json.loads(data)
    except strict_json.NotStrict as error:
        raise ManifestError(
            f"[bundle] {MANIFEST}{error.pointer[:256]}: not strict JSON: {error}", pointer=error.pointer, hint=BROKEN
        ) from None
    if not isinstance(document, dict):
        raise _broken((), "expected an object")
    return document


def _refuse_schema(document: dict[str, Any]) -> None:
    schema = document.get("schema")
    if type(schema) is not int or schema < 0:
        raise _broken(("schema",), "expected a number")
    if schema > SCHEMA:
        newer = f"{schema if schema < 10**9 else 'it'} is newer than {SCHEMA}, the newest this version reads"
        raise _broken(("schema",), newer, hint="upgrade saccade")
    for old in range(schema, SCHEMA):
        if old not in UPGRADES:
            raise _broken(("schema",), f"{old} is no known schema")


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    for schema in range(document["schema"], SCHEMA):
        try:
            document = UPGRADES[schema](document)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise _broken((), f"not a document of schema {schema}") from None
    return {**document, "schema": SCHEMA}


def _declared(data: bytes) -> str:
    found = _DIGEST.match(data[:_DIGEST_WITHIN])
    if not found:
        raise _broken(("digest",), "expected as the first key, with 64 hex digits")
    return found.group(1).decode()


def _typed(document: dict[str, Any]) -> Manifest:
    try:
        return msgspec.convert(document, Manifest, strict=True)
    except (msgspec.ValidationError, OverflowError) as error:
        found = re.fullmatch(r"(.*) - at `\$([^`]*)`", str(error), re.DOTALL)
        why, place = found.groups() if found else (str(error), "")
        raise _broken(_path(document, re.findall(r"\w+|\.\.\.", place)), why[:300]) from None


def _path(document: dict[str, Any], parts: list[str]) -> list[str]:
    """msgspec's path with the key of a graph or file, which it leaves out; up to the first key that stays unknown."""
    kinds = {"graphs": GraphEntry, "files": FileEntry}
    if parts[1:2] == ["..."] and parts[0] in kinds:
        for key, value in document[parts[0]].items():
            try:
                msgspec.convert(value, kinds[parts[0]], strict=True)
            except (msgspec.ValidationError, OverflowError):
                parts[1] = key
                break
    return parts[: parts.index("...")] if "..." in parts else parts


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
