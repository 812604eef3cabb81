"""The tree of errors: complete, as drawn, and shown well."""

import inspect
import re

import pytest

from saccade.runtime import errors
from saccade.runtime.errors import CorruptBundle, ManifestError, MissingExtra, SaccadeError, printable

KINDS = {n: k for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, SaccadeError)}


def made(kind):
    if kind is CorruptBundle:
        return kind("x.onnx", "4 bytes", "3 bytes")
    if kind is MissingExtra:
        return kind("onnxruntime", "cpu", purpose="running")
    return kind("[x] something", hint="do something")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_each_has_message_hint_exit_code_and_status(kind):
    error = made(kind)
    assert error.hint
    assert str(error) == error.message == error.args[0]
    assert kind.exit_code in (1, 2, 3)
    assert 400 <= kind.http_status < 600
    assert kind.__doc__


def test_without_a_hint_it_is_empty():
    assert SaccadeError("x").hint == ""
    assert ManifestError("x").pointer == ""


def drawn():
    """(parent, name, exit, http) of each line of the module's drawing."""
    path = []
    for line in inspect.cleandoc(errors.__doc__).splitlines():
        found = re.match(r"((?:[│ ]   )*(?:[├└]── )?)(\w+) +(\d|exit) +(\d+|http)", line)
        if found:
            lead, name, code, status = found.groups()
            depth = len(lead) // 4
            path[depth:] = [name]
            yield (path[depth - 1] if depth else ""), name, code, status


def test_the_drawing_is_the_tree():
    lines = list(drawn())
    assert lines[0] == ("", "SaccadeError", "exit", "http")
    want = {
        (k.__base__.__name__, n, str(k.exit_code), str(k.http_status)) for n, k in KINDS.items() if n != "SaccadeError"
    }
    assert set(lines[1:]) == want
    assert len(lines) == len(KINDS)


def test_messages_and_hints_are_one_printable_line():
    for text in ("a\nb", "\x1b[2J", "\x9b", "\u202e", "\u2028", "\0", "\ud800", "\x7f"):
        error = SaccadeError(f"[x] {text}", hint=text)
        assert str(error).isprintable()
        assert error.hint.isprintable()
        str(error).encode()
    assert printable("é — 猫") == "é — 猫"


def test_the_fields_of_those_that_have_some():
    error = CorruptBundle("x.onnx", "4 bytes", "3 bytes")
    assert (error.file, error.expected, error.got) == ("x.onnx", "4 bytes", "3 bytes")
    assert str(error) == "[bundle] x.onnx: expected 4 bytes, got 3 bytes"
    assert MissingExtra("onnxruntime", "cpu").hint == "pip install 'saccade[cpu]'"
    assert ManifestError("x", pointer="/a/0").pointer == "/a/0"


def test_errors_cross_process_borders_whole():
    import copy

    from saccade.runtime.errors import CorruptBundle, ManifestError, MissingExtra

    for error in (CorruptBundle("f", "a", "b"), MissingExtra("x", "cpu"), ManifestError("m", pointer="/p", hint="h")):
        again = copy.copy(error)  # by __reduce__, as between processes
        assert type(again) is type(error)
        assert (str(again), again.__dict__) == (str(error), error.__dict__)
