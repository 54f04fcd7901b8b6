import hashlib
import io
import os
import tarfile

import pytest

from i2icli.errors import DataError
from i2icli.pictures import tar_shards as shards_module
from i2icli.pictures.tar_shards import Sample, ShardWriter, pack_folder, read_samples, split_name


def write(path, files):
    """Write a shard with another writer than our own."""
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read(path):
    notes = []
    samples = list(read_samples(path, lambda name, error: notes.append((name, error))))
    return samples, notes


FILES = [(f"{i}.{kind}", f"{i}{kind}".encode() * 99) for i in range(4) for kind in ("png", "json")]


def test_files_of_one_key_are_one_sample(tmp_path):
    files = [("a/1.jpg", b"x"), ("a/1.seg.png", b"y"), ("a/1.json", b"{}"), ("b/1.JPG", b"z")]
    samples, notes = read(write(tmp_path / "s.tar", files))
    assert samples == [Sample("a/1", dict(files[:3])), Sample("b/1", dict(files[3:]))]
    assert [sample.pictures for sample in samples] == [["a/1.jpg", "a/1.seg.png"], ["b/1.JPG"]]
    assert notes == []


@pytest.mark.parametrize(
    ("name", "key", "rest"),
    [("a.b/c.d.png", "a.b/c", ".d.png"), ("plain", "plain", ""), ("a/.hidden", "a/", ".hidden")],
)
def test_a_key_ends_at_the_first_dot_of_the_last_part(name, key, rest):
    assert split_name(name) == (key, rest)


def test_hidden_files_and_those_without_suffix_are_no_samples(tmp_path):
    path = write(tmp_path / "s.tar", [("._1.png", b"x"), ("README", b"y"), ("1.png", b"z")])
    assert read(path) == ([Sample("1", {"1.png": b"z"})], [])


def test_keys_and_names_that_come_twice_are_named_and_count_once(tmp_path):
    files = [("1.png", b"a"), ("1.png", b"b"), ("2.png", b"c"), ("1.jpg", b"d"), ("3.png", b"e")]
    samples, notes = read(write(tmp_path / "s.tar", files))
    assert [(s.key, list(s.files.values())) for s in samples] == [
        ("1", [b"a"]),
        ("2", [b"c"]),
        ("3", [b"e"]),
    ]
    assert [name for name, _ in notes] == ["1.png", "1"]


def test_links_are_named_and_folders_passed_over(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("1.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    samples, notes = read(tmp_path / "s.tar")
    assert samples == []
    assert [(name, error[:12]) for name, error in notes] == [("1.png", "it is a link")]


def test_a_file_too_large_to_be_held_is_named_and_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "MOST_BYTES", 10)
    path = write(tmp_path / "s.tar", [("1.png", b"x" * 11), ("2.png", b"x" * 10)])
    samples, notes = read(path)
    assert [sample.key for sample in samples] == ["2"]
    assert "11 bytes, more than the 10" in notes[0][1]


@pytest.mark.parametrize("block", [0, 2, 8])
def test_reading_goes_on_behind_a_damaged_header(tmp_path, block):
    path = write(tmp_path / "s.tar", FILES)
    content = bytearray(path.read_bytes())
    content[block * 512 : block * 512 + 512] = b"\x07" * 512
    path.write_bytes(content)
    samples, notes = read(path)
    kept = [name for sample in samples for name in sample.files]
    lost = {name for name, _ in FILES} - set(kept)
    assert len(lost) == 1
    assert kept == [name for name, _ in FILES if name not in lost]
    assert notes == [("", notes[0][1])]
    assert f"damaged at byte {block * 512}, and reading goes on" in notes[0][1]


def test_a_shard_that_ends_early_gives_what_it_has_and_says_so(tmp_path):
    path = write(tmp_path / "s.tar", FILES)
    with path.open("r+b") as file:
        file.truncate(512 * 7)
    samples, notes = read(path)
    assert [sample.key for sample in samples] == ["0", "1"]
    assert all("incomplete" in error for _, error in notes)
    assert notes


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "s.tar").write_bytes(b"<html>" * 1000)
    with pytest.raises(DataError, match=r"s\.tar is no tar archive"):
        read(tmp_path / "s.tar")
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "missing.tar")


def test_an_empty_archive_has_no_samples(tmp_path):
    assert read(write(tmp_path / "s.tar", [])) == ([], [])


def test_a_written_shard_reads_back_and_its_checksum_holds(tmp_path):
    long = "folder/" * 30 + "\u00fcn\u00efcode.png"
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.add({"1.png": b"a" * 700, "1.json": b""})
        writer.add({long: b"b"})
        assert not (tmp_path / "s.tar").exists()
        made = writer.finish()
    content = (tmp_path / "s.tar").read_bytes()
    assert (made.size, made.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    samples, notes = read(tmp_path / "s.tar")
    assert [sample.files for sample in samples] == [
        {"1.png": b"a" * 700, "1.json": b""},
        {long: b"b"},
    ]
    assert (notes, os.listdir(tmp_path)) == ([], ["s.tar"])


def test_a_writer_that_is_left_leaves_nothing_and_one_that_was_killed_is_cleaned_up(tmp_path):
    (tmp_path / ".s.tar.123-abcd.partial").write_bytes(b"half")
    (tmp_path / ".t.tar.123-abcd.partial").write_bytes(b"of another shard")
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.add({"1.png": b"a"})
    assert os.listdir(tmp_path) == [".t.tar.123-abcd.partial"]


def test_a_folder_is_packed_in_order_with_keys_of_their_own(tmp_path):
    names = ["a.b.png", "a_b.png", "deep/x.jpg", "deep/x.PNG", "z.png"]
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "out").mkdir()
    seen = []
    made = pack_folder(
        [tmp_path / "in" / name for name in names],
        tmp_path / "in",
        tmp_path / "out",
        size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert made == [("shard-000000.tar", 2), ("shard-000001.tar", 2), ("shard-000002.tar", 1)]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    samples = [s for name, _ in made for s in read(tmp_path / "out" / name)[0]]
    assert [s.key for s in samples] == ["a_b", "a_b-2", "deep/x", "deep/x-2", "z"]
    assert [b for s in samples for b in s.files.values()] == [name.encode() for name in names]
