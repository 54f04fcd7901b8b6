import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from echo import save_fresh
from picture_folders import write_noise, write_pictures
from PIL import Image
from plain_data import assert_same_picture

from i2icli.pictures.images import read_picture
from i2icli.translation.translator import load_translator


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_fresh(folder / "checkpoints" / "last.pt")
    return folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    for number, name in enumerate(("a.png", "b.jpg", "deep/er/c.webp")):
        write_noise(folder / name, 17 + number, 20, seed=number)
    return folder


@pytest.fixture
def i2i(i2i):
    return lambda *words: i2i("translate", *words, "--device", "cpu")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_is_mirrored_and_counted_on_stderr(i2i, run, pictures, tmp_path):
    code, out, err = i2i(run, pictures, tmp_path / "out")
    assert (code, out) == (0, "")
    how, counts = err.splitlines()
    assert how.startswith("translating on cpu, float32 (auto: ")
    assert counts == "found 3, written 3, skipped 0, failed 0"
    assert files(tmp_path / "out") == ["a.png", "b.png", "deep/er/c.png"]
    for name in ("a.png", "b.jpg", "deep/er/c.webp"):
        wanted = load_translator(run, device="cpu").translate(pictures / name)
        written = read_picture((tmp_path / "out" / name).with_suffix(".png")).pixels
        assert_same_picture(written, np.asarray(wanted))


def test_json_holds_the_counts_and_nothing_else_is_on_stdout(i2i, run, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"\x89PNG")
    code, out, err = i2i(run, pictures, tmp_path / "out", "--json", "--grid")
    document = json.loads(out)
    assert code == 3
    assert {key: document[key] for key in ("found", "written", "skipped", "failed")} == {
        "found": 4,
        "written": 3,
        "skipped": 0,
        "failed": 1,
    }
    (failure,) = document["failures"]
    assert failure["path"] == str(pictures / "broken.png")
    assert "broken.png" in failure["error"]
    assert document["outputs"][0] == {
        "path": str(pictures / "a.png"),
        "output": str(tmp_path / "out/a.png"),
    }
    assert document["grids"] == [str(tmp_path / "out/grid-001.png")]
    assert document["seconds"] > 0
    assert document["images_per_s"] > 0
    assert err.splitlines()[-1] == "found 4, written 3, skipped 0, failed 1"


def test_each_unreadable_picture_is_named_once_and_the_end_is_3(i2i, run, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"nothing")
    (pictures / "empty.jpg").write_bytes(b"")
    code, _, err = i2i(run, pictures, tmp_path / "out")
    assert code == 3
    _, first, second, last = err.splitlines()
    assert first.startswith(f"failed: {pictures / 'broken.png'} is not a")
    assert second.startswith(f"failed: {pictures / 'empty.jpg'} is empty")
    assert last == "found 5, written 3, skipped 0, failed 2"
    assert len(files(tmp_path / "out")) == 3


def test_one_picture_goes_to_the_file_that_is_named(i2i, run, pictures, tmp_path):
    target = tmp_path / "new" / "folder" / "result.webp"
    assert i2i(run, pictures / "b.jpg", target)[0] == 0
    with Image.open(target) as image:
        assert (image.format, image.size) == ("WEBP", (20, 18))


@pytest.mark.parametrize("out", ["plain", "folder.png"])
def test_out_is_a_folder_unless_it_ends_like_a_picture_and_is_none(
    i2i, run, pictures, tmp_path, out
):
    if out.endswith(".png"):
        (tmp_path / out).mkdir()
    assert i2i(run, pictures / "b.jpg", tmp_path / out)[0] == 0
    assert files(tmp_path / out) == ["b.png"]


def test_a_folder_goes_to_a_folder_even_if_it_is_called_like_a_picture(
    i2i, run, pictures, tmp_path
):
    assert i2i(run, pictures, tmp_path / "x.png")[0] == 0
    assert len(files(tmp_path / "x.png")) == 3


def test_patterns_lists_and_standard_input_name_pictures(i2i, run, pictures, tmp_path, monkeypatch):
    assert i2i(run, f"{pictures}/**/*.webp", tmp_path / "pattern")[0] == 0
    assert files(tmp_path / "pattern") == ["deep/er/c.png"]
    names = f"{pictures / 'a.png'}\n{pictures / 'deep/er/c.webp'}\n"
    (tmp_path / "names.txt").write_text(names, encoding="utf-8")
    assert i2i(run, tmp_path / "names.txt", tmp_path / "list")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(names))
    assert i2i(run, "-", tmp_path / "stdin")[0] == 0
    assert files(tmp_path / "list") == files(tmp_path / "stdin") == ["a.png", "deep/er/c.png"]


def test_format_quality_and_suffix_shape_the_outputs(i2i, run, pictures, tmp_path):
    assert i2i(run, pictures, tmp_path / "keep", "--format", "keep", "--suffix", "_z")[0] == 0
    assert files(tmp_path / "keep") == ["a_z.png", "b_z.jpg", "deep/er/c_z.webp"]
    for quality in (10, 100):
        options = ("--format", "jpg", "--quality", quality)
        assert i2i(run, pictures, tmp_path / str(quality), *options)[0] == 0
    sizes = [(tmp_path / q / "a.jpg").stat().st_size for q in ("10", "100")]
    assert sizes[0] < sizes[1]


