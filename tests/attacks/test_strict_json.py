"""Bytes that are not JSON, or JSON that two readers may understand differently (row B10)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.runtime import manifest, strict_json
from saccade.runtime.errors import ManifestError, SaccadeError
from tests.attacks.conftest import assert_shown_well


def refused(data: bytes, *kinds: type[SaccadeError]) -> SaccadeError:
    with pytest.raises(kinds or (ManifestError,)) as caught:
        manifest.parse(data)
    assert_shown_well(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not strict JSON"), (b"\0", "not strict JSON"), (b"[]", "an object"), (b"null", "an object"),
        (b'"x"', "an object"), (b"1", "an object"),
        (b"{", "not strict JSON"), (b"{}", "schema"), (b"{} {}", "not strict JSON"),
        (b"---\nschema: 1\n", "not strict JSON"), (b"!!python/object/apply:os.system ['id']", "not strict JSON"),
        (b"schema: &a 1", "not strict JSON"), (b"# note\n{}", "not strict JSON"), (b"{'schema': 1}", "not strict JSON"),
        (b'{"schema": 1,}', "not strict JSON"), (b'{"a": NaN}', "NaN"), (b'{"a": [-Infinity]}', "Infinity"),
        (b'{"a": 1e999}', "too large"), (b'{"a": {"b": [-1e400]}}', "/a/b/0"), (b'\xef\xbb\xbf{"schema": 1}', "BOM"),
        (b'{"a": "\xff"}', "UTF-8"), ('{"schema": 1}'.encode("utf-16"), "UTF-8"), (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"), (b'{"a": [{"b": "x\\ud83d"}]}', "/a/0/b"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": 1, "a": 1}', "'a' stands twice"), (b'{"x": [{"a": 1, "b": 2, "a": 3}]}', "/x/0"),
        (b'{"x": {"\\u0061": 1, "a": 1}}', "/x"), (b'{"a": "\n"}', "control character"),
        (b'{"a": 01}', "not strict JSON"),
        (b'{"a": +1}', "not strict JSON"), (b'{"a": 0x10}', "not strict JSON"), (b"\x80\x04N.", "UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
    ids=lambda v: ascii(v)[:32],
)  # fmt: skip
def test_what_is_not_strict_json(data, why):
    assert why in str(refused(data))


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_random_bytes(data):
    with pytest.raises(SaccadeError) as caught:
        manifest.parse(data)
    assert_shown_well(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_strict_json_reads_what_it_writes(value):
    try:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return
    assert strict_json.loads(data) == value
