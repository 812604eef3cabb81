"""Files that may have been put there by somebody else: opened without following, read whole, written atomically.

    open   no link, no device, one name, the size that was promised
    write  temporary folder beside the target → fsync → rename: the name appears complete or not at all
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from saccade.runtime.errors import BundleError, CorruptBundle, ForbiddenFile, InputError, NoSpace, UnsafePath

# First bytes of what can run code when it is opened, whatever its name says.
_MAGIC = {
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"PK\x03\x04": "a zip archive (torch checkpoints are)",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"ftrt": "a TensorRT plan",
    b"ptrt": "a TensorRT plan",
    b"#!": "a script",
}


def open_folder(path: Path) -> int:
    """A descriptor of the folder itself, so that later opens cannot be led elsewhere. The caller closes it."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BundleError(f"[bundle] no such folder: {path}", hint="a bundle is a folder with a bundle.json") from None
    except OSError as error:
        raise BundleError(f"[bundle] {path}: {_why(error)}", hint="a bundle is a folder with a bundle.json") from None


def open_plain(folder: int, name: str, *, hard_links: bool = False) -> int:
    """A descriptor of the regular file `name` directly in `folder`. The caller closes it.

    Raises UnsafePath for a symbolic link, a hard link (unless allowed), a device, pipe, socket or folder;
    CorruptBundle if there is no such file.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing to a regular file.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise CorruptBundle(name, "a file", "nothing") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise UnsafePath(f"[bundle] {name}: a link, pipe or device", hint=PLAIN) from None
        raise CorruptBundle(name, "a readable file", _why(error)) from None
    kept = False
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise UnsafePath(f"[bundle] {name}: not a regular file", hint=PLAIN)
        if info.st_nlink != 1 and not hard_links:
            raise UnsafePath(f"[bundle] {name}: {info.st_nlink} hard links", hint=PLAIN)
        kept = True
        return fd
    finally:
        if not kept:
            os.close(fd)


PLAIN = "a bundle holds plain files only: copy it with `cp -rL --reflink=auto SOURCE TARGET`"


def refuse_magic(name: str, head: bytes) -> None:
    """Raise ForbiddenFile if a file that begins with `head` is of a kind that can run code."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise ForbiddenFile(f"[bundle] {name}: the file is {what}", hint="a bundle holds no code: export it again")


@contextlib.contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends well, and vanishes otherwise.

    Raises InputError if the target exists and may not be overwritten, or is not a folder of ours; NoSpace when the
    disk is full. What a killed process left behind is swept the next time.
    """
    target = Path(os.path.abspath(target))
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists", hint="choose another name, or pass --force to replace it")
    if target.exists() and not (target.is_dir() and (target / "bundle.json").is_file()):
        raise InputError(f"{target} exists and is no bundle", hint="choose another name; only a bundle is replaced")
    with disk_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=f".{os.getpid()}.tmp", dir=target.parent))
    try:
        with disk_trouble(target):
            yield made
            for file in made.iterdir():
                sync(file)
            made.chmod(0o755)
            sync(made)
            _replace(made, target)
            sync(target.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_file(target: Path, data: bytes) -> None:
    """Write one file so that its name never shows a part of it. Raises NoSpace."""
    with disk_trouble(target):
        fd, made = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(fd, 0o644)
                os.fsync(fd)
            os.replace(made, target)
            sync(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def disk_trouble(target: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into NoSpace."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise NoSpace(f"cannot write {target}: {_why(error)}", hint="free space or choose another folder") from None


def _replace(made: Path, target: Path) -> None:
    if not target.exists():
        made.rename(target)
        return
    aside = made.with_name(f"{made.name}.old")
    target.rename(aside)
    try:
        made.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes left beside `target`; a living process's folder is left alone."""
    for stale in target.parent.glob(f".{target.name}.*.tmp*"):
        pid = stale.name.removesuffix(".old").removesuffix(".tmp").rpartition(".")[2]
        if not pid.isdigit() or int(pid) == os.getpid() or Path(f"/proc/{pid}").exists():
            continue
        if stale.name.endswith(".old") and not target.exists():
            stale.rename(target)  # killed between the two renames: the old bundle comes back
        else:
            shutil.rmtree(stale, ignore_errors=True)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