def test_the_other_direction_uses_the_other_generator(i2i, run, pictures, tmp_path):
    assert i2i(run, pictures / "a.png", tmp_path / "there.png")[0] == 0
    assert i2i(run, pictures / "a.png", tmp_path / "back.png", "--direction", "b2a")[0] == 0
    there, back = (read_picture(tmp_path / f"{n}.png").pixels for n in ("there", "back"))
    assert not np.array_equal(there, back)


def test_channels_are_those_of_the_domains(i2i, pictures, tmp_path):
    overrides = ("data.channels_a=1", "method.lambda_identity=0")
    checkpoint = tmp_path / "grey.pt"
    save_fresh(checkpoint, "cyclegan", *overrides)
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160).save(tmp_path / "g.png")
    assert i2i(checkpoint, tmp_path / "g.png", tmp_path / "colour.png")[0] == 0
    assert i2i(checkpoint, pictures / "a.png", tmp_path / "grey.png", "--direction", "b2a")[0] == 0
    headers = [(tmp_path / f"{name}.png").read_bytes()[24:26] for name in ("colour", "grey")]
    assert headers == [bytes([16, 2]), bytes([8, 0])]  # bits; 2 is colour, 0 is grey


def test_batches_change_nothing(i2i, run, tmp_path):
    for number in range(9):
        write_noise(tmp_path / f"in/{number}.png", 30 + number % 3, 25, seed=number)
    for batch in ("auto", 1, 8):
        assert i2i(run, tmp_path / "in", tmp_path / str(batch), "--batch", batch)[0] == 0
    for name in files(tmp_path / "1"):
        contents = {(tmp_path / batch / name).read_bytes() for batch in ("auto", "1", "8")}
        assert len(contents) == 1


def test_a_second_run_overwrites_or_skips_and_never_translates_its_own_results(i2i, run, pictures):
    out = pictures / "out"
    assert "found 3, written 3" in i2i(run, pictures, out)[2]
    assert "found 3, written 3" in i2i(run, pictures, out)[2]
    assert "found 3, written 0, skipped 3" in i2i(run, pictures, out, "--skip-existing")[2]


def test_a_grid_shows_also_what_was_skipped(i2i, run, pictures, tmp_path):
    i2i(run, pictures, tmp_path / "out")
    i2i(run, pictures, tmp_path / "out", "--skip-existing", "--grid")
    assert files(tmp_path / "out") == ["a.png", "b.png", "deep/er/c.png", "grid-001.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("RUN", "IN", "OUT", "--direction", "b2c"),
            2,
            "does not translate 'b2c': it offers a2b or",
        ),
        (("RUN", "IN", "OUT", "--batch", "0"), 2, "--batch '0' is no batch size: use auto, 1, 2"),
        (("RUN", "IN", "OUT", "--batch", "many"), 2, "--batch 'many' is no batch size"),
        (("RUN", "IN", "OUT", "--precision", "float8"), 2, "float8"),
        (("RUN", "IN", "OUT", "--format", "gif"), 2, "pictures are not written as 'gif'"),
        (("RUN", "IN", "OUT", "--quality", "90"), 2, "--quality 90 means nothing to png"),
        (("RUN", "IN", "IN"), 2, "OUT is IN"),
        (("RUN", "IN/a.png", "IN"), 2, "would replace the input"),
        (("RUN", "IN/a.png", "IN/a.png"), 2, "would replace the input"),
        (("RUN", "IN/a.png", "OUT/x.jpg", "--suffix", "_z"), 2, "nothing to --format and --suffix"),
        (
            ("RUN", "IN/a.png", "OUT/x.jpg", "--format", "png"),
            2,
            "nothing to --format and --suffix",
        ),
        (("RUN", "IN/a.png", "IN/b.jpg/below"), 2, "cannot be made"),
        (("RUN", "IN/nothing", "OUT"), 2, "does not exist"),
        (("RUN", "IN/*.bmp", "OUT"), 3, "no pictures in"),
        (("IN", "IN", "OUT"), 2, "is a folder but not a run"),
        (("IN/a.png", "IN", "OUT"), 2, "a.png"),
        (("gone.pt", "IN", "OUT"), 2, "there is no checkpoint at gone.pt"),
    ],
)
def test_what_cannot_work_is_one_sentence_with_its_exit_code(
    i2i, run, pictures, tmp_path, arguments, code, message
):
    names = {"RUN": str(run), "IN": str(pictures), "OUT": str(tmp_path / "out")}
    filled = [
        "/".join(names.get(part, part) for part in argument.split("/")) for argument in arguments
    ]
    ended, out, err = i2i(*filled)
    assert (ended, out) == (code, "")
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err
    assert len(files(pictures)) == 3


def test_ctrl_c_ends_with_130_and_leaves_only_whole_pictures(run, tmp_path):
    # More than are read ahead and wait to be written: none but the first ones can be finished.
    write_pictures(tmp_path / "in", seed=0, count=200)
    out = tmp_path / "out"
    script = Path(__file__).parents[1] / "kits" / "held_command.py"
    process = subprocess.Popen(
        [sys.executable, script, "3", "translate", run, tmp_path / "in", out],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)  # closes its input: the held picture is written
    assert process.returncode == 130
    assert "Traceback" not in err
    written = list(out.iterdir())
    assert 0 < len(written) < 200
    for path in written:
        assert path.suffix == ".png"
        with Image.open(path) as image:
            image.load()
