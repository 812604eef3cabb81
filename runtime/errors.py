"""What can go wrong, as a tree: each error says what was given, what is allowed and what to do next.

SaccadeError                     exit  http
├── InputError                      2   400   what the caller handed over
│   ├── SpecError                   2   400   arrays that do not fit a graph or an op
│   ├── ImageError                  2   400   not a picture, or a damaged one
│   │   └── ImageTooLarge           2   413   known from the header; nothing was decoded
│   ├── TextError                   2   400   labels, prompts and token counts
│   ├── PromptError                 2   400   points, boxes and masks that cannot be asked
│   ├── SettingsError               2   400   an option or a SACCADE_* variable
│   ├── IndexFileError              2   400   a search index that does not fit or is damaged
│   └── AnnotationFileError         2   400   prompts, annotations or an annotation run that do not fit or are damaged
├── BundleError                     2   500   a bundle that cannot be trusted
│   ├── ManifestError               2   500   bundle.json is not what docs/bundle.md says
│   ├── CorruptBundle               2   500   a file is not the one that was written
│   ├── UnsafePath                  2   500   a name or file that could reach outside
│   ├── BundleLimit                 2   500   more or larger than the format allows
│   └── ForbiddenFile               2   500   a file that could run code
├── ExportError                     2   500   a model that cannot become a bundle
│   ├── UnknownModel                2   404   no such model, or no recipe for it
│   └── ParityError                 2   500   the exported graph does not compute what the model does
├── KernelError                     2   500   a forced kernel that cannot run
├── Closed                          2   503   used after close()
├── Dropped                         3   503   a request that the scheduler ended without a result
│   ├── QueueFull                   3   429   not accepted; worth trying again after `retry_after_s`
│   ├── DeadlineExceeded            3   504   too late, or known to become so
│   ├── Superseded                  3   409   a newer request of its stream took its place
│   └── Cancelled                   3   499   the scheduler was closed before it was done
└── EnvironmentTrouble              3   503   the machine, not the request
    ├── MissingExtra                3   503   a library that an extra of saccade brings
    ├── EngineError                 3   503   no back end can run the graph, or one failed
    │   ├── BadOutput               3   500   an engine returned NaN or arrays of a wrong shape
    │   ├── Quarantined             3   503   an engine did so too often, and no other passes the golden check
    │   └── OutOfMemory             3   503   the device or the host has no memory for a run or an engine
    ├── MemoryBudget                3   503   engines that do not fit into the byte budget
    ├── NoSpace                     3   507   the disk is full or not writable
    └── Offline                     3   503   the model hub cannot be reached
"""

from __future__ import annotations

from typing import Any


class SaccadeError(Exception):
    """Base of all errors of saccade.

    message: one line, lower case, what was given and what is allowed
    hint: one line, what to do next; empty if there is nothing useful to say
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str = ""):
        super().__init__(printable(message))
        self.message = printable(message)
        self.hint = printable(hint)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # By state, since subclasses take other arguments: errors cross process borders whole.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[SaccadeError], args: tuple[Any, ...], state: dict[str, Any]) -> SaccadeError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def printable(text: str) -> str:
    """`text` on one line, without what could move a terminal's cursor, forge a log line or fail to encode."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputError(SaccadeError):
    """What the caller handed over cannot be used; nothing was lost or written."""

    exit_code, http_status = 2, 400


class SpecError(InputError):
    """Arrays that do not fit the graph or op they were given to."""


class ImageError(InputError):
    """Not a picture, a damaged one, or one in a format that is not read."""


class ImageTooLarge(ImageError):
    """The picture's header asks for more than the limits allow; nothing was decoded."""

    http_status = 413


class TextError(InputError):
    """Labels, prompts or templates that are empty, too long or too many."""


class PromptError(InputError):
    """Points, boxes or masks that do not fit the picture or the model, or mean nothing."""


class SettingsError(InputError):
    """An option or environment variable with a value that means nothing."""


class BundleError(SaccadeError):
    """A bundle that is missing, damaged or not to be trusted."""

    exit_code, http_status = 2, 500


