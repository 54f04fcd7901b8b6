import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from echo import noise
from PIL import Image

from i2icli.errors import ConfigError, DataError, I2IError
from i2icli.pictures import tar_shards as data_shards
from i2icli.pictures.encode import encode_picture
from i2icli.pictures.tar_sets import find_shards
from i2icli.pictures.tar_shards import ShardWriter
from i2icli.system.manifest import Manifest
from i2icli.translation.folder import FolderOptions
from i2icli.translation.tar_shards import ShardOptions, translate_shards


def png(seed, height=9, width=11, channels=3):
    return encode_picture(noise(height, width, channels, seed=seed), suffix=".png")


def make(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with ShardWriter(path) as writer:
        for files in samples:
            writer.add(files)
        writer.finish()
    return path


def make_set(folder, shards=3, pictures=5):
    return [
        make(folder / f"s{s}.tar", [{f"{s}-{i}.png": png(10 * s + i)} for i in range(pictures)])
        for s in range(shards)
    ]


def run(translator, shards, out, options=None, **calls):
    out.mkdir(exist_ok=True)
    manifest = Manifest(out, key="shard")
    return translate_shards(translator, shards, out, options or ShardOptions(), manifest, **calls)


def content(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def test_each_shard_gives_one_of_its_name_with_its_keys_and_other_files(tmp_path, translator):
    files = {"a/1.jpg": png(0, channels=4), "a/1.json": b"{}", "a/1.cls": b"7"}
    shards = [make(tmp_path / "in/s.tar", [files, {"2.png": png(1)}]), *make_set(tmp_path / "in")]
    report = run(translator, shards, tmp_path / "out")
    assert (report.written, report.skipped, report.failures, report.shards) == (17, 0, (), 4)
    assert report.images_per_s > 0
    made = content(tmp_path / "out/s.tar")
    assert list(made) == ["a/1.png", "a/1.json", "a/1.cls", "2.png"]
    assert (made["a/1.json"], made["a/1.cls"]) == (b"{}", b"7")
    assert np.array_equal(pixels(made["a/1.png"]), noise(9, 11, 4, seed=0))  # alpha too
    assert np.array_equal(pixels(made["2.png"]), noise(9, 11, seed=1))
    assert sorted(os.listdir(tmp_path / "out")) == [
        "manifest.jsonl",
        "s.tar",
        "s0.tar",
        "s1.tar",
        "s2.tar",
    ]


def test_the_manifest_tells_samples_failures_size_and_checksum(tmp_path, translator):
    shards = make_set(tmp_path / "in", shards=1)
    run(translator, shards, tmp_path / "out")
    (line,) = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
    entry = json.loads(line)
    data = (tmp_path / "out/s0.tar").read_bytes()
    assert (entry["shard"], entry["samples"], entry["failures"]) == ("s0.tar", 5, [])
    assert (entry["bytes"], entry["source"]["bytes"]) == (len(data), shards[0].stat().st_size)
    assert entry["sha256"] == data_shards.hashlib.sha256(data).hexdigest()


def test_a_damaged_picture_is_named_and_stops_no_other(tmp_path, translator):
    samples = [
        {"0.png": png(0)},
        {"1.png": png(1)[:60], "1.json": b"{}"},
        {"2.png": b""},
        {"3.json": b"{}"},
        {"4.png": png(4)},
    ]
    shard = make(tmp_path / "in/s.tar", samples)
    told = []
    report = run(
        translator, [shard], tmp_path / "out", on_failure=lambda name, error: told.append(name)
    )
    assert list(content(tmp_path / "out/s.tar")) == ["0.png", "4.png"]
    assert sorted(told) == ["s.tar/1.png", "s.tar/2.png", "s.tar/3"]
    by_name = {failure.name: failure.error for failure in report.failures}
    assert sorted(by_name) == sorted(told)
    assert "is empty (0 bytes)" in by_name["s.tar/2.png"]
    assert "holds no picture" in by_name["s.tar/3"]
    assert f"{shard}/1.png is damaged or incomplete" in by_name["s.tar/1.png"]
    again = run(translator, [shard], tmp_path / "out")  # what failed is told again
    assert (again.written, again.skipped, again.skipped_shards) == (0, 2, 1)
    assert {f.name for f in again.failures} == set(by_name)


def test_a_shard_that_cannot_be_read_is_named_and_done_when_it_can(tmp_path, translator):
    shards = make_set(tmp_path / "in", shards=2)
    good = shards[0].read_bytes()
    shards[0].write_bytes(b"no archive" * 999)
    report = run(translator, shards, tmp_path / "out")
    assert [failure.name for failure in report.failures] == ["s0.tar"]
    assert (report.written, report.shards) == (5, 1)
    assert not (tmp_path / "out/s0.tar").exists()
    shards[0].write_bytes(good)
    assert run(translator, shards, tmp_path / "out").failures == ()
    assert len(content(tmp_path / "out/s0.tar")) == 5


def test_finished_shards_are_skipped_and_changed_or_lost_ones_made_anew(tmp_path, translator):
    shards = make_set(tmp_path / "in")
    run(translator, shards, tmp_path / "out")
    before = {s.name: content(tmp_path / "out" / s.name) for s in shards}
    assert run(translator, shards, tmp_path / "out").skipped_shards == 3
    (tmp_path / "out/s1.tar").unlink()
    make(tmp_path / "in/s2.tar", [{"new.png": png(99)}])
    report = run(translator, shards, tmp_path / "out")
    assert (report.written, report.skipped, report.shards) == (6, 5, 2)
    assert content(tmp_path / "out/s1.tar") == before["s1.tar"]
    assert list(content(tmp_path / "out/s2.tar")) == ["new.png"]


def test_results_of_other_weights_or_options_are_not_mixed(tmp_path, translator):
    shards = make_set(tmp_path / "in", shards=1)
    run(translator, shards, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"holds s0\.tar, made by another checkpoint"):
        run(translator, shards, tmp_path / "out", ShardOptions(format="webp"))
    none = ShardOptions(FolderOptions(scale="none"))  # what this checkpoint does anyway
    assert run(translator, shards, tmp_path / "out", none).skipped_shards == 1
    with pytest.raises(ConfigError, match=r"holds s0\.tar, made by another checkpoint"):
        run(translator, shards, tmp_path / "out", ShardOptions(FolderOptions(scale=0.5)))
    with torch.no_grad():
        translator.method.scale.mul_(0.5)
    with pytest.raises(ConfigError, match="give another OUT"):
        run(translator, shards, tmp_path / "out")


def test_pictures_of_one_sample_keep_its_key_and_names_of_their_own(tmp_path, translator):
    sample = {"1.a.png": png(0), "1.png": png(1), "1.jpg": png(2)}
    shard = make(tmp_path / "in/s.tar", [sample, {"2.png": png(3), "2.jpg": b"broken"}])
    report = run(translator, [shard], tmp_path / "out")
    assert list(content(tmp_path / "out/s.tar")) == ["1.a.png", "1.png", "1.jpg.png"]
    assert [failure.name for failure in report.failures] == ["s.tar/2.jpg"]
    run(translator, [shard], tmp_path / "kept", ShardOptions(format="keep"))
    assert list(content(tmp_path / "kept/s.tar")) == ["1.a.png", "1.png", "1.jpg"]


def test_styles_are_files_of_the_same_key(tmp_path, load):
    codes = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    options = ShardOptions(
        FolderOptions(styles_of=lambda _item: codes), styles=("style1", "style2")
    )
    shard = make(tmp_path / "in/s.tar", [{"1.png": png(0)}, {"2.png": png(1)}])
    report = run(load("tiny-styled"), [shard], tmp_path / "out", options)
    made = content(tmp_path / "out/s.tar")
    names = ["1.style1.png", "1.style2.png", "2.style1.png", "2.style2.png"]
    assert (list(made), report.written) == (names, 2)
    assert pixels(made[names[1]]).mean() > pixels(made[names[0]]).mean() + 5


def test_masks_and_label_maps_are_files_of_the_same_key(tmp_path, load):
    shard = make(tmp_path / "in/s.tar", [{"1.png": png(0), "1.bright.png": png(1)}])
    run(load("tiny-masked"), [shard], tmp_path / "masks", ShardOptions(with_masks=True))
    assert list(content(tmp_path / "masks/s.tar")) == [
        "1.png",
        "1.bright.png",
        "1.dark.png",
        "1.bright.png.png",
        "1.bright.png.bright.png",
        "1.bright.png.dark.png",
    ]
    segmenter = load("tiny-segmenter", labels={"classes": 4})
    run(segmenter, [shard], tmp_path / "maps")
    labels = Image.open(io.BytesIO(content(tmp_path / "maps/s.tar")["1.png"]))
    assert (labels.mode, labels.size) == ("P", (11, 9))
    assert set(np.unique(np.asarray(labels))) <= {0, 1, 2, 3}


def test_reading_stays_a_bounded_number_of_samples_ahead(tmp_path, translator, monkeypatch):
    shard = make(tmp_path / "in/s.tar", [{f"{i:03d}.png": png(0, 2, 2)} for i in range(150)])
    read, behind = [], []
    real_read, real_add = data_shards._content, ShardWriter.add

    def count(archive, info, note):
        read.append(info.name)
        return real_read(archive, info, note)

    def add(writer, files):
        behind.append(len(read))
        real_add(writer, files)

    monkeypatch.setattr(data_shards, "_content", count)
    monkeypatch.setattr(ShardWriter, "add", add)
    run(translator, [shard], tmp_path / "out")
    assert len(behind) == 150
    assert max(ahead - done for done, ahead in enumerate(behind)) <= 150 // 2


def test_a_full_disk_stops_with_one_sentence_and_no_half_shards(tmp_path, translator, monkeypatch):
    shards = make_set(tmp_path / "in", shards=2)

    def fill(writer, files):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardWriter, "add", fill)
    with pytest.raises(I2IError, match=r"No space left on device\. Make room"):
        run(translator, shards, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


KILLED = """
import os, random, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from dying import SIGNALS, die_at_byte, die_at_file_event
from echo import SMALL, Echo
from i2icli.system.manifest import Manifest
from i2icli.translation.tar_shards import ShardOptions, translate_shards
from i2icli.translation.translator import Translator
from i2icli.methods import configure_run
source, out = Path(sys.argv[1]), Path(sys.argv[2])
shards = sorted(source.glob("*.tar"))
translator = Translator(Echo(), configure_run("cyclegan", SMALL), precision=torch.float32)
choose = random.Random(0)
first = out.with_name("first")
first.mkdir()
translate_shards(translator, shards[:1], first, ShardOptions(), Manifest(first, key="shard"))
kills = 0
while True:
    # Before a file is touched, ever later, so that the work comes to an end; or within a write.
    number, byte = choose.randint(1, 20 + kills), choose.randint(0, 10_000)
    child = os.fork()
    if not child:
        if kills % 2:
            die_at_byte(byte)
        else:
            die_at_file_event(number)
        translate_shards(translator, shards, out, ShardOptions(), Manifest(out, key="shard"))
        os._exit(0)
    _, code = os.waitpid(child, 0)
    if code == 0:
        break
    assert os.WIFSIGNALED(code) and os.WTERMSIG(code) in SIGNALS, code
    kills += 1
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_any_point_lose_and_repeat_nothing(tmp_path):
    shards = make_set(tmp_path / "in", shards=12, pictures=20)
    (tmp_path / "out").mkdir()
    words = [sys.executable, "-c", KILLED, tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
    entries = [json.loads(x) for x in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert sorted(entry["shard"] for entry in entries) == sorted(shard.name for shard in shards)
    for shard in shards:
        assert list(content(tmp_path / "out" / shard.name)) == list(content(shard))
    assert len(os.listdir(tmp_path / "out")) == len(shards) + 1


def test_shards_are_found_by_name_folder_pattern_and_range(tmp_path):
    names = ["s-008.tar", "s-009.tar", "s-010.tar", "t.tar"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    found = {
        "": names,
        "t.tar": ["t.tar"],
        "s-*.tar": names[:3],
        "s-{008..010}.tar": names[:3],
        "s-0{08..10}.tar": names[:3],
    }
    for named, wanted in found.items():
        assert [shard.name for shard in find_shards(str(tmp_path / named))] == wanted
    (tmp_path / "set [1]").mkdir()
    (tmp_path / "set [1]/s.tar").write_bytes(b"")
    assert find_shards(str(tmp_path / "set [1]/[st].tar")) == [tmp_path / "set [1]/s.tar"]
    for named in ("a.png", "*.png", "list.txt", "-"):
        assert find_shards(str(tmp_path / named) if named != "-" else "-") is None
    (tmp_path / "empty").mkdir()
    assert find_shards(str(tmp_path / "empty")) is None


@pytest.mark.parametrize(
    ("named", "kind", "words"),
    [
        ("s-{1..3}.tar", ConfigError, r"the shard .*s-2\.tar does not exist"),
        ("s-{3..1}.tar", ConfigError, "runs backwards"),
        ("x-*.tar", DataError, "no shards match"),
        ("missing.tar", ConfigError, "does not exist"),
        ("**/s-1.tar", ConfigError, "have one name"),
    ],
)
def test_shards_that_are_not_there_are_named(tmp_path, named, kind, words):
    for name in ("s-1.tar", "s-3.tar", "deep/s-1.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(kind, match=words):
        find_shards(str(tmp_path / named))


def test_a_folder_of_both_and_an_out_that_is_in_are_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="OUT is the folder of"):
        find_shards(str(tmp_path), out=tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds shards and pictures \(a\.tar, a\.png\)"):
        find_shards(str(tmp_path))
