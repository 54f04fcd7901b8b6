"""Downloads from servers that behave, and from those that do not."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from i2icli.errors import WeightsError
from i2icli.system.download import Patience, Source, download

DATA = bytes((7 * number + number // 251) % 256 for number in range(300_000))
FAST = Patience(attempts=3, pause=0.0, timeout=60.0)


class Handler(BaseHTTPRequestHandler):
    """Serves DATA; the class attributes say how badly."""

    data: ClassVar[bytes] = DATA
    etag: ClassVar[str] = '"one"'
    cuts: ClassVar[list[int]] = []  # bytes sent before each broken connection
    statuses: ClassVar[list[int]] = []  # answers before the good one
    knows_ranges: ClassVar[bool] = True
    lies_about_range: ClassVar[bool] = False
    tells_length: ClassVar[bool] = True
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:  # noqa: N802
        asked = self.headers.get("Range")
        type(self).ranges.append(asked)
        if self.statuses:
            self.send_error(self.statuses.pop(0))
            return
        start = self._start(asked)
        if start >= len(self.data):
            self.send_response(416)
            self.end_headers()
            return
        body = self.data[start:]
        self.send_response(206 if start else 200)
        if self.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if start:
            shown = start + 1 if self.lies_about_range else start
            last = len(self.data) - 1
            self.send_header("Content-Range", f"bytes {shown}-{last}/{last + 1}")
        self.send_header("ETag", self.etag)
        self.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(body)
        self.wfile.write(body[:cut])

    def _start(self, asked: str | None) -> int:
        guard = self.headers.get("If-Range")
        if asked is None or not self.knows_ranges or (guard and guard != self.etag):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[tuple[type[Handler], str]]:
    class Own(Handler):
        cuts: ClassVar[list[int]] = []
        statuses: ClassVar[list[int]] = []
        ranges: ClassVar[list[str | None]] = []

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Own, f"http://127.0.0.1:{opened.server_port}/set.zip"
    finally:
        opened.shutdown()
        opened.server_close()
        thread.join()


Server = tuple[type[Handler], str]


def known(url: str) -> Source:
    return Source([url], len(DATA), hashlib.sha256(DATA).hexdigest(), "Use --from FILE.")


def test_a_file_arrives_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    download(
        known(server[1]),
        tmp_path / "set.zip",
        patience=FAST,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.cuts[:] = [100_000, 50_000]
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert handler.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_transfer_may_break_more_often_than_the_attempts_while_it_gains(
    server: Server, tmp_path: Path
) -> None:
    handler, url = server
    handler.cuts[:] = [40_000] * 6
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert len(handler.ranges) == 7


def test_a_later_call_goes_on_where_the_last_gave_up(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.cuts[:] = [100_000, 0, 0, 0]
    with pytest.raises(WeightsError, match="broke off after 100000 of 300000 bytes"):
        download(known(url), tmp_path / "set.zip", patience=FAST)
    assert not (tmp_path / "set.zip").exists()
    handler.cuts.clear()
    handler.ranges.clear()
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert handler.ranges == ["bytes=100000-"]


def test_a_server_that_ignores_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.knows_ranges = False
    handler.cuts[:] = [100_000]
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_not_spliced(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.cuts[:] = [100_000, 0, 0]
    with pytest.raises(WeightsError):
        download(Source([url]), tmp_path / "set.zip", patience=FAST)
    handler.data, handler.etag = DATA[::-1], '"two"'
    download(Source([url]), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA[::-1]


def test_a_part_larger_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(DATA + b"more")
    (tmp_path / "set.zip.part.json").write_text(json.dumps({"url": server[1], "mark": '"one"'}))
    download(Source([server[1]]), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA


def test_a_part_of_unknown_origin_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(b"something else")
    download(known(server[1]), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert server[0].ranges == [None]


def test_a_wrong_size_is_refused_before_the_transfer(server: Server, tmp_path: Path) -> None:
    source = Source([server[1]], size=299_999, otherwise="Use --from FILE.")
    with pytest.raises(WeightsError, match=r"offers 300000 bytes where 299999.*Use --from FILE\."):
        download(source, tmp_path / "set.zip", patience=FAST)
    assert not list(tmp_path.iterdir())


def test_a_wrong_sum_is_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    source = Source([server[1]], len(DATA), "0" * 64)
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        download(source, tmp_path / "set.zip", patience=FAST)
    assert not (tmp_path / "set.zip").exists()
    assert not (tmp_path / "set.zip.part").exists()


def test_a_wrong_part_of_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.cuts[:] = [100_000]
    handler.lies_about_range = True
    with pytest.raises(WeightsError, match="another part of the file"):
        download(known(url), tmp_path / "set.zip", patience=FAST)


def test_a_short_answer_without_a_length_is_noticed_by_its_size(
    server: Server, tmp_path: Path
) -> None:
    handler, url = server
    handler.tells_length = False
    handler.cuts[:] = [1000]
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    handler, url = server
    handler.statuses[:] = [503, 429]
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert len(handler.ranges) == 3


def test_a_missing_file_is_asked_for_once_and_the_next_address_tried(
    server: Server, tmp_path: Path
) -> None:
    handler, url = server
    handler.statuses[:] = [404]
    source = Source([f"{url}?gone", url], len(DATA))
    download(source, tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert len(handler.ranges) == 2


def test_no_network_names_the_address_and_the_way_out(tmp_path: Path) -> None:
    source = Source(["http://127.0.0.1:9/set.zip"], otherwise="Use --from FILE.")
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9/set\.zip.*Use --from FILE\.") as caught:
        download(source, tmp_path / "set.zip", patience=FAST)
    assert caught.value.exit_code == 4