class ManifestError(BundleError):
    """bundle.json breaks the format. `pointer` is the JSON pointer (RFC 6901) to the place."""

    def __init__(self, message: str, *, pointer: str = "", hint: str = ""):
        super().__init__(message, hint=hint)
        self.pointer = pointer


class CorruptBundle(BundleError):
    """A file is not the one that was written. `file`, `expected`, `got` say which and how."""

    def __init__(self, file: str, expected: str, got: str, *, hint: str = ""):
        super().__init__(
            f"[bundle] {file}: expected {expected}, got {got}", hint=hint or "fetch or export the bundle again"
        )
        self.file, self.expected, self.got = file, expected, got


class UnsafePath(BundleError):
    """A name that is not a plain relative one, or a file that is a link, device or pipe."""


class BundleLimit(BundleError):
    """More entries, or larger ones, than the format allows."""


class ForbiddenFile(BundleError):
    """A file of a kind that can run code when opened, such as a pickle or a TensorRT plan."""


class IndexFileError(InputError):
    """A search index that is damaged, or was made with another model."""


class AnnotationFileError(InputError):
    """Prompts, annotations or a run's folder that are damaged or do not fit. `pointer` is the place in the JSON."""

    def __init__(self, message: str, *, pointer: str = "", hint: str = ""):
        super().__init__(message, hint=hint)
        self.pointer = pointer


class ExportError(SaccadeError):
    """A model that cannot become a bundle."""

    exit_code, http_status = 2, 500


class UnknownModel(ExportError):
    """No such model, or a model that no recipe knows."""

    http_status = 404


class ParityError(ExportError):
    """The exported graph does not compute what the trained model does."""


class KernelError(SaccadeError):
    """A kernel that was asked for by name and cannot run; the reason is in the message."""

    exit_code, http_status = 2, 500


class Closed(SaccadeError):
    """A model, engine or index was used after close()."""

    exit_code, http_status = 2, 503


class Dropped(SaccadeError):
    """A request that the scheduler ended without a result; nothing is wrong with the request itself."""

    exit_code, http_status = 3, 503


class QueueFull(Dropped):
    """As many requests are open as the scheduler accepts. `retry_after_s` estimates when there is room again."""

    http_status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 0.0):
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(Dropped):
    """The deadline passed, or measured run times say that it cannot be kept."""

    http_status = 504


class Superseded(Dropped):
    """A newer request of the same stream took this one's place before it began."""

    http_status = 409


class Cancelled(Dropped):
    """The scheduler was closed, without waiting or after waiting long enough."""

    http_status = 499


class EnvironmentTrouble(SaccadeError):
    """The machine, not the request: a missing library, a full disk, no network."""

    exit_code, http_status = 3, 503


class MissingExtra(EnvironmentTrouble):
    """A library is not installed; the hint names the extra that brings it."""

    def __init__(self, needs: str, extra: str, *, purpose: str = ""):
        super().__init__(
            f"{needs} is not installed" + (f"; {purpose} needs it" if purpose else ""),
            hint=f"pip install 'saccade[{extra}]'",
        )
        self.needs, self.extra = needs, extra


class EngineError(EnvironmentTrouble):
    """No back end can run the graph here, or a back end failed while it ran."""


class BadOutput(EngineError):
    """An engine returned something that cannot be its graph's output: a missing array, a wrong shape, NaN."""

    http_status = 500


class Quarantined(EngineError):
    """An engine gave bad outputs too often, and no other that passes the golden check can take its place."""


class OutOfMemory(EngineError):
    """No memory on device or host: for a run of one call alone, or for an engine, even after others were evicted."""


class MemoryBudget(EnvironmentTrouble):
    """An engine does not fit into the byte budget beside what is pinned or in use; nothing was evicted for it."""


class NoSpace(EnvironmentTrouble):
    """The disk is full or the folder cannot be written; what was there before is untouched."""

    http_status = 507


class Offline(EnvironmentTrouble):
    """The model hub could not be reached and the model is not in the local cache."""
