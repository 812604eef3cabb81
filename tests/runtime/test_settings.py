"""Every SACCADE_* variable: argument, then environment, then default."""

import re
from pathlib import Path

import pytest

from saccade.runtime.errors import SettingsError
from saccade.runtime.settings import TABLE, setting


def test_argument_then_environment_then_default(monkeypatch):
    assert setting("SACCADE_THREADS") == 0
    monkeypatch.setenv("SACCADE_THREADS", "3")
    assert setting("SACCADE_THREADS") == 3
    assert setting("SACCADE_THREADS", 2) == 2
    assert setting("SACCADE_THREADS", 0) == 0  # an argument of 0 is an argument
    monkeypatch.setenv("SACCADE_THREADS", "")
    assert setting("SACCADE_THREADS") == 0


@pytest.mark.parametrize("name", [n for n in TABLE if n.endswith(("THREADS", "PIXELS", "BYTES"))])
@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1e3", "\x1b[2J", " "])
def test_what_cannot_be_read_is_said(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=name) as caught:
        setting(name)
    assert "unset it" in caught.value.hint
    assert str(caught.value).isprintable()


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.delenv("SACCADE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert setting("SACCADE_CACHE") == tmp_path / "saccade"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert setting("SACCADE_CACHE") == tmp_path / ".cache" / "saccade"
    monkeypatch.setenv("SACCADE_CACHE", "/elsewhere")
    assert setting("SACCADE_CACHE") == Path("/elsewhere")


@pytest.mark.parametrize("name", TABLE)
def test_each_has_a_default_and_a_meaning(name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    assert TABLE[name].meaning
    assert setting(name) is not None


def test_no_variable_is_read_anywhere_else():
    root = Path(__file__).parents[2]
    for file in (f for part in ("runtime", "kernels", "python", "export") for f in (root / part).rglob("*.py")):
        used = set(re.findall(r"\bSACCADE_[A-Z_]+[A-Z]\b", file.read_text()))
        assert used <= set(TABLE), file
        if file.name != "settings.py":
            assert not re.search(r"(environ|getenv)[^\n]*SACCADE_", file.read_text()), file
