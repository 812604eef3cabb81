"""Answer: a concurrent.futures.Future that costs little until somebody waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

_BIRTH = threading.Lock()  # of conditions: held for a few instructions


class Answer(Future[Any]):
    """A Future whose condition is made when somebody waits or adds a callback.

    Making a Condition, taking and notifying it is two thirds of what a Future costs. The names with an underscore are
    those that concurrent.futures.wait, as_completed and asyncio.wrap_future use, the same since Python 3.2.
    """

    # Attributes of the class until they are needed: fewer objects for the garbage collector to walk.
    _made: threading.Condition | None = None
    _state = "PENDING"
    _result: Any = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    def __init__(self) -> None:
        """Without the base's, which makes the condition."""

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # the base class has an attribute
        made = self._made
        if made is None:
            with _BIRTH:
                if self._made is None:
                    self._waiters, self._done_callbacks = [], []  # only used by who holds the condition
                    self._made = threading.Condition()
                made = self._made
        return made

    def done(self) -> bool:
        """Whether it has ended in any way."""
        return self._state != "PENDING"

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Set result or error. Only the driver calls it, once."""
        with _BIRTH:
            if self._made is None:
                self._result, self._exception = result, error
                self._state = "FINISHED"
                return
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        """The result. Raises what the pipeline raised, the error that ended it, CancelledError, or TimeoutError."""
        if self._state == "FINISHED":
            if self._exception is None:
                return self._result
            try:
                raise self._exception
            finally:
                self = None  # type: ignore[assignment]  # no cycle of error, frame and future
        return super().result(timeout)
