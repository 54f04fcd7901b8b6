"""Downloads that go on where they broke off, and are checked before anyone sees them."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2icli.errors import I2IError, WeightsError
from i2icli.system.files import install_file
from i2icli.version import __version__

_BLOCK = 1 << 18
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Source:
    """A file on the network.

    Attributes:
        urls: the same file at several addresses, tried in this order.
        size: its bytes; None where not known.
        sha256: its sum; None where not known.
        otherwise: what to do without a network, the end of every error.
    """

    urls: Sequence[str]
    size: int | None = None
    sha256: str | None = None
    otherwise: str = ""


@dataclass(frozen=True)
class Patience:
    """How long to keep trying: attempts for each address, seconds before the second, timeout."""

    attempts: int = 5
    pause: float = 1.0
    timeout: float = 30.0


class _BrokenOffError(Exception):
    """The transfer failed in a way that another attempt may mend."""


class _RefusedError(Exception):
    """This address will not give the file, however often it is asked."""


def download(
    source: Source,
    target: Path,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download to `target`; an interrupted transfer continues from `target` + ".part".

    Args:
        source: where the file is and what is known of it.
        target: appears complete and checked, or not at all.
        progress: called with the bytes that are there and their total, None where not known.
        patience: attempts and timeouts.

    Raises:
        WeightsError: no address gave the whole, right file.
        I2IError: it cannot be written.
    """
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in source.urls:
        try:
            _try_address(url, part, source, progress=progress, patience=patience)
        except (_BrokenOffError, _RefusedError) as error:
            reasons.append(f"{url}: {error}")
        except OSError as error:
            raise I2IError(f"{part} cannot be written: {error.strerror or error}.") from error
        else:
            install_file(part, target)
            _note(part).unlink(missing_ok=True)
            return target
    raise WeightsError(f"Download failed ({'; '.join(reasons)}). {source.otherwise}".rstrip())


def _try_address(
    url: str, part: Path, source: Source, *, progress: Progress | None, patience: Patience
) -> None:
    failures = 0  # in a row without a byte gained: a long transfer may break off often
    while True:
        before = _resumable(part, url)
        try:
            _transfer(url, part, source, progress=progress, timeout=patience.timeout)
            if source.sha256 is not None and (seen := file_sha256(part)) != source.sha256:
                part.unlink()
                raise _RefusedError(f"its SHA-256 is {seen}, {source.sha256} is expected")
        except _BrokenOffError:
            failures = 1 if _resumable(part, url) > before else failures + 1
            if failures >= patience.attempts:
                raise
        else:
            return
        time.sleep(min(patience.pause * 2 ** (failures - 1), 30.0))


def _transfer(
    url: str, part: Path, source: Source, *, progress: Progress | None, timeout: float
) -> None:
    done = _resumable(part, url)
    if source.size is not None and done == source.size:
        return
    if source.size is not None and done > source.size:
        done = 0
    request = urllib.request.Request(url, headers=_headers(part, done))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            start, total = _range_of(answer, asked=done)
            if source.size is not None and total is not None and total != source.size:
                raise _RefusedError(f"it offers {total} bytes where {source.size} are expected")
            _write_note(part, url, answer)
            got = _receive(answer, part, start=start, total=total, progress=progress)
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer, too
        if error.code == 416:  # what is there does not fit what the server has
            part.unlink(missing_ok=True)
            raise _BrokenOffError(
                "the server has another file than the part that is here"
            ) from error
        kind = _BrokenOffError if error.code in (408, 429) or error.code >= 500 else _RefusedError
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        is_final = isinstance(error.reason, (ssl.SSLError, socket.gaierror))
        kind = _RefusedError if is_final else _BrokenOffError
        raise kind(str(error.reason)) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    expected = source.size if source.size is not None else total
    if expected is not None and got != expected:
        raise _BrokenOffError(f"it broke off after {got} of {expected} bytes")


def _receive(
    answer: http.client.HTTPResponse,
    part: Path,
    *,
    start: int,
    total: int | None,
    progress: Progress | None,
) -> int:
    got = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while True:
            try:
                block = answer.read(_BLOCK)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise
            if not block:
                return got
            file.write(block)
            got += len(block)
            if progress is not None:
                progress(got, total)


def _headers(part: Path, done: int) -> dict[str, str]:
    headers = {"User-Agent": f"i2i/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if mark := _read_note(part).get("mark"):
            headers["If-Range"] = mark  # a changed file comes whole instead of spliced
    return headers


def _range_of(answer: http.client.HTTPResponse, *, asked: int) -> tuple[int, int | None]:
    """Return the offset of the answer in the file, and the size of the whole file if given."""
    length = answer.headers.get("Content-Length")
    size = int(length) if length and length.isdigit() else None
    if answer.status != 206:
        return 0, size
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise _RefusedError("it answers with another part of the file than the one asked for")
    return asked, None if found[2] == "*" else int(found[2])


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(part: Path) -> Path:
    # It says of which address, and of which version there, the part is.
    return part.with_name(part.name + ".json")


def _write_note(part: Path, url: str, answer: http.client.HTTPResponse) -> None:
    etag = answer.headers.get("ETag", "")
    # A weak tag does not promise equal bytes, so it cannot guard a resumed transfer.
    mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    _note(part).write_text(json.dumps({"url": url, "mark": mark}), encoding="utf-8")


def _read_note(part: Path) -> dict[str, str]:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _resumable(part: Path, url: str) -> int:
    # Bytes from another address are not trusted to fit.
    if not part.exists() or _read_note(part).get("url") != url:
        return 0
    return part.stat().st_size
