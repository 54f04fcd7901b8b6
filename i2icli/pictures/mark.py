"""The mark in what i2i writes, and the refusal to replace a file that does not bear it.

Pictures name their maker (`Software: i2i VERSION`) and say in XMP that a trained network had a part
in them. IPTC has two words for that; a translation is an existing picture, edited by a generative
model, which is `compositeWithTrainedAlgorithmicMedia`. The other one,
`trainedAlgorithmicMedia`, is for pictures that a model made with no picture to begin with.
https://cv.iptc.org/newscodes/digitalsourcetype/
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from i2icli.errors import ConfigError, DataError
from i2icli.pictures.decode import SUFFIXES, open_picture
from i2icli.pictures.tar_shards import read_samples
from i2icli.version import __version__

SOFTWARE = f"i2i {__version__}"
COMMENT = f"Software: {SOFTWARE}".encode()  # of formats that have nothing but a comment
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_XMP = f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:CreatorTool="{SOFTWARE}" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()
_SOFTWARE_TAG, _XMP_TAG = 0x0131, 0x02BC  # of TIFF, whose tags EXIF has taken over
_HEAD = 8 + 25  # bytes of a PNG's signature and its IHDR
_SHOWN = 5
_IN_TEXT = re.compile(
    rb'"Software: i2i \d|name="generator" content="i2i \d|: i2i run report</title>'  # once so alone
)
_TEXT_HEAD = 4096  # bytes of a text in which the mark stands


def mark_options(format: str) -> dict[str, object]:
    """Return what Pillow's `save` takes to mark a picture of a format; nothing where it cannot.

    A PNG goes through `mark_png` instead.
    """
    if format == "TIFF":
        return {"tiffinfo": {_SOFTWARE_TAG: SOFTWARE, _XMP_TAG: _XMP}}
    if format not in ("JPEG", "WEBP"):
        return {}
    exif = Image.Exif()
    exif[_SOFTWARE_TAG] = SOFTWARE
    return {"exif": exif.tobytes(), "xmp": _XMP}


def mark_png(content: bytes) -> bytes:
    """Return a PNG file with the mark behind its header; every other byte stays."""
    text = png_chunk(b"tEXt", b"Software\0" + SOFTWARE.encode())
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP)
    return content[:_HEAD] + text + xmp + content[_HEAD:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file: length, kind of four letters, content, checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def bears_mark(path: Path) -> bool:
    """Say whether i2i made a file, by the mark in it, whatever its version.

    PNG, JPEG, WebP and TIFF bear it in their metadata, GIF, `.npz` and text in a comment, a tar
    shard in its first picture. Other files do not bear it, nor does what cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in SUFFIXES:
            return _is_marked_picture(path)
        if suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.comment.startswith(b"Software: i2i ")
        if suffix == ".tar":
            samples = read_samples(path, lambda _name, _error: None)
            first = next((sample for sample in samples if sample.pictures), None)
            return first is not None and any(
                _is_marked_picture(path / name, first.files[name]) for name in first.pictures
            )
        with path.open("rb") as file:
            head = file.read(_TEXT_HEAD)
        return bool(_IN_TEXT.search(head)) or _is_manifest(head)
    except (OSError, DataError, zipfile.BadZipFile):
        return False


def _is_marked_picture(path: Path, content: bytes | None = None) -> bool:
    with open_picture(path, content) as image:
        if image.format == "GIF":
            return bytes(image.info.get("comment", b"")).startswith(b"Software: i2i ")
        named = image.info.get("Software")  # of a PNG
        if named is None and image.format in ("JPEG", "MPO", "WEBP", "TIFF"):
            named = image.getexif().get(_SOFTWARE_TAG)
        return str(named).startswith("i2i ")


def _is_manifest(head: bytes) -> bool:
    line = head.partition(b"\n")[0]
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and "finished" in entry


def refuse_foreign(targets: Iterable[Path], *, hint: str = "") -> None:
    """Refuse to replace files that i2i did not make; called before the first one is written.

    Args:
        targets: the files that would be written.
        hint: a further sentence for the user.

    Raises:
        ConfigError: naming the first five, and how many there are.
    """
    foreign = [path for path in targets if path.is_file() and not bears_mark(path)]
    if not foreign:
        return
    names = ", ".join(str(path) for path in foreign[:_SHOWN])
    more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
    files = "1 file" if len(foreign) == 1 else f"{len(foreign)} files"
    raise ConfigError(
        f"{files} would be replaced that i2i did not make, or not with its mark: {names}{more}. "
        "Name another output, or add --overwrite to replace what is there."
        + (f" {hint}" if hint else "")
    )
