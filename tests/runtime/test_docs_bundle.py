"""docs/bundle.md and docs/errors.md say what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from saccade.runtime import errors, manifest, onnx_scan, spec, strict_json
from saccade.runtime.errors import CorruptBundle, ManifestError

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "bundle.md").read_text()


@pytest.fixture
def example():
    return re.search(r"```json\n(.*?)```", TEXT, re.DOTALL).group(1).encode()


def test_the_example_is_a_manifest(example):
    read = manifest.parse(example)
    assert read.graphs["image"].spec.inputs[0].text == "(B, 3, 224, 224) float32"
    assert read.graphs["image"].variant("fp32").measured[0].worst == 0.9999
    assert read.digest.encode() in example


def test_the_example_is_checked_like_any_other(example):
    with pytest.raises(CorruptBundle):
        manifest.parse(example.replace(b"clip-example", b"clip-examples"))
    with pytest.raises(ManifestError):
        manifest.parse(example.replace(b'"schema": 1', b'"schema": 2'))


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        (manifest.Manifest, "## 2."),
        (manifest.Source, "## 2."),
        (manifest.GraphEntry, "## 2."),
        (manifest.Variant, "## 2."),
        (manifest.Measured, "## 2."),
        (manifest.FileEntry, "## 2."),
        (spec.TensorSpec, "## 2."),
        (spec.GraphSpec, "## 2."),
        (spec.Padding, "## 2."),
    ],
)
def test_every_field_is_described(kind, section):
    text = TEXT[TEXT.index(section) : TEXT.index("## 3.")]
    for field in msgspec.structs.fields(kind):
        assert f"`{field.name}`" in text, field.name


def test_the_table_of_the_manifest_lists_exactly_its_fields():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", TEXT[: TEXT.index("A graph has")], re.MULTILINE)
    assert sorted(rows) == sorted(manifest.Manifest.__struct_fields__)
    required = re.findall(r"^\| `(\w+)` \| [^|]*required \|", TEXT[: TEXT.index("A graph has")], re.MULTILINE)
    assert sorted(required) == sorted(f.name for f in msgspec.structs.fields(manifest.Manifest) if f.required)


def test_figures_and_lists_are_those_of_the_code():
    for number in (manifest.MAX_MANIFEST_BYTES, manifest.MAX_FILES, onnx_scan._MAX_FIELDS, manifest._DIGEST_WITHIN):
        assert re.search(rf"\b{number:,}\b", TEXT), number
    assert manifest.MAX_FILE_BYTES == 1 << 37
    assert "2³⁷" in TEXT
    assert f"nesting deeper than {strict_json.MAX_DEPTH}" in TEXT
    assert f"{onnx_scan._MAX_DEPTH} levels, more than {onnx_scan._MAX_DIMS} dims" in TEXT
    for pattern in (manifest.NAME, manifest._GRAPH, spec.TENSOR_NAME, spec.DIM_NAME):
        assert f"`{pattern.pattern}`" in TEXT, pattern.pattern
    for word in (*manifest.KINDS, *manifest.PRECISIONS, *spec.DTYPES):
        assert f"`{word}`" in TEXT, word
    assert f"schema {manifest.SCHEMA}" in TEXT.splitlines()[0]


def test_errors_lists_exactly_the_errors_there_are():
    text = (DOCS / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d) \| (\d+) \| .+ \| .+ \|$", text, re.MULTILINE)
    kinds = {n: k for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, errors.SaccadeError)}
    assert [(n, int(e), int(h)) for n, e, h in rows] == [
        (name, kinds[name].exit_code, kinds[name].http_status) for name, _, _ in rows
    ]
    assert sorted(name for name, _, _ in rows) == sorted(kinds)
    used = set(re.findall(r"`(\w+)`(?:,| \|)", TEXT[TEXT.index("## 11.") : TEXT.index("## 12.")]))
    assert used <= set(kinds)
    assert "BundleLimit" in used
