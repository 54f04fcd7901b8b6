import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_data import assert_same_picture
from run_kit import make_run, smooth

from i2icli.errors import ConfigError
from i2icli.evaluation.compare import compare, find_contenders
from i2icli.metrics import choose
from i2icli.metrics.results import Measurement
from i2icli.metrics.truth import score_pixels
from i2icli.pictures.images import read_picture, write_picture
from i2icli.translation.sources import find_sources
from i2icli.translation.translator import load_translator


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "cut-001", preset="cut", steps=(), saved_step=8)
    make_run(folder / "cycle-001", preset="cyclegan", steps=(), saved_step=1234)
    return folder


@pytest.fixture
def data(tmp_path):
    """Return a data set with truth and masks."""
    for number in range(5):
        source = smooth(24, 28, seed=number)
        write_picture(tmp_path / "data" / "testA" / f"{number}.png", source)
        write_picture(tmp_path / "data" / "testA_truth" / f"{number}.png", 255 - source)
        mask = np.zeros((24, 28, 1), np.uint8)
        mask[:, :14] = 255
        write_picture(tmp_path / "data" / "testA_mask" / f"{number}.png", mask)
        write_picture(
            tmp_path / "data" / "testB" / f"{number}.png", smooth(24, 28, seed=50 + number)
        )
    return tmp_path / "data"


@pytest.fixture
def i2i(i2i):
    return lambda *words: i2i("compare", *words, "--device=cpu")


def test_a_sheet_and_a_table_of_two_methods(i2i, runs, data, tmp_path):
    out = tmp_path / "out"
    code, table, err = i2i(runs / "cut-001", runs / "cycle-001", data / "testA", "--out", out)
    assert code == 0
    assert err == f"sheet: {out / 'compare.png'}\n"
    lines = table.splitlines()
    assert lines[0].split() == (
        ["name", "method", "step", "parameters", "s/picture", "error", "inside", "outside"]
    )
    assert lines[1].split()[:3] == ["cut-001", "cut", "8"]
    assert lines[2].split()[:3] == ["cycle-001", "cyclegan", "1,234"]
    assert lines[3].startswith("source itself")
    assert lines[4].startswith("5 pictures; s/picture: median on cpu")
    with Image.open(out / "compare.png") as sheet:
        assert sheet.width > 4 * 28  # source, two translations, truth
        assert sheet.height > 5 * 24


def test_the_document_holds_the_figures_of_the_translations(i2i_json, runs, data, tmp_path):
    document = i2i_json(runs / "cut-001", data / "testA", "--out", tmp_path / "out")
    assert document == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["pictures"] == [f"{number}.png" for number in range(5)]
    (found,) = document["checkpoints"]
    translator = load_translator(runs / "cut-001", device="cpu")
    scores = [
        score_pixels(
            np.asarray(translator.translate(data / "testA" / f"{n}.png")),
            read_picture(data / "testA_truth" / f"{n}.png").pixels,
            read_picture(data / "testA_mask" / f"{n}.png", channels=1).pixels,
        )
        for n in range(5)
    ]
    for part in ("total", "inside", "outside"):
        wanted = np.mean([getattr(score, part) for score in scores])
        assert found["truth"][part] == pytest.approx(wanted)
    generator = translator.method.generator
    assert found["parameters"] == sum(p.numel() for p in generator.parameters())
    assert found["seconds_per_picture"] > 0
    assert found["metrics"] == {}
    errors = [np.abs(2.0 * smooth(24, 28, seed=n) / 255.0 - 1).mean() for n in range(5)]
    assert document["identity"]["total"] == pytest.approx(np.mean(errors))


def test_so_many_pictures_are_shown_evenly_spaced(i2i, runs, data, tmp_path):
    _, out, _ = i2i(
        runs / "cut-001", data / "testA", "--count=3", "--json", "--out", tmp_path / "out"
    )
    assert json.loads(out)["pictures"] == ["0.png", "2.png", "4.png"]


def test_a_set_without_truth_has_neither_errors_nor_a_truth_column(i2i, runs, data, tmp_path):
    code, table, _ = i2i(runs / "cut-001", data / "testB", "--out", tmp_path / "out")
    assert code == 0
    assert "error" not in table
    assert "source itself" not in table


def test_one_picture_gives_no_time(i2i_json, runs, data, tmp_path):
    one = data / "testA" / "3.png"
    (found,) = i2i_json(runs / "cut-001", one, "--out", tmp_path / "out")["checkpoints"]
    assert found["seconds_per_picture"] is None


def test_a_picture_that_cannot_be_read_is_left_out_and_named(i2i, runs, data, tmp_path):
    (data / "testB" / "0.png").write_bytes(b"\x89PNG\r\n")
    code, out, err = i2i(runs / "cut-001", data / "testB", "--json", "--out", tmp_path / "out")
    assert code == 0
    assert len(json.loads(out)["pictures"]) == 4
    assert "skipped: " in err
    assert "0.png" in err


