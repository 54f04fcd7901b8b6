"""No archive writes outside its folder, and a bad one leaves nothing behind."""

import gzip
import io
import stat
import tarfile
import zipfile

import pytest

from i2icli.errors import ConfigError, DataError
from i2icli.system import archives
from i2icli.system.archives import Limits, unpack


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo would tidy some names up
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tar_file(name, data=b"x"):
    return tarfile.TarInfo(name), data


def tar_special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def make(kind, folder, files):
    """Write files as an archive of that kind."""
    if kind == "zip":
        return make_zip(folder / "a.zip", files)
    mode = "w:gz" if kind == "tar.gz" else "w"
    return make_tar(folder / f"a.{kind}", [tar_file(*item) for item in files.items()], mode)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


FILES = {"set/trainA/1.jpg": b"one", "set/trainB/sub/2.jpg": b"two"}
FLAT = {"trainA/1.jpg": b"one", "trainB/sub/2.jpg": b"two"}


def test_zip_is_unpacked_without_its_top_folder(tmp_path):
    made = make_zip(tmp_path / "a.zip", {**FILES, "__MACOSX/set/._1.jpg": b"clutter"})
    assert unpack(made, tmp_path / "out") == 3
    assert contents(tmp_path / "out") == FLAT


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_is_unpacked_whatever_its_compression(mode, tmp_path):
    made = make_tar(tmp_path / "a.bin", [tar_file(*item) for item in FILES.items()], mode)
    unpack(made, tmp_path / "deep" / "out")
    assert contents(tmp_path / "deep" / "out") == FLAT


def test_several_folders_at_the_top_stay(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", FLAT), tmp_path / "out")
    assert contents(tmp_path / "out") == FLAT


def test_an_empty_folder_may_be_the_target(tmp_path):
    (tmp_path / "out").mkdir()
    unpack(make_zip(tmp_path / "a.zip", FLAT), tmp_path / "out")
    assert contents(tmp_path / "out") == FLAT


BAD_NAMES = [
    "../evil.jpg",
    "set/../../evil.jpg",
    "/evil.jpg",
    "..\\evil.jpg",
    "C:\\evil.jpg",
    "C:evil.jpg",
    "\\\\server\\share\\evil.jpg",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_are_refused(name, kind, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    made = make(kind, inner, {"trainA/1.jpg": b"one", name: b"evil"})
    with pytest.raises(DataError, match="so nothing was unpacked"):
        unpack(made, inner / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["inner", made.name])


@pytest.mark.parametrize(
    "member",
    [
        tar_special("trainA/link", tarfile.SYMTYPE, "/etc"),
        tar_special("trainA/link", tarfile.SYMTYPE, "../../.."),
        tar_special("trainA/link", tarfile.LNKTYPE, "../../secret"),
        tar_special("trainA/pipe", tarfile.FIFOTYPE),
        tar_special("trainA/device", tarfile.CHRTYPE),
    ],
    ids=["absolute link", "link out", "hard link", "pipe", "device"],
)
def test_links_and_devices_in_a_tar_are_refused(member, tmp_path):
    through = tar_file("trainA/link/evil.jpg")
    made = make_tar(tmp_path / "a.tar.gz", [tar_file("trainA/1.jpg"), member, through])
    with pytest.raises(DataError, match="holds a link or a device"):
        unpack(made, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("trainA/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_contents_that_swell_are_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_BOMB_FLOOR", 1 << 16)
    made = make(kind, tmp_path, {"trainA/1.jpg": bytes(1 << 20)})
    with pytest.raises(DataError, match="no set of pictures"):
        unpack(made, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_too_many_files_and_bytes_are_refused(tmp_path):
    made = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(DataError, match="more than 1 files"):
        unpack(made, tmp_path / "out", limits=Limits(files=1))
    with pytest.raises(DataError, match="unpacks to more than 5 bytes"):
        unpack(made, tmp_path / "out", limits=Limits(total=5))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar"])
def test_a_cut_archive_is_named_and_leaves_nothing(kind, keep, tmp_path):
    noise = bytes(range(256)) * 200
    made = make(kind, tmp_path, {"trainA/1.jpg": noise})
    if kind == "tar":
        made.write_bytes(made.read_bytes()[: len(noise) + 512])  # without the padding
    data = made.read_bytes()
    made.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match="get it again"):
        unpack(made, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


def test_a_zip_with_a_wrong_byte_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("trainA/1.jpg", b"abcdefgh" * 10)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"abcdefgh") + 3] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="damaged or incomplete"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"not a \.zip or \.tar archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(DataError, match="is not a file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_one_name_for_file_and_folder_is_refused(tmp_path):
    made = make_zip(tmp_path / "a.zip", {"trainA": b"file", "trainA/1.jpg": b"one"})
    with pytest.raises(DataError, match="one name for a file and a folder"):
        unpack(made, tmp_path / "out")


def test_a_folder_in_use_is_left_alone(tmp_path):
    made = make_zip(tmp_path / "a.zip", FLAT)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="is not empty"):
        unpack(made, tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"kept"}


def test_a_file_without_a_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"words")
    content = (tmp_path / "a.zip").read_bytes()
    content = content.replace(b"\x01\x00\x00\x00x", b"\x00\x00\x00\x00x")  # the local header
    at = content.index(b"PK\x01\x02")
    content = content[: at + 28] + b"\0\0" + content[at + 30 : at + 46] + content[at + 47 :]
    end = content.index(b"PK\x05\x06")
    size = int.from_bytes(content[end + 12 : end + 16], "little") - 1
    content = content[: end + 12] + size.to_bytes(4, "little") + content[end + 16 :]
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="a file without a name"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_may_swell_within_one_block_is_refused(tmp_path, way):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", way) as archive:
        archive.writestr("x", bytes(1000))
    with pytest.raises(DataError, match="unpack it yourself"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_header_that_asks_for_more_than_memory_is_refused(tmp_path):
    file = tmp_path / "a.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        info = tarfile.TarInfo("x" * 300)  # its name goes into a header of its own
        archive.addfile(info)
    data = bytearray(gzip.decompress(file.read_bytes()))
    data[124:136] = ((1 << 95) + 2**33).to_bytes(12, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    file.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(DataError):
        unpack(file, tmp_path / "out")
