"""Measurements in a run: what is chosen, the best, the advice to stop, the same after a resume."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_kit import Watcher, pair_config, send, state_of, without_timings
from labelled_folders import IGNORED, write_labelled
from PIL import Image
from plain_data import assert_same
from stand_in import look, use_stand_in

from i2icli.config.sections import EvalConfig
from i2icli.errors import ConfigError, DataError, Interrupted, WeightsError
from i2icli.evaluation.measure import Measurer
from i2icli.methods import configure_run
from i2icli.metrics.distances import fid, kid
from i2icli.metrics.inception import build_resizer, prepare
from i2icli.pictures.images import read_picture, to_8_bits
from i2icli.pictures.listing import evenly_spaced
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.runs.folder import RunFolder
from i2icli.system.messages import collect_messages
from i2icli.training.run import resume_run, start_run
from i2icli.training.scoreboard import Point, Scoreboard, draw_curve
from i2icli.training.session import open_session
from i2icli.translation.pipeline import raise_if_hopeless
from i2icli.translation.translator import load_translator

pytestmark = pytest.mark.usefixtures("pair")


@pytest.fixture
def network(monkeypatch, tmp_path):
    """Replace the Inception network, which spends random numbers; return the sizes of its work."""
    work = []

    def build(*_):
        torch.rand(7)  # building a network draws its weights
        work.append(0)

        def count(images):
            work[-1] += len(images)
            return look(images)

        return count

    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))
    use_stand_in(monkeypatch, build)
    return work


@pytest.fixture(scope="module")
def photo_root(picture_root, tmp_path_factory):
    """Return the tiny data set with as many test pictures as training pictures."""
    root = tmp_path_factory.mktemp("photos") / "data"
    shutil.copytree(picture_root, root)
    for domain in "AB":
        for path in sorted((root / f"train{domain}").iterdir()):
            shutil.copy(path, root / f"test{domain}" / f"more-{path.name}")
    return root


def metrics(folder):
    return [without_timings(line) for line in RunFolder(folder).read_metrics()]


def measured(folder, key):
    return {line["step"]: line[key] for line in metrics(folder) if key in line}


# What is measured


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("root", "limits", "deciding", "protocol"),
    [
        ("truth_root", {}, "eval/truth_total", "2 of A against their truth"),
        ("photo_root", {"count": 6}, "eval/fid", "6 of A against 10 of B, clean"),
        ("truth_root", {"metrics": ("kid", "truth")}, "eval/kid", None),
    ],
    ids=["auto, with a truth", "auto, photographs", "the first named"],
)
def test_what_is_measured_depends_on_the_data_and_the_first_metric(
    root, limits, deciding, protocol, request
):
    config = pair_config(request.getfixturevalue(root), eval={"every_steps": 1, **limits})
    measurer = open_session(config).measurer
    assert measurer.deciding == deciding
    assert protocol in (None, measurer.protocol)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("clean", "inception"),
        ("legacy_tensorflow", "inception"),
        ("legacy_pytorch", "inception-pytorch"),
    ],
)
def test_missing_network_ends_the_run_before_it_begins(photo_root, tmp_path, mode, name):
    config = pair_config(photo_root, eval={"every_steps": 2, "mode": mode})
    with pytest.raises(
        WeightsError, match=rf"eval\.every_steps is 2.*`i2i weights get {name}`"
    ) as got:
        start_run(config, run_dir=tmp_path / "run")
    assert got.value.exit_code == 4
    assert "eval.every_steps=0" in str(got.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def photos(photo_root, tmp_path):
    """Return photographs that a test may spoil."""
    return shutil.copytree(photo_root, tmp_path / "data")


@pytest.mark.usefixtures("network")
def test_data_set_with_nothing_to_measure_against_is_refused(photos, tmp_path):
    shutil.rmtree(photos / "testB")
    config = pair_config(photos, eval={"every_steps": 2})
    with pytest.raises(ConfigError, match=r"10 of A, 0 of B.*`i2i data prepare`"):
        start_run(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("network")
def test_one_translation_has_no_distribution(photo_root):
    config = pair_config(photo_root, eval={"every_steps": 2, "count": 1})
    with pytest.raises(DataError, match=r"1 of A and 10 of B: raise eval\.count"):
        open_session(config)


def test_truth_asked_of_a_set_without_is_refused(photo_root):
    config = pair_config(photo_root, eval={"every_steps": 2, "metrics": ("truth",)})
    with pytest.raises(ConfigError, match=r"eval\.metrics has truth, but .*demo set"):
        open_session(config)


def test_truth_of_another_size_is_refused_at_the_start(truth_root, tmp_path):
    root = shutil.copytree(truth_root, tmp_path / "data")
    Image.new("RGB", (30, 24)).save(root / "testA_truth/01.png")
    with pytest.raises(DataError, match=r"01\.png is 24x24 and its truth .*01\.png 30x24"):
        open_session(pair_config(root, eval={"every_steps": 2}))


@pytest.mark.usefixtures("network")
def test_unreadable_test_picture_is_left_out_and_named(photos):
    (photos / "testA/00.png").write_bytes(b"no picture")
    told = collect_messages()
    session = open_session(pair_config(photos, eval={"every_steps": 1}))
    assert session.measurer.protocol == "9 of A against 10 of B, clean"
    assert any("left out of the measurements" in text and "00.png" in text for text in told)
    strict = pair_config(photos, data={"corrupt": "error"}, eval={"every_steps": 1})
    with pytest.raises(DataError, match=r"00\.png"):
        open_session(strict)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"metrics": ()}, "at least 1 item"),
        ({"metrics": ("fid", "fid")}, "each metric once"),
        ({"metrics": ("auto", "kid")}, "alone"),
        ({"stop": True, "patience": 0}, r"eval\.patience above 0"),
    ],
)
def test_senseless_measurements_are_refused(values, fault):
    with pytest.raises(ValueError, match=fault):
        EvalConfig.model_validate(values)


# The numbers


def test_run_measures_the_distance_of_its_translations(photo_root, tmp_path, network):
    config = pair_config(photo_root, steps=4, eval={"every_steps": 4, "count": 6})
    watcher = Watcher()
    start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    line = metrics(tmp_path / "run")[-1]
    translator = load_translator(tmp_path / "run", device="cpu")
    names = sorted(path.name for path in (photo_root / "testA").iterdir())
    chosen = evenly_spaced(names, count=6)
    made = [to_8_bits(np.asarray(translator.translate(photo_root / "testA" / n))) for n in chosen]
    real = [read_picture(path).pixels for path in sorted((photo_root / "testB").iterdir())]
    resize = build_resizer("clean")
    of_real, of_made = (
        np.concatenate([look(prepare(pixels, resize)[None]).numpy() for pixels in pictures])
        for pictures in (real, made)
    )
    assert line["eval/fid"] == pytest.approx(fid(of_real, of_made)[0], rel=1e-4)
    assert line["eval/kid"] == pytest.approx(kid(of_real, of_made), rel=1e-4)
    assert line["protocol"] == "6 of A against 10 of B, clean"
    assert network == [10, 6]
    assert "protocol" not in watcher.lines[-1]
    assert any(
        "FID and KID (clean) of 6 translations against 10 test pictures of B" in note
        and "fewer than 2,048" in note
        for note in watcher.notes
    )


def evaluated(i2i, *words):
    """Return the numbers that `i2i eval` prints."""
    code, out, err = i2i("eval", *words, "--device", "cpu", "--json")
    assert code == 0, err
    return json.loads(out)["metrics"]


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("mode", ["clean", "legacy_pytorch"])
def test_a_run_logs_the_distances_that_eval_gives_for_its_checkpoint(
    photo_root, tmp_path, i2i, mode
):
    limits = {"every_steps": 2, "metrics": ("fid", "kid"), "mode": mode}
    start_run(pair_config(photo_root, steps=2, eval=limits), run_dir=tmp_path / "run")
    line = metrics(tmp_path / "run")[-1]
    words = ("--fid", "--kid", "--mode", mode)
    found = evaluated(i2i, tmp_path / "run", *words)
    assert found["fid"]["counts"] == {"real": 10, "fake": 10}
    for name in ("fid", "kid"):
        assert line[f"eval/{name}"] == pytest.approx(found[name]["value"], rel=1e-6)


def test_a_run_logs_the_error_that_eval_gives_for_its_checkpoint(truth_root, tmp_path, i2i):
    start_run(pair_config(truth_root, eval={"every_steps": 2}), run_dir=tmp_path / "run")
    line = metrics(tmp_path / "run")[-1]
    truth = evaluated(i2i, tmp_path / "run", "--truth-error")["truth"]
    assert line["eval/truth_total"] == truth["value"]
    assert line["eval/truth_inside"] == truth["parts"]["inside"]
    assert line["eval/truth_outside"] == truth["parts"]["outside"]


def test_a_segmenters_run_logs_the_scores_that_eval_gives_for_its_checkpoint(tmp_path, i2i):
    root = write_labelled(tmp_path / "labelled", size=(40, 32))
    crop = ("data.crop=32", "data.preprocess=crop", "data.batch_size=2")
    words = ("method.backbone=resnet18", f"data.root={root}", f"labels.ignore={IGNORED}")
    config = configure_run("danet", [*words, *crop, "train.steps=2", "eval.every_steps=2"])
    start_run(config, run_dir=tmp_path / "run")
    line = metrics(tmp_path / "run")[-1]
    found = evaluated(i2i, tmp_path / "run", "--seg")
    for name in ("mean_iou", "pixel_accuracy", "class_accuracy"):
        assert line[f"eval/{name}"] == found[name]["value"]
    assert line["eval/iou_error"] == 1 - found["mean_iou"]["value"]


def test_real_pictures_are_looked_at_once(photo_root, tmp_path, network):
    start_run(pair_config(photo_root, eval={"every_steps": 2}), run_dir=tmp_path / "run")
    assert network[0] == 10
    assert set(network[1:]) == {10}
    assert len(network) == 1 + len(measured(tmp_path / "run", "eval/fid"))


@pytest.mark.usefixtures("network")
def test_best_checkpoint_is_that_of_the_first_metric(photo_root, tmp_path):
    config = pair_config(photo_root, eval={"every_steps": 1, "metrics": ("kid", "fid")})
    start_run(config, run_dir=tmp_path / "run")
    values = measured(tmp_path / "run", "eval/kid")
    best = load_checkpoint(tmp_path / "run/checkpoints/best.pt")
    assert best.step == min(values, key=lambda step: values[step])
    assert best.best == {
        "name": "eval/kid",
        "value": min(values.values()),
        "step": best.step,
        "protocol": "10 of A against 10 of B, clean",
    }


def assert_runs_alike(root, folder, **sections):
    """Assert that a run that measures every step, `busy`, ends as one does that never measures."""
    states = []
    for name, every in (("plain", 0), ("busy", 1)):
        limits = {"every_steps": every, "count": 4}
        config = pair_config(root, method={"dropout": 0.5}, eval=limits, **sections)
        start_run(config, run_dir=folder / name)
        state = state_of(folder / name)
        del state["config"], state["best"]
        states.append(state)
    assert_same(*states)


@pytest.mark.usefixtures("network")
def test_measuring_distances_does_not_change_the_run(photo_root, tmp_path):
    assert_runs_alike(photo_root, tmp_path)


# The best, and the advice to stop


def board_of(*values, name="eval/fid"):
    points = [Point(10 * (i + 1), {name: value}) for i, value in enumerate(values)]
    return Scoreboard(name, "10 of A", points)


def test_lower_is_better_and_a_tie_is_not():
    best = board_of(5.0).improved({})
    assert best == {"name": "eval/fid", "value": 5.0, "step": 10, "protocol": "10 of A"}
    assert board_of(5.0, 5.0).improved(best) is None
    assert board_of(5.0, float("nan")).improved(best) is None
    assert (board_of(5.0, 4.0).improved(best) or {})["step"] == 20


def test_stall_is_counted_from_the_best_step():
    board, best = board_of(5, 4, 6, 6, 6), {"value": 4.0, "step": 20}
    assert board.stall(best, patience=4) is None
    alarm = board.stall(best, patience=3)
    assert alarm.saw == "no gain in eval/fid since step 20 (4), in 3 measurements"
    assert board.stall(best, patience=0) is None


def test_board_reads_the_lines_of_its_own_protocol():
    board = Scoreboard("eval/fid", "10 of A")
    board.read(
        [
            {"step": 1, "eval/fid": 3.0, "protocol": "10 of A"},
            {"step": 1, "generator/gan": 1.0},
            {"step": 2, "eval/fid": 2.0, "protocol": "9 of A"},
        ]
    )
    assert board.points == [Point(1, {"eval/fid": 3.0})]
    assert board.is_comparable({})
    assert not board.is_comparable({"name": "eval/fid", "value": 1.0, "protocol": "9 of A"})


@pytest.fixture
def falling(monkeypatch):
    """Let errors fall until the fourth measurement, and rise from then on."""

    def scores(*_, **__):
        return {"eval/truth_total": next(values)}

    values = iter([0.5, 0.4, 0.3, 0.2, 0.3, 0.4, 0.5, 0.1, 0.3, 0.3, 0.3])
    monkeypatch.setattr(Measurer, "measure", scores)


@pytest.mark.usefixtures("falling")
def test_lack_of_gain_is_said_once_until_there_is_one(truth_root, tmp_path):
    watcher = Watcher()
    config = pair_config(truth_root, steps=10, eval={"every_steps": 1, "patience": 2})
    start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    said = [line for line in metrics(tmp_path / "run") if {"alarm", "cleared"} & set(line)]
    assert [(line["step"], "alarm" in line) for line in said] == [(6, True), (8, False), (10, True)]
    assert said[0]["saw"] == "no gain in eval/truth_total since step 4 (0.2), in 2 measurements"
    notes = [note for note in watcher.notes if "no-improvement" in note]
    assert "best.pt holds that step" in notes[0]
    assert notes[1] == "step 8: alarm cleared: no-improvement"
    assert state_of(tmp_path / "run")["step"] == 10


@pytest.mark.usefixtures("falling")
def test_run_stops_for_want_of_gain_where_it_is_told_to(truth_root, tmp_path):
    watcher = Watcher()
    limits = {"every_steps": 1, "patience": 2, "stop": True}
    config = pair_config(truth_root, steps=10, eval=limits)
    result = start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    assert result.step == 6
    assert state_of(tmp_path / "run")["step"] == 6
    assert load_checkpoint(tmp_path / "run/checkpoints/best.pt").step == 4
    assert any("stopped after step 6 of 10, for want of gain" in note for note in watcher.notes)


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("at", [1, 6])
def test_interrupted_run_measures_and_advises_like_the_uninterrupted_one(photo_root, tmp_path, at):
    config = pair_config(
        photo_root,
        steps=9,
        method={"dropout": 0.5, "optimizer": {"lr": 0.3}},
        eval={"every_steps": 2, "count": 4, "patience": 1},
    )
    start_run(config, run_dir=tmp_path / "through")
    with pytest.raises(Interrupted):
        start_run(
            config, run_dir=tmp_path / "run", reporter=Watcher(at=at, act=send(signal.SIGTERM))
        )
    resume_run(tmp_path / "run")
    assert "alarm" in {key for line in metrics(tmp_path / "through") for key in line}
    assert metrics(tmp_path / "through") == metrics(tmp_path / "run")
    assert_same(state_of(tmp_path / "through"), state_of(tmp_path / "run"))
    curves = [(tmp_path / name / "curve.png").read_bytes() for name in ("through", "run")]
    assert curves[0] == curves[1]


def no_folder(**_):
    raise OSError(errno.ENOSPC, "No space left on device")


def no_room(*_):
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as fault:
        raise_if_hopeless(fault, "0.png")


@pytest.mark.parametrize(
    ("name", "fails"), [("TemporaryDirectory", no_folder), ("translate_plan", no_room)]
)
def test_a_run_goes_on_without_a_measurement_that_finds_no_room(truth_root, tmp_path, name, fails):
    config = pair_config(truth_root, steps=4, eval={"every_steps": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"i2icli.evaluation.measure.{name}", fails)
        watcher = Watcher(at=3, act=patch.undo)
        start_run(config, run_dir=tmp_path / "run", reporter=watcher)
    assert list(measured(tmp_path / "run", "eval/truth_total")) == [4]
    assert state_of(tmp_path / "run")["best"]["step"] == 4
    assert (
        watcher.notes.count(
            "not measured this time, since translations cannot be written to the temporary folder "
            "(No space left on device): make room, or point TMPDIR elsewhere"
        )
        == 1
    )


def test_a_picture_that_is_gone_is_not_called_want_of_room(truth_root, tmp_path, monkeypatch, said):
    def gone(*_):
        try:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        except FileNotFoundError:
            raise DataError("testA/00.png is gone") from None

    monkeypatch.setattr("i2icli.evaluation.measure.translate_plan", gone)
    config = pair_config(truth_root, steps=2, eval={"every_steps": 2})
    with pytest.raises(DataError, match=r"testA/00\.png is gone"):
        start_run(config, run_dir=tmp_path / "run")
    assert not any("make room" in text for text in said)


def test_best_of_another_protocol_is_not_compared(truth_root, tmp_path):
    config = pair_config(truth_root, steps=4, eval={"every_steps": 2, "count": 2})
    start_run(config, run_dir=tmp_path / "run")
    path = tmp_path / "run/config.toml"
    path.write_text(path.read_text().replace("count = 2\nmetrics", "count = 1\nmetrics"))
    watcher = Watcher()
    resume_run(tmp_path / "run", steps=6, reporter=watcher)
    assert any("what is measured changed (1 of A against their truth)" in n for n in watcher.notes)
    best = state_of(tmp_path / "run")["best"]
    assert best["step"] == 6
    assert best["protocol"] == "1 of A against their truth"


# The curve


def test_curve_is_drawn_after_every_measurement(truth_root, tmp_path):
    start_run(pair_config(truth_root, eval={"every_steps": 2}), run_dir=tmp_path / "run")
    with Image.open(tmp_path / "run/curve.png") as picture:
        assert picture.width > 500
    assert not list((tmp_path / "run").glob(".curve*"))


@pytest.mark.parametrize("values", [(3.0,), (3.0, 2.0, 2.5), (1.0, float("nan"), 2.0)])
def test_curve_of_any_length_is_drawn(tmp_path, values):
    board = board_of(*values)
    draw_curve(tmp_path, board, {"name": "eval/fid", "value": min(values), "step": 10})
    assert (tmp_path / "curve.png").stat().st_size > 5000


# With the real network


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Make the user's own weights those of the test, and nothing else of theirs."""
    home = os.environ.get("I2I_INCEPTION_HOME")
    if home is None:
        pytest.skip("I2I_INCEPTION_HOME names no folder with Inception weights")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/weights").symlink_to(Path(home) / "weights")
    monkeypatch.setenv("I2I_HOME", str(tmp_path / "home"))


@pytest.mark.slow
@pytest.mark.usefixtures("weights")
def test_run_measures_with_the_real_network_and_is_not_changed_by_it(photo_root, tmp_path):
    assert_runs_alike(photo_root, tmp_path, steps=2)
    values = measured(tmp_path / "busy", "eval/fid")
    assert list(values) == [1, 2]
    assert all(value > 0 for value in values.values())
