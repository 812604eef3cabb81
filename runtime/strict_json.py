"""JSON that somebody else wrote, read so that it means one thing: no key twice, no NaN, no half of a character.

bytes ──UTF-8──▶ json ──walk──▶ document, or NotStrict with the JSON pointer (RFC 6901) to the place
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 32


class NotStrict(ValueError):
    """Not JSON, or JSON that two readers may understand differently. `pointer` is the place, if it has one."""

    def __init__(self, why: str, path: Iterable[str | int] = ()):
        super().__init__(why)
        self.pointer = pointer(path)


def loads(data: bytes) -> Any:
    """The document in `data`. Raises NotStrict. Time and memory are linear in the length."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise NotStrict(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise NotStrict(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise NotStrict(str(error).split("\n")[0][:200]) from None
    _walk(document)
    return document


def pointer(path: Iterable[str | int]) -> str:
    """Keys and indices as a JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


class _Twice(dict[str, Any]):
    """An object in which a key stands twice; the walk knows where it is, the parser does not."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice, seen = _Twice(made), set()
    for key, _ in pairs:
        if key in seen:
            twice.key = key
        seen.add(key)
    return twice


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _walk(document: Any) -> None:
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(document, ())]
    while stack:
        value, path = stack.pop()
        if isinstance(value, str):
            _refuse_surrogate(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise NotStrict("a number too large for a float", path)
        elif isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                raise NotStrict(f"nested deeper than {MAX_DEPTH}", path)
            if isinstance(value, _Twice):
                raise NotStrict(f"key {value.key[:64]!a} stands twice", path)
            for key in value if isinstance(value, dict) else ():
                _refuse_surrogate(key, path)
            children = value.items() if isinstance(value, dict) else enumerate(value)
            stack += [(child, (*path, key)) for key, child in children]


def _refuse_surrogate(text: str, path: tuple[str | int, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrict("half of a surrogate pair", path) from None
