"""Tar headers whose sizes cannot be cost their own stretch, not the shard."""

import io
import tarfile
from pathlib import Path

import pytest

from i2icli.errors import DataError
from i2icli.pictures.tar_sets import index_shards
from i2icli.pictures.tar_shards import read_samples


def shard(path: Path, sizes: dict[int, bytes]) -> Path:
    """Write a shard of five pictures, some of whose headers give another size."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number in range(5):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = 600
            archive.addfile(info, io.BytesIO(bytes([65 + number]) * 600))
    data = bytearray(file.getvalue())
    for number, size in sizes.items():
        at = number * 1536
        data[at + 124 : at + 136] = size
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    path.write_bytes(data)
    return path


def base256(number: int) -> bytes:
    return ((256**12 if number < 0 else 1 << 95) + number).to_bytes(12, "big")


@pytest.mark.parametrize("size", [-1, -512, -(10**6), 10**6, 2**40, 2**62])
@pytest.mark.parametrize("number", [0, 2, 4])
def test_the_others_are_read(tmp_path, size, number):
    notes: list[str] = []
    path = shard(tmp_path / "s.tar", {number: base256(size)})
    samples = list(read_samples(path, lambda _name, error: notes.append(error)))
    assert [sample.key for sample in samples] == [str(n) for n in range(5) if n != number]
    assert len(notes) >= 1
    with pytest.raises(DataError):
        [picture.content() for picture in index_shards([path])]


def test_a_sparse_member_is_not_unfolded(tmp_path):
    path = shard(tmp_path / "s.tar", {})
    data = bytearray(path.read_bytes())
    data[156:157] = b"S"  # of old GNU tar; its real size stands apart
    data[483:495] = b"07777777777\0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    samples = list(read_samples(path, lambda _name, _error: None))
    assert [sample.key for sample in samples] == ["1", "2", "3", "4"]
