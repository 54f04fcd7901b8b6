"""Shards as WebDataset reads them: its rules, written down a second time, against ours.

A name is split at the first dot of its last part into key and extension; a name without such a
dot, or without anything before it, is passed over. Files whose keys are equal and that follow each
other are one sample; within it each extension, in lower case, comes once.
"""

import itertools
import tarfile

from PIL import Image

from i2icli.pictures.listing import list_pictures
from i2icli.pictures.tar_sets import index_shards
from i2icli.pictures.tar_shards import pack_folder, read_samples, split_name


def by_their_rules(shard):
    """Return (key, {extension: content}) of each sample."""
    found = []
    with tarfile.open(shard) as archive:
        for info in archive:
            folder, _, last = info.name.rpartition("/")
            stem, dot, extension = last.partition(".")
            if not info.isfile() or not stem or not dot:
                continue
            key = f"{folder}/{stem}" if folder else stem
            found.append((key, extension.lower(), archive.extractfile(info).read()))
    groups = itertools.groupby(found, key=lambda entry: entry[0])
    samples = [(key, [entry[1:] for entry in entries]) for key, entries in groups]
    for key, entries in samples:
        extensions = [extension for extension, _ in entries]
        assert len(extensions) == len(set(extensions)), f"{key}: an extension comes twice"
    return [(key, dict(entries)) for key, entries in samples]


def picture(path, colour=(9, 9, 9)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)


def pack(folder, out):
    out.mkdir()
    pack_folder(list_pictures(folder), folder, out, size=100)
    (shard,) = out.glob("*.tar")
    return shard


def test_packed_pictures_are_samples_of_one_picture_each_by_their_rules(tmp_path):
    names = ["1.png", "a.b.png", "a_b.jpg", "x/1.png", "v1.2/1.PNG", "v1.2/1.jpeg", "\u00e4 b.png"]
    for seed, name in enumerate(names):
        picture(tmp_path / "in" / name, (seed, 0, 0))
    shard = pack(tmp_path / "in", tmp_path / "out")
    samples = by_their_rules(shard)
    assert len({key for key, _ in samples}) == len(samples) == len(names)
    assert all(len(files) == 1 for _, files in samples)
    assert {extension for _, files in samples for extension in files} == {"png", "jpg", "jpeg"}
    contents = sorted(path.read_bytes() for path in list_pictures(tmp_path / "in"))
    assert sorted(content for _, files in samples for content in files.values()) == contents


def test_dots_in_folders_stay_in_keys_and_those_in_names_do_not(tmp_path):
    picture(tmp_path / "in" / "v1.2" / "a.b.png")
    ((key, files),) = by_their_rules(pack(tmp_path / "in", tmp_path / "out"))
    assert (key, list(files)) == ("v1.2/a_b", ["png"])
    assert split_name("v1.2/a_b.seg.png") == ("v1.2/a_b", ".seg.png")


def test_what_we_read_is_what_they_read(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        picture(tmp_path / "in" / name)
    shard = pack(tmp_path / "in", tmp_path / "out")
    ours = [
        (sample.key, {split_name(name)[1][1:]: content for name, content in sample.files.items()})
        for sample in read_samples(shard, lambda name, error: None)
    ]
    assert ours == by_their_rules(shard)
    indexed = [picture.content() for picture in index_shards([shard])]
    assert indexed == [content for _, files in ours for content in files.values()]
