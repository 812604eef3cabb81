"""JPEG, PNG and WebP files as far as saccade reads them itself: size, orientation, and what a decoder needs to see.

    bytes ──measure──▶ format, height, width ──limits (image.py)──▶ ──slim──▶ bytes of pixels only, orientation

Decoders are a target, and most of a hostile file is not pixels: colour profiles, comments, EXIF with a million tags,
ten thousand frames. So the size is read here, before any decoder, and the decoder is given a file that holds the first
frame and nothing else. Colour profiles and gamma are ignored. ValueError means damage; its text is fit to be shown.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_CHUNKS = 1 << 16
MAX_EXIF_BYTES = 1 << 16  # what a JPEG segment can hold

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOFn: frame headers, which hold the size
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a body


def kind(data: bytes) -> str:
    """One of FORMATS by the first bytes, or "" for anything else."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == _PNG:
        return "PNG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else ""


def measure(data: bytes) -> tuple[int, int]:
    """(height, width) from the header, before orientation. Raises ValueError."""
    return _MEASURE[kind(data)](data)


def slim(data: bytes) -> tuple[bytes, int]:
    """A file of the first frame's pixels alone, and the EXIF orientation, 1 to 8. Raises ValueError."""
    return _SLIM[kind(data)](data)


def orientation(exif: bytes) -> int:
    """The orientation that EXIF data asks for (EXIF 2.32, tag 0x0112), 1 to 8; 1 if it is absent or makes no sense."""
    if exif[:6] == b"Exif\0\0":
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4]))
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, type_, _, value, _ = struct.unpack_from(order + "HHIHH", exif, at)
            if tag == 0x0112:
                return value if type_ == 3 and 1 <= value <= 8 else 1
    except struct.error:  # it ends early
        pass
    return 1


def _measure_png(data: bytes) -> tuple[int, int]:
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 24:
        raise ValueError("the PNG header is damaged")
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 8
    for _ in range(MAX_CHUNKS):
        if len(data) < at + 12:
            raise ValueError("the PNG file is truncated")
        (size,) = struct.unpack_from(">I", data, at)
        end = at + 12 + size
        if end > len(data):
            raise ValueError("the PNG file is truncated")
        yield bytes(data[at + 4 : at + 8]), data[at:end]
        at = end
    raise ValueError(f"the PNG file has more than {MAX_CHUNKS} chunks")


def _slim_png(data: bytes) -> tuple[bytes, int]:
    kept: list[bytes | memoryview] = [_PNG]
    turn = 1
    for name, chunk in _chunks(memoryview(data)):
        if name == b"eXIf" and len(chunk) <= MAX_EXIF_BYTES:
            turn = orientation(bytes(chunk[8:-4]))
        if name not in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            continue
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("the PNG file is damaged: a checksum does not match")
        kept.append(chunk)
        if name == b"IEND":
            break
    return b"".join(kept), turn


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment up to the first scan, whose end is that of the file."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("the JPEG header is damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker == 0xDA:
            yield marker, at, len(data)
            return
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if end < at + 4 or end > len(data):
                break
            yield marker, at, end
            at = end
    raise ValueError("the JPEG file is truncated")


def _measure_jpeg(data: bytes) -> tuple[int, int]:
    for marker, begin, end in _segments(data):
        if marker in _SIZES and end - begin >= 9:
            return struct.unpack_from(">HH", data, begin + 5)
    raise ValueError("the JPEG file has no size")


def _slim_jpeg(data: bytes) -> tuple[bytes, int]:
    view, turn, seen = memoryview(data), 1, set()
    kept: list[bytes | memoryview] = [data[:2]]
    for marker, begin, end in _segments(data):
        if marker == 0xE1 and marker not in seen and data[begin + 4 : begin + 10] == b"Exif\0\0":
            seen.add(marker)
            turn = orientation(data[begin + 4 : end])
        if 0xE0 <= marker <= 0xEF:
            if marker not in (0xE0, 0xEE) or marker in seen:  # JFIF and Adobe say which colours the numbers mean
                continue
            seen.add(marker)
        if marker != 0xFE:  # a comment
            kept.append(view[begin:end])
    return b"".join(kept), turn


def _measure_webp(data: bytes) -> tuple[int, int]:
    first, body = data[12:16], data[20:30]
    if len(body) == 10:
        if first == b"VP8X":
            return 1 + int.from_bytes(body[7:10], "little"), 1 + int.from_bytes(body[4:7], "little")
        if first == b"VP8L" and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
        if first == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack("<HH", body[6:10])
            return height & 0x3FFF, width & 0x3FFF
    raise ValueError("the WebP header is damaged")


def _slim_webp(data: bytes) -> tuple[bytes, int]:
    view, kept, turn, seen = memoryview(data), [], 1, set()
    at, stop = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= stop:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        if at + 8 + size > len(data):
            raise ValueError("the WebP file is truncated")
        if name == b"EXIF" and size <= MAX_EXIF_BYTES:
            turn = orientation(data[at + 8 : at + 8 + size])
        if name in (b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L") and name not in seen:
            seen.add(name)
            chunk = bytearray(view[at:end])
            if name == b"VP8X" and size:
                chunk[8] &= 0b00010010  # alpha and animation stay; profile, EXIF and XMP are gone
            kept.append(chunk)
        at = end
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body, turn


_MEASURE: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "JPEG": _measure_jpeg,
    "PNG": _measure_png,
    "WEBP": _measure_webp,
}
_SLIM: dict[str, Callable[[bytes], tuple[bytes, int]]] = {"JPEG": _slim_jpeg, "PNG": _slim_png, "WEBP": _slim_webp}
