"""Small ICC profiles, built by hand, whose effect is easy to see."""

from __future__ import annotations

import struct

from PIL import ImageCms


def swapped_rgb() -> bytes:
    """Return an sRGB profile in which red and green have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (count,) = struct.unpack(">I", profile[128:132])
    places = {}
    for number in range(count):
        start = 132 + 12 * number
        places[profile[start : start + 4]] = start
    swapped = bytearray(profile)
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(swapped).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def linear_grey() -> bytes:
    """Return a grey profile without gamma: its mid grey is much lighter than that of sRGB."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _d50(), b"kTRC": curve})


def cmyk_with_green_cyan() -> bytes:
    """Return a CMYK profile that prints cyan ink as green, no ink as white, the rest as black."""
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    for row in range(3):
        for column in range(3):
            table += struct.pack(">i", 65536 if row == column else 0)
    ramp = bytes(range(256))
    table += ramp * 4
    for corner in range(16):  # cyan is the slowest index
        lab = {0: (255, 128, 128), 8: (140, 60, 180)}.get(corner, (0, 128, 128))
        table += bytes(lab)
    table += ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _d50(), b"A2B0": table})


def _d50() -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I", start + len(body)) + b"lcms" + struct.pack(">I", 0x02400000)
    header += kind + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body
