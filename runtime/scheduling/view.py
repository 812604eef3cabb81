"""View: a model whose methods are submitted."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from saccade.runtime.scheduling.request import Request


class View:
    """A model's methods, each giving the future of its result."""

    def __init__(self, submit: Callable[..., Request], pipeline: Any):
        self._submit, self._pipeline = submit, pipeline

    def __getattr__(self, name: str) -> Callable[..., Request]:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._pipeline, name)
        if not inspect.isgeneratorfunction(method):
            raise AttributeError(f"{name} is no pipeline")

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Request:
            return self._submit(method(*args, **kwargs))

        return call
