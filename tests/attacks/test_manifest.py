"""bundle.json against the format (rows B10 and B11): a ManifestError that says where, whatever the bytes are."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saccade.runtime import manifest
from saccade.runtime.bundle import Bundle, write
from saccade.runtime.errors import (
    BundleLimit,
    CorruptBundle,
    ForbiddenFile,
    ManifestError,
    SaccadeError,
    UnsafePath,
    printable,
)
from tests.attacks.conftest import assert_shown_well, contents, described, digested

GONE = object()


@pytest.fixture(scope="module")
def text(originals) -> bytes:
    """The bytes of a valid manifest."""
    return (originals / "small.bundle" / "bundle.json").read_bytes()


def changed(text: bytes, path: str, new: Any) -> bytes:
    """The manifest with the value at `path` (keys with dots between) set or removed, and a digest that fits."""
    document = json.loads(text)
    place, *rest = document, *path.split("|")
    for key in rest[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    key = int(rest[-1]) if isinstance(place, list) else rest[-1]
    if new is GONE:
        del place[key]
    else:
        place[key] = new
    return digested(json.dumps(document).encode())


def refused(data: bytes, *kinds: type[SaccadeError]) -> SaccadeError:
    with pytest.raises(kinds or (ManifestError,)) as caught:
        manifest.parse(data)
    assert_shown_well(caught.value)
    return caught.value


SPEC = "graphs|add|spec"
WRONG = [
    ("schema", "1", "/schema"), ("schema", 1.0, "/schema"), ("schema", True, "/schema"), ("schema", None, "/schema"),
    ("schema", -1, "/schema"), ("schema", 0, "/schema"), ("schema", 2, "/schema"), ("schema", 10**4000, "/schema"),
    ("schema", GONE, "/schema"), ("schema", [1], "/schema"),
    ("family", 7, "/family"), ("family", None, "/family"), ("family", GONE, ""), ("name", {}, "/name"),
    ("source", "x", "/source"), ("source|id", GONE, "/source"), ("source|license", 1, "/source/license"),
    ("source|url", "x", "/source"), ("extra", 1, ""), ("graphs", [], "/graphs"), ("graphs|add", [], "/graphs/add"),
    ("graphs|mul|spec", GONE, "/graphs/mul"), ("graphs|mul|variants", [], "/graphs/mul"),
    ("graphs|mul|variants", {}, "/graphs/mul/variants"),
    ("graphs|mul|variants|0|file", 3, "/graphs/mul/variants/0/file"),
    ("graphs|mul|variants|0|precision", "fp64", "/graphs/mul/variants/0"),
    ("graphs|mul|variants|0|file", "none.onnx", "/graphs/mul/variants/0/file"),
    ("graphs|mul|variants|0|file", "labels.txt", "/graphs/mul/variants/0/file"),
    ("graphs|mul|variants|0|file", "golden.safetensors", "/graphs/mul/variants/0/file"),
    ("graphs|mul|variants|0|file", "../../x.onnx", "/graphs/mul/variants/0/file"),
    ("graphs|mul|variants|0|measured", [{"metric": "cosine"}], "/graphs/mul/variants/0/measured/0"),
    ("graphs|A", {}, "/graphs/A"), ("graphs|a~/b", {}, "/graphs/a~0~1b"),
    (f"{SPEC}|inputs|0|dtype", "float33", "/graphs/add/spec/inputs/0"),
    (f"{SPEC}|inputs|0|dims", ["B", "4", 2.5], "/graphs/add/spec/inputs/0/dims/2"),
    (f"{SPEC}|inputs|0|dims", [True], "/graphs/add/spec/inputs/0/dims/0"),
    (f"{SPEC}|inputs|0|dims|0", "b", "/graphs/add/spec/inputs/0"),
    (f"{SPEC}|inputs|0|dims|1", -1, "/graphs/add/spec/inputs/0"),
    (f"{SPEC}|inputs|0|name", "$(id)", "/graphs/add/spec/inputs/0"), (f"{SPEC}|outputs", [], "/graphs/add/spec"),
    (f"{SPEC}|batch", "Q", "/graphs/add/spec"), (f"{SPEC}|limits", {"B": [1]}, "/graphs/add/spec/limits"),
    (f"{SPEC}|limits", {"B": [2, 1]}, "/graphs/add/spec"),
    (f"{SPEC}|pads", [{"dim": "B", "values": {}, "buckets": [2, 1]}], "/graphs/add/spec/pads/0"),
    ("files|labels.txt|size", "8", "/files/labels.txt/size"), ("files|labels.txt|size", -1, "/files/labels.txt"),
    ("files|labels.txt|size", 8.0, "/files/labels.txt/size"),
    ("files|labels.txt|size", 1e300, "/files/labels.txt/size"),
    ("files|labels.txt|sha256", "A" * 64, "/files/labels.txt"),
    ("files|labels.txt|sha256", "0" * 63, "/files/labels.txt"),
    ("files|labels.txt", None, "/files/labels.txt"), ("golden", "labels.txt", "/golden"),
    ("golden", "no.safetensors", "/golden"),
    ("golden", [], "/golden"), ("tokenizer", {"file": []}, "/tokenizer/file"),
    ("tokenizer", {"file": {}}, "/tokenizer/file"),
    ("tokenizer", {"file": None}, "/tokenizer/file"), ("tokenizer", {"file": "labels.txt"}, "/tokenizer/file"),
    ("tokenizer", {"file": "../t.json"}, "/tokenizer/file"), ("tokenizer", [], "/tokenizer"),
    ("labels", "one", "/labels"), ("labels", ["a", 1], "/labels/1"), ("budgets", {"cosine": "x"}, "/budgets"),
    ("budgets", {"cosine": 10**400}, "/budgets"), ("producer", {"x": 1}, "/producer"), ("config", 1, "/config"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "new", "pointer"), WRONG, ids=lambda v: "gone" if v is GONE else ascii(v)[:40])
def test_wrong_type_missing_key_or_unknown_one(path, new, pointer, text):
    error = refused(changed(text, path, new))
    assert error.pointer == pointer
    assert pointer in str(error)


@pytest.mark.parametrize("depth", [33, 100, 990, 1100, 10**5])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting(depth, brackets, text):
    deep = "[" * depth + "]" * depth if brackets == "[]" else '{"a":' * depth + "1" + "}" * depth
    refused(digested(text.replace(b'"config": {}', b'"config": {"a": ' + deep.encode() + b"}")))


def test_depth_that_is_allowed(text):
    deep = b"[" * 30 + b"]" * 30
    assert manifest.parse(digested(text.replace(b'"config": {}', b'"config": {"a": ' + deep + b"}"))).config


def test_ten_megabytes(text):
    refused(text + b" " * (10 << 20))
    refused(b" " * ((1 << 20) + 1))
    room = (1 << 20) - len(text)
    assert manifest.parse(digested(text + b" " * room))
    refused(digested(text + b" " * (room + 1)))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: '"config": {' + ",".join(f'"{i}":1' for i in range(n)) + ',"0":2}',
        lambda n: '"config": {' + ",".join(f'"{i}":{{}}' for i in range(n // 2)) + "}",
        lambda n: '"labels": [' + ",".join('""' for _ in range(n)) + "]",
        lambda n: '"labels": [' + ",".join('""' for _ in range(n)) + ",1]",
        lambda n: '"graphs": {' + ",".join(f'"g{i}":7' for i in range(n // 2)) + "}",
        lambda n: '"files": {' + ",".join(f'"{i}.txt":{{}}' for i in range(n // 4)) + "}",
        lambda n: '"files": {' + ",".join(f'"{i}.txt":{{"size":0,"sha256":"{0:064}"}}' for i in range(9000)) + "}",
        lambda n: '"config": {"' + "k" * 500_000 + '": [' + ",".join("0" for _ in range(n)) + "]}",
        lambda n: '"config": {"a": ' + "1" * 4000 + "}",
    ],
)
def test_a_hundred_thousand_entries_take_no_time(make, text):
    """Linear work, a typed error or none: 1 MiB of anything is answered in less than three seconds."""
    document = {k: v for k, v in json.loads(text).items() if f'"{k}"' != make(4).split(":")[0]}
    data = json.dumps(document).encode()[:-1] + b"," + make(100_000).encode() + b"}"
    assert len(data) < manifest.MAX_MANIFEST_BYTES
    started = time.process_time()
    try:
        manifest.parse(digested(data))
    except SaccadeError as error:
        assert_shown_well(error)
    assert time.process_time() - started < 3


def test_more_files_than_allowed(text):
    entry = {"size": 0, "sha256": "0" * 64}
    at_most = {f"{i}.txt": entry for i in range(1020)} | json.loads(text)["files"]
    assert len(manifest.parse(changed(text, "files", at_most)).files) == 1024
    refused(changed(text, "files", {**at_most, "z.txt": entry}), BundleLimit)


def test_files_larger_than_allowed(text):
    assert manifest.parse(changed(text, "files|labels.txt|size", 1 << 37))
    refused(changed(text, "files|labels.txt|size", (1 << 37) + 1), BundleLimit)
    refused(changed(text, "files|labels.txt|size", 10**30), BundleLimit)


def test_names_in_the_manifest(text):
    entry = {"size": 0, "sha256": "0" * 64}
    refused(changed(text, "files|../x.onnx", entry), UnsafePath)
    refused(changed(text, "files|x.pkl", entry), ForbiddenFile)
    refused(changed(text, "files|LABELS.txt", entry), UnsafePath)


def test_a_newer_schema_is_said_before_anything_else_is_wrong(text):
    error = refused(b'{"schema": 7, "whatever": 1}')
    assert error.hint == "upgrade saccade"
    assert "7 is newer than 1" in str(error)


def test_a_digest_that_is_not_the_files_own(text):
    """The digest names the model in caches: nobody may choose it."""
    other = "ab" * 32
    declared = json.loads(text)["digest"]
    refused(text.replace(declared.encode(), other.encode()), CorruptBundle)
    document = json.loads(text)
    del document["digest"]
    nested = {"config": {"digest": "0" * 64}, **{k: v for k, v in document.items() if k != "config"}, "digest": other}
    assert refused(digested(json.dumps(nested).encode())).pointer == "/digest"
    late = {**document, "digest": other}
    assert refused(json.dumps(late).encode()).pointer == "/digest"
    assert refused(json.dumps(document).encode()).pointer == "/digest"
    assert refused(b" " * 200 + text).pointer == "/digest"
    refused(digested(text.replace(b'"schema"', b'"digest": "' + other.encode() + b'", "schema"')))
    refused(digested(text.replace(b'"schema"', b'"\\u0064igest": "' + other.encode() + b'", "schema"')))


HOSTILE = [
    "a\nb",
    "a\r\x1b[2K",
    "\x1b]0;title\x07",
    "\x9b31m",
    "$(id)",
    "`id`",
    "\u202eexe",
    "\u2028x",
    "\0",
    "\x7f",
    "'; rm",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_hostile_strings_are_shown_escaped(hostile, text, tmp_path):
    """They are data: accepted where text is free, and on one printable line wherever an error shows them."""
    for path in ("graphs|add|variants|0|file", f"{SPEC}|inputs|0|name", f"{SPEC}|inputs|0|dtype", "golden"):
        refused(changed(text, path, hostile))
    refused(changed(text, f"graphs|{hostile}", {}))
    refused(changed(text, f"files|{hostile}", {"size": 0, "sha256": "0" * 64}), UnsafePath)
    refused(changed(text, hostile, 1))
    refused(changed(text, "tokenizer", {"file": hostile}))
    twice = json.dumps(hostile).encode()
    refused(b"{" + twice + b": 1, " + twice + b": 1}")
    write(tmp_path / "x.bundle", described(name=hostile, family=hostile, labels=(hostile,)), contents())
    opened = Bundle.open(tmp_path / "x.bundle")
    assert (opened.name, opened.manifest.labels) == (hostile, (hostile,))
    from saccade.runtime.model import load

    with pytest.raises(ManifestError) as caught:
        load(opened)
    assert_shown_well(caught.value)
    assert_shown_well(SaccadeError(f"[{opened.name}] closed", hint=f"not {opened.name}"))


def test_printable_keeps_what_is_printable():
    assert printable("Größe 3 × 4, 猫 ▶") == "Größe 3 × 4, 猫 ▶"
    assert printable("a\nb\x1b\u202e\ud800") == "a\\nb\\x1b\\u202e\\ud800"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PLACES = ["schema", "graphs", "graphs|add", SPEC, f"{SPEC}|inputs", f"{SPEC}|inputs|0", f"{SPEC}|limits",
          f"{SPEC}|pads",
          "graphs|mul|variants|0", "graphs|mul|variants|0|measured", "files", "files|labels.txt", "tokenizer", "golden",
          "labels", "budgets", "producer", "config", "preprocess", "source", "name", "digest"]  # fmt: skip


@given(st.sampled_from(PLACES), JSON)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_values(text, path, new):
    """Any JSON value at any place: a manifest, or a typed error that is shown well."""
    try:
        data = changed(text, path, new)
    except ValueError:
        return  # such as a digest that is no text: nothing to put into it
    try:
        manifest.parse(data)
    except SaccadeError as error:
        assert_shown_well(error)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_mutations(text, data):
    """Bytes removed, doubled or replaced, with a digest that fits where there still is one."""
    made = bytearray(text)
    for _ in range(data.draw(st.integers(1, 4))):
        at, length = data.draw(st.integers(100, len(made) - 1)), data.draw(st.integers(0, 40))
        made[at : at + length] = data.draw(st.binary(max_size=40) | st.just(bytes(made[at : at + length]) * 2))
    try:
        manifest.parse(digested(bytes(made)))
    except SaccadeError as error:
        assert_shown_well(error)
