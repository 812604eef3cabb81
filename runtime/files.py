"""Files that may have been put there by somebody else: opened without following, read whole, written atomically.

open   no link, no device, one name, the size that was promised
write  temporary folder beside the target → fsync → rename: the name appears complete or not at all
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from saccade.runtime.errors import BundleError, CorruptBundle, ForbiddenFile, InputError, NoSpace, UnsafePath
from saccade.runtime.manifest import MANIFEST

# First bytes of what can run code when it is opened, or would pass an engine unseen, whatever its name says.
_MAGIC = {
    b"PK\x03\x04": "a zip archive (torch checkpoints are)",
    b"PK\x05\x06": "a zip archive",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x7fELF": "a program",
    b"ftrt": "a TensorRT plan",
    b"ptrt": "a TensorRT plan",
}
# Two or three bytes say nothing about raw weights, in which every value occurs.
_SHORT_MAGIC = {b"\x1f\x8b\x08": "a gzip archive", b"#!": "a script"}
# A pickle's protocol, then an opcode, which is never 0: a safetensors file with a header of 640 bytes has 80 02 00.
_PICKLE = re.compile(rb"\x80[\x00-\x05][^\x00]")
_ORT = re.compile(rb".{4}ORTM", re.DOTALL)  # a flatbuffer: ONNX Runtime takes it for a model whatever else it is


def open_folder(path: Path) -> int:
    """A descriptor of the folder itself, so that later opens cannot be led elsewhere. The caller closes it."""
    hint = f"a bundle is a folder with a {MANIFEST}"
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BundleError(f"[bundle] no such folder: {path}", hint=hint) from None
    except OSError as error:
        raise BundleError(f"[bundle] {path}: {_why(error)}", hint=hint) from None
    except ValueError:
        raise BundleError(f"[bundle] {str(path)!a} is no path", hint=hint) from None


def open_plain(folder: int, name: str, *, hard_links: bool = False) -> int:
    """A descriptor of the regular file `name` directly in `folder`. The caller closes it.

    Raises UnsafePath for a symbolic link, a hard link (unless allowed), a device, pipe, socket or folder;
    CorruptBundle if there is no such file.
    """
    try:
        _refuse_odd(name, os.stat(name, dir_fd=folder, follow_symlinks=False), hard_links)  # opening a device can act
        # O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing to a regular file.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise CorruptBundle(name, "a file", "nothing") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise UnsafePath(f"[bundle] {name}: a link, pipe or device", hint=PLAIN) from None
        raise CorruptBundle(name, "a readable file", _why(error)) from None
    try:
        _refuse_odd(name, os.fstat(fd), hard_links)  # it may have been exchanged since
    except BaseException:
        os.close(fd)
        raise
    return fd


PLAIN = "a bundle holds plain files only: copy it with `cp -rL --reflink=auto SOURCE TARGET`"


def refuse_magic(name: str, head: bytes) -> None:
    """Raise ForbiddenFile if a file that begins with `head` (8 bytes) is of a kind that can run code."""
    magics = _MAGIC if name.endswith(".data") else _MAGIC | _SHORT_MAGIC
    what = next((what for magic, what in magics.items() if head.startswith(magic)), "")
    if _PICKLE.match(head) and not name.endswith(".data"):
        what = "a pickle"
    if _ORT.match(head) and name.endswith(".onnx"):
        what = "a model in ONNX Runtime's own format"
    if what:
        raise ForbiddenFile(f"[bundle] {name}: the file is {what}", hint="a bundle holds no code: export it again")


def _refuse_odd(name: str, info: os.stat_result, hard_links: bool) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise UnsafePath(f"[bundle] {name}: {_KINDS.get(stat.S_IFMT(info.st_mode), 'not a regular file')}", hint=PLAIN)
    if info.st_nlink != 1 and not hard_links:
        raise UnsafePath(f"[bundle] {name}: {info.st_nlink} hard links", hint=PLAIN)


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@contextlib.contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block ends well, and vanishes otherwise.

    Raises InputError if the target exists and may not be overwritten, or is not a folder of ours; NoSpace when the
    disk is full. What a killed process left behind is swept the next time.
    """
    try:
        target = Path(os.path.realpath(target))
    except ValueError:
        raise InputError(f"{str(target)!a} is no path", hint="choose another name") from None
    if os.path.lexists(target):
        if not overwrite:
            raise InputError(f"{target} exists", hint="choose another name, or pass --force to replace it")
        if not (target / MANIFEST).is_file():
            raise InputError(f"{target} exists and is no bundle", hint="choose another name; only a bundle is replaced")
    with disk_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        made, lock = _locked_folder(target)
    try:
        with disk_trouble(target):
            yield made
            for file in made.iterdir():
                sync(file)
            made.chmod(0o755)
            sync(made)
            _put_in_place(made, target, overwrite)
            sync(target.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def write_file(target: Path, data: bytes) -> None:
    """Write one file so that its name never shows a part of it. Raises NoSpace."""
    with writing(target) as file:
        file.write(data)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `target` when the block ends well, and vanishes otherwise. Raises NoSpace."""
    with disk_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, made = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
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
    """Turn a full, read-only or forbidden disk into NoSpace, and a name that cannot be one into InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise NoSpace(f"cannot write {target}: {_why(error)}", hint="free space or choose another folder") from None
        if error.errno in _NO_NAME:
            raise InputError(f"cannot write {target}: {_why(error)}", hint="choose another name") from None
        raise


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY)
_NO_NAME = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new folder beside `target`, and a lock on it that ends with this process, however it ends."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(made)):
                return made, lock
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            return made, lock  # no locks on this file system, so nobody sweeps there either
        os.close(lock)  # another process swept it between the lines: once more


def _sweep(target: Path) -> None:
    """Remove what killed processes left beside `target`. A living one holds the lock, in whichever container it is."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}.????????.tmp"):
        with contextlib.suppress(OSError):
            lock = os.open(stale, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.lexists(target) and (stale / _ASIDE).exists():
                    (stale / _ASIDE).rename(target)  # killed between the two renames: the old bundle comes back
                shutil.rmtree(stale, ignore_errors=True)
            finally:
                os.close(lock)


def _put_in_place(made: Path, target: Path, overwrite: bool) -> None:
    if not overwrite or not os.path.lexists(target):
        made.rename(target)  # fails where another writer was faster
    elif not _exchange(made, target):
        aside, lock = _locked_folder(target)
        try:
            target.rename(aside / _ASIDE)
            try:
                made.rename(target)
            except BaseException:
                (aside / _ASIDE).rename(target)
                raise
            shutil.rmtree(aside / _ASIDE, ignore_errors=True)
        finally:
            with contextlib.suppress(OSError):
                aside.rmdir()
            os.close(lock)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot (Linux 3.15, glibc 2.28)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here = -100  # AT_FDCWD
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), 2) == 0)  # RENAME_EXCHANGE


_ASIDE = "replaced"


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