@pytest.mark.parametrize("flag", ["--fid", "--kid", "--lpips"])
def test_missing_weights_end_with_their_own_exit_code_before_any_work(
    i2i, runs, data, tmp_path, flag
):
    code, out, err = i2i(runs / "cut-001", data / "testA", flag, "--out", tmp_path / "out")
    assert (code, out) == (4, "")
    assert "i2i weights" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("CUT", "bad.png"), 3, "none of the 1 pictures can be read"),
        (("data/testA/0.png", "data/testA"), 2, "0.png"),
        (("CYCLE", "CUT", "data/testB", "--direction=b2a"), 2, "b2a"),
        (
            ("CUT", "data/testA/0.png", "--fid", "--lpips"),
            2,
            "--fid --lpips measure a whole",
        ),
        (("CUT", "bare/testA", "--fid"), 3, "name it with --real DIR"),
        (("CUT", "data/testA", "--real", "data/testB"), 2, "nothing without --fid or --kid"),
    ],
    ids=["unreadable", "no checkpoint", "direction", "one picture", "no reals", "no metric"],
)
def test_what_cannot_be_compared_is_refused(
    i2i, runs, data, tmp_path, monkeypatch, words, code, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    shutil.copytree(data / "testA", tmp_path / "bare/testA")
    named = {"CUT": runs / "cut-001", "CYCLE": runs / "cycle-001"}
    ended, _, err = i2i(*(named.get(word, word) for word in words), "--out", "out")
    assert ended == code
    assert said in err


@pytest.fixture
def measured(monkeypatch):
    """Replace the networks that metrics need; what they are asked is kept."""
    asked = []

    def distances(real, fake, names, reading):
        asked.append((Path(real), Path(fake), tuple(names)))
        counts = {"real": len(list(Path(real).iterdir())), "fake": len(list(Path(fake).iterdir()))}
        return {
            name: Measurement(name, 40.0 + i, counts=counts, protocol={"mode": "clean"})
            for i, name in enumerate(names)
        }

    monkeypatch.setattr(choose, "find_inception", lambda mode: mode)
    monkeypatch.setattr(choose, "measure_distances", distances)
    return asked


def test_distances_are_of_all_pictures_against_the_other_domain(
    i2i, runs, data, tmp_path, measured
):
    out = tmp_path / "out"
    code, table, _ = i2i(
        runs / "cut-001", runs / "cycle-001", data / "testA", "--fid", "--kid", "--count=2",
        "--out", out,
    )  # fmt: skip
    assert code == 0
    assert measured == [
        (data / "testB", out / "cut-001", ("fid", "kid")),
        (data / "testB", out / "cycle-001", ("fid", "kid")),
    ]
    written = read_picture(out / "cycle-001" / "4.png").pixels
    translator = load_translator(runs / "cycle-001", device="cpu")
    assert_same_picture(written, np.asarray(translator.translate(data / "testA" / "4.png")))
    assert table.splitlines()[1].split()[-2:] == ["40", "41"]
    assert "fid: N real 5, N fake 5, mode clean" in table


def test_real_pictures_can_be_named(i2i, runs, data, tmp_path, measured):
    (data / "testB").rename(data / "zebras")
    code, _, _ = i2i(
        runs / "cut-001", data / "testA", "--fid", "--real", data / "zebras",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    assert measured[0][0] == data / "zebras"


def test_other_pictures_in_the_output_are_not_measured(i2i, runs, data, tmp_path, measured):
    write_picture(tmp_path / "out" / "cut-001" / "old.png", smooth(8, 8, seed=0))
    code, _, err = i2i(runs / "cut-001", data / "testA", "--fid", "--out", tmp_path / "out")
    assert code == 2
    assert "holds old.png, which is no translation of" in err


def test_a_picture_that_cannot_be_measured_is_fatal(i2i, runs, data, tmp_path, measured):
    (data / "testA" / "9.png").write_bytes(b"\x89PNG")
    code, _, err = i2i(runs / "cut-001", data / "testA", "--fid", "--out", tmp_path / "out")
    assert code == 3
    assert "1 of 6 pictures" in err


def test_unlike_protocols_are_refused(runs, data):
    modes = iter(("clean", "legacy_pytorch"))

    def measure(name, translator):
        return [Measurement("fid", 1.0, protocol={"mode": next(modes)})]

    contenders = find_contenders([runs / "cut-001", runs / "cycle-001"])
    with pytest.raises(ConfigError, match="mode is clean in one and legacy_pytorch in the other"):
        compare(
            contenders, find_sources(str(data / "testA")), count=1, device="cpu", measure=measure
        )


def test_checkpoints_are_called_by_their_runs_and_told_apart(tmp_path):
    named = [
        tmp_path / "a" / "cut-001",
        tmp_path / "b" / "cut-001" / "checkpoints" / "best.pt",
        tmp_path / "loose.pt",
    ]
    for file in (named[0] / "checkpoints" / "last.pt", *named[1:]):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert [c.name for c in find_contenders(named)] == ["cut-001", "cut-001 best", "loose"]
    (named[1].parent / "last.pt").touch()
    two = find_contenders([named[0], tmp_path / "b" / "cut-001"])
    assert [c.name for c in two] == ["a/cut-001", "b/cut-001"]


def test_a_checkpoint_named_twice_is_refused(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.pt").touch()
    with pytest.raises(ConfigError, match="is named twice"):
        find_contenders([run, run / "checkpoints" / "last.pt"])
