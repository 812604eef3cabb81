"""Pictures: from a path, bytes, a Pillow image or an array to RGB bytes, as a person would see them.

path, bytes ──size limit──▶ header ──pixel limit──▶ decoder ──alpha, palette, 16 bit──▶ RGB ──orientation──▶ Image
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from saccade.runtime import container
from saccade.runtime.errors import ImageError, ImageTooLarge
from saccade.runtime.settings import setting

# The classes and not Image.open: that one warns on standard error from 89 million pixels on, which only a process-wide
# setting changes, and loads 43 formats.
_DECODERS: dict[str, Callable[[io.BytesIO], Pillow.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
_ALLOWED = "JPEG, PNG and WebP are read; convert other formats first"


class Image:
    """A picture that does not change: `pixels` is read-only.

    pixels: (H, W, 3) uint8 RGB, C-contiguous; height and width are its H and W
    name: of the file it came from, without folders, or ""
    """

    def __init__(self, pixels: np.ndarray, name: str = ""):
        self.pixels, self.name = pixels, name
        self.height, self.width = pixels.shape[:2]

    @cached_property
    def digest(self) -> str:
        """BLAKE2b-256 of shape, dtype and bytes, in hex: computed when first read."""
        head = f"saccade.image/1 {self.height}x{self.width}x3 uint8\n"
        digest = hashlib.blake2b(head.encode(), digest_size=32)
        digest.update(self.pixels.data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Image({self.height}x{self.width}{', ' + repr(self.name) if self.name else ''})"


def decode(source: Any, *, max_pixels: int | None = None, max_file_bytes: int | None = None) -> Image:
    """The picture as a person sees it.

    source: a path (str or Path), the bytes of a JPEG, PNG or WebP file, a Pillow image, a NumPy array (H, W),
        (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA uint8, or an Image, which comes back as it is
    max_pixels, max_file_bytes: SACCADE_MAX_PIXELS and SACCADE_MAX_FILE_BYTES hold if None

    EXIF orientation is applied; transparency is laid over white; 16-bit greys keep their upper byte; of animations the
    first frame is taken; colour profiles are ignored. An array is copied unless it is read-only and contiguous.
    Raises ImageTooLarge, from the header and before anything is decoded, and ImageError.
    """
    if isinstance(source, Image):
        return source
    most = setting("SACCADE_MAX_PIXELS", max_pixels)
    if isinstance(source, np.ndarray):
        return Image(_from_array(source, most))
    if isinstance(source, Pillow.Image):
        return Image(_from_pillow(source, most))
    most_bytes = setting("SACCADE_MAX_FILE_BYTES", max_file_bytes)
    if isinstance(source, (str, Path)):
        return _from_file(Path(source), most_bytes, most)
    if isinstance(source, (bytes, bytearray, memoryview)):
        _check_bytes(memoryview(source).nbytes, most_bytes)
        return Image(_from_bytes(bytes(source), most))
    raise ImageError(
        f"[image] cannot read a picture from {type(source).__name__}",
        hint="give a path, bytes, a Pillow image or a NumPy array (H, W, 3) uint8",
    )


def _from_file(path: Path, most_bytes: int, most: int) -> Image:
    data = _read(path, most_bytes)
    try:
        return Image(_from_bytes(data, most), path.name)
    except ImageError as error:  # among many pictures the one that is meant
        raise type(error)(error.message.replace("[image]", f"[image] {path.name}:", 1), hint=error.hint) from None


def _check_bytes(given: int, most: int) -> None:
    if given > most:
        raise ImageTooLarge(
            f"[image] the file has {given:,} bytes; {most:,} are allowed",
            hint="raise SACCADE_MAX_FILE_BYTES if you trust it",
        )


def _check_pixels(height: int, width: int, most: int) -> None:
    if height * width > most:
        raise ImageTooLarge(
            f"[image] {width} x {height} are {height * width:,} pixels; {most:,} are allowed",
            hint="make it smaller, or raise SACCADE_MAX_PIXELS if you trust it",
        )
    if height < 1 or width < 1:
        raise ImageError(f"[image] {width} x {height} has no pixels", hint="give at least 1 x 1")


def _read(path: Path, most: int) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(
                f"[image] {path.name or str(path)!r} is not a file", hint="name one picture, not a folder or device"
            )
        _check_bytes(found.st_size, most)
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise ImageError(
            f"[image] no such file: {str(path)!r}", hint="paths are files; nothing is downloaded"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or "not a path"
        raise ImageError(
            f"[image] cannot read {path.name!r}: {reason.lower()}", hint="check its name and permissions"
        ) from None
    _check_bytes(len(data), most)  # it may have grown
    return data


def _from_bytes(data: bytes, most: int) -> np.ndarray:
    kind = container.kind(data)
    if not kind:
        what = "no bytes" if not data else f"{len(data):,} bytes of no format that is read"
        raise ImageError(f"[image] {what}", hint=_ALLOWED)
    try:
        height, width = container.measure(data)
        _check_pixels(height, width, most)
        slim, turn = container.slim(data)
    except ValueError as error:
        raise ImageError(f"[image] {error}", hint="fetch or save the picture again") from None
    try:
        with _DECODERS[kind](io.BytesIO(slim)) as picture:
            if picture.size != (width, height):
                raise ValueError
            picture.load()
            pixels = _rgb(picture)
    except (ImageError, MemoryError):
        raise
    except Exception:  # the decoder's own text may hold addresses (CVE-2026-22778) and helps nobody
        raise ImageError(
            f"[image] the {kind} data is damaged or truncated", hint="fetch or save the picture again"
        ) from None
    return _turned(pixels, turn)


def _from_pillow(picture: Pillow.Image, most: int) -> np.ndarray:
    _check_pixels(picture.height, picture.width, most)
    try:
        picture.load()
        turn = picture.getexif().get(0x0112, 1)
        pixels = _rgb(picture)
    except (ImageError, MemoryError):
        raise
    except Exception:
        raise ImageError(
            "[image] the Pillow image cannot be loaded", hint="it is damaged, closed or of an unknown mode"
        ) from None
    return _turned(pixels, turn)


def _from_array(array: np.ndarray, most: int) -> np.ndarray:
    given = f"{array.shape} {array.dtype}"
    if array.dtype != np.uint8:
        hint = "scale floats to 0..255, round, and convert with astype(np.uint8): their range cannot be guessed"
        raise ImageError(f"[image] an array {given}; uint8 is needed", hint=hint)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"[image] an array {given}", hint="give (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA")
    _check_pixels(array.shape[0], array.shape[1], most)
    if array.shape[2] == 4:
        return _frozen(_rgb(Pillow.fromarray(np.ascontiguousarray(array), "RGBA")))
    if array.shape[2] == 1:
        return _frozen(np.repeat(array, 3, axis=2))
    if array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy(order="C")
    return _frozen(array)


def _frozen(pixels: np.ndarray) -> np.ndarray:
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels


def _turned(pixels: np.ndarray, turn: Any) -> np.ndarray:
    """Undoes an EXIF orientation: 5 to 8 are transposed first, then columns or rows are reversed."""
    turn = turn if turn in range(1, 9) else 1
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if turn in (3, 4, 7, 8) else 1
    right = -1 if turn in (2, 3, 6, 7) else 1
    return _frozen(pixels[::down, ::right])


def _rgb(picture: Pillow.Image) -> np.ndarray:
    """(H, W, 3) uint8 of a loaded Pillow image in any of its modes."""
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        return _deep(picture, clear)
    if picture.mode == "F":
        raise ImageError(
            "[image] a Pillow image of mode F", hint="scale to 0..255 and convert('L'): its range cannot be guessed"
        )
    if picture.mode in ("La", "RGBa"):  # premultiplied, which has one way out
        picture = picture.convert(picture.mode.upper())
    keyed = clear is not None and max(clear if isinstance(clear, tuple) else (0,)) <= 255  # beyond: of lost lower bytes
    if picture.mode in ("LA", "PA") or keyed:
        picture = picture.convert("RGBA")
    if picture.mode == "RGBA":
        seen = Pillow.new("RGB", picture.size, "white")
        seen.paste(picture.convert("RGB"), mask=picture.getchannel("A"))
        return np.asarray(seen)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _deep(picture: Pillow.Image, clear: Any) -> np.ndarray:
    """Greys of 16 bits, which Pillow keeps as I;16 or, in 32 bits, as I."""
    grey = np.asarray(picture)
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError(
            "[image] a picture of 32-bit integers beyond 0..65535", hint="scale to 0..255 and convert to uint8"
        )
    seen = (grey >> 8).astype(np.uint8)
    if isinstance(clear, int):
        seen = np.where(grey == clear, np.uint8(255), seen)
    return np.repeat(seen[..., None], 3, axis=2)
