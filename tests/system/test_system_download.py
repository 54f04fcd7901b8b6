"""Downloads from servers that behave, and from those that do not."""

from __future__ import annotations

import hashlib
import json

import pytest
from serving import DATA, serving

from i2icli.errors import WeightsError
from i2icli.system.download import Patience, Source, download

FAST = Patience(attempts=3, pause=0.0, timeout=60.0)


@pytest.fixture
def server():
    with serving("set.zip") as served:
        yield served


def arrives(source, tmp_path, data=DATA):
    """Download, and assert that the file is whole."""
    download(source, tmp_path / "set.zip", patience=FAST)
    assert (tmp_path / "set.zip").read_bytes() == data


def known(url):
    return Source([url], len(DATA), hashlib.sha256(DATA).hexdigest(), "Use --from FILE.")


def test_a_file_arrives_with_progress(server, tmp_path):
    seen = []
    download(
        known(server[1]),
        tmp_path / "set.zip",
        patience=FAST,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (tmp_path / "set.zip").read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    handler, url = server
    handler.cuts[:] = [100_000, 50_000]
    arrives(known(url), tmp_path)
    assert handler.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_a_transfer_may_break_more_often_than_the_attempts_while_it_gains(server, tmp_path):
    handler, url = server
    handler.cuts[:] = [40_000] * 6
    arrives(known(url), tmp_path)
    assert len(handler.ranges) == 7


def test_a_later_call_goes_on_where_the_last_gave_up(server, tmp_path):
    handler, url = server
    handler.cuts[:] = [100_000, 0, 0, 0]
    with pytest.raises(WeightsError, match="broke off after 100000 of 300000 bytes"):
        download(known(url), tmp_path / "set.zip", patience=FAST)
    assert not (tmp_path / "set.zip").exists()
    handler.cuts.clear()
    handler.ranges.clear()
    arrives(known(url), tmp_path)
    assert handler.ranges == ["bytes=100000-"]


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    handler, url = server
    handler.knows_ranges = False
    handler.cuts[:] = [100_000]
    arrives(known(url), tmp_path)


def test_a_file_that_changed_meanwhile_is_not_spliced(server, tmp_path):
    handler, url = server
    handler.cuts[:] = [100_000, 0, 0]
    with pytest.raises(WeightsError):
        download(Source([url]), tmp_path / "set.zip", patience=FAST)
    handler.data, handler.etag = DATA[::-1], '"two"'
    arrives(Source([url]), tmp_path, DATA[::-1])


def test_a_part_larger_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(DATA + b"more")
    (tmp_path / "set.zip.part.json").write_text(json.dumps({"url": server[1], "mark": '"one"'}))
    arrives(Source([server[1]]), tmp_path)


def test_a_part_of_unknown_origin_is_not_trusted(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(b"something else")
    arrives(known(server[1]), tmp_path)
    assert server[0].ranges == [None]


def test_a_wrong_size_is_refused_before_the_transfer(server, tmp_path):
    source = Source([server[1]], size=299_999, otherwise="Use --from FILE.")
    with pytest.raises(WeightsError, match=r"offers 300000 bytes where 299999.*Use --from FILE\."):
        download(source, tmp_path / "set.zip", patience=FAST)
    assert not list(tmp_path.iterdir())


def test_a_wrong_sum_is_refused_and_forgotten(server, tmp_path):
    source = Source([server[1]], len(DATA), "0" * 64)
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        download(source, tmp_path / "set.zip", patience=FAST)
    assert not (tmp_path / "set.zip").exists()
    assert not (tmp_path / "set.zip.part").exists()


def test_a_wrong_part_of_the_file_is_refused(server, tmp_path):
    handler, url = server
    handler.cuts[:] = [100_000]
    handler.lies_about_range = True
    with pytest.raises(WeightsError, match="another part of the file"):
        download(known(url), tmp_path / "set.zip", patience=FAST)


def test_a_short_answer_without_a_length_is_noticed_by_its_size(server, tmp_path):
    handler, url = server
    handler.tells_length = False
    handler.cuts[:] = [1000]
    arrives(known(url), tmp_path)


def test_a_busy_server_is_asked_again(server, tmp_path):
    handler, url = server
    handler.statuses[:] = [503, 429]
    download(known(url), tmp_path / "set.zip", patience=FAST)
    assert len(handler.ranges) == 3


def test_a_missing_file_is_asked_for_once_and_the_next_address_tried(server, tmp_path):
    handler, url = server
    handler.statuses[:] = [404]
    source = Source([f"{url}?gone", url], len(DATA))
    arrives(source, tmp_path)
    assert len(handler.ranges) == 2


def test_no_network_names_the_address_and_the_way_out(tmp_path):
    source = Source(["http://127.0.0.1:9/set.zip"], otherwise="Use --from FILE.")
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9/set\.zip.*Use --from FILE\.") as caught:
        download(source, tmp_path / "set.zip", patience=FAST)
    assert caught.value.exit_code == 4
