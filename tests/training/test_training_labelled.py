import shutil

import pytest
import torch
from engine_kit import assert_same_end, interrupt
from labelled_folders import write_labelled
from narrow import narrow_resnet18
from near_worker import near_workers
from plain_data import assert_same

from i2icli.config.schedule import Moment
from i2icli.errors import ConfigError, DataError, WeightsError
from i2icli.methods.shared.configure import run_schema
from i2icli.networks.dilated_resnet import DilatedResnet
from i2icli.pretrained.networks import load_table
from i2icli.runs.checkpoint import load_checkpoint, save_checkpoint
from i2icli.system.messages import collect_messages
from i2icli.training.run import resume_run, start_run
from i2icli.training.session import open_session
from i2icli.translation.translator import load_translator


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.models.resnet18", narrow_resnet18)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("labelled"), size=(40, 32))


def labelled_config(root, **sections):
    document = {
        "method": {"name": "danet", "backbone": "resnet18", "optimizer": {"lr": 0.01}},
        "data": {
            "root": None if root is None else str(root),
            "preprocess": "random-scale-and-crop",
            "resize": 40,
            "crop": 32,
            "batch_size": 2,
        },
        "labels": {"ignore": 9},
        "train": {"steps": 5},
        "checkpoint": {"every_steps": 2},
        "samples": {"every_steps": 0},
        "log": {"every_steps": 2, "tensorboard": "off"},
        "runtime": {"device": "cpu", "precision": "float32", "workers": 0},
    }
    for name, section in sections.items():
        document.setdefault(name, {}).update(section)
    return run_schema().model_validate({"preset": "tiny", **document})


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """Return the folder of a run of two steps, to be read only."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    start_run(labelled_config(root, train={"steps": 2}), run_dir=folder)
    return folder


@pytest.mark.parametrize(("at", "workers"), [(1, 0), (3, 2)])
@pytest.mark.parametrize("name", ["danet", "attention-to-scale"])
def test_interrupted_run_ends_like_the_uninterrupted_one(root, tmp_path, name, at, workers):
    # Dropout is on, and every norm has statistics.
    config = labelled_config(
        root,
        method={"name": name, "dropout": 0.3},
        ema={"decay": 0.9},
        eval={"every_steps": 2},
        runtime={"workers": workers},
    )
    start_run(config, run_dir=tmp_path / "through")
    interrupt(config, tmp_path / "run", at=at)
    resume_run(tmp_path / "run")
    assert_same_end(tmp_path / "through", tmp_path / "run")


def test_checkpoint_holds_the_counted_classes_and_translates_alone(trained):
    translator = load_translator(trained, device="cpu")
    assert translator.config.labels.classes == 4
    assert translator.method.task.ignore == 9
    assert len(translator.method.task.colours) == 4


def test_mean_iou_is_measured_and_chooses_the_best(root, tmp_path):
    config = labelled_config(root, train={"steps": 4}, eval={"every_steps": 2})
    result = start_run(config, run_dir=tmp_path / "run")
    lines = [line for line in result.folder.read_metrics() if "eval/mean_iou" in line]
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        assert line["eval/iou_error"] == pytest.approx(1 - line["eval/mean_iou"])
        assert 0 <= line["eval/pixel_accuracy"] <= 1
    best = load_checkpoint(result.folder.best).best
    assert best["name"] == "eval/iou_error"
    assert best["value"] == min(line["eval/iou_error"] for line in lines)
    assert best["protocol"] == "mean IoU of 5 pictures, 4 classes, 9 ignored"


def test_metrics_of_translations_are_refused(root):
    config = labelled_config(
        root, labels={"classes": 4}, eval={"every_steps": 2, "metrics": ["fid"]}
    )
    with pytest.raises(ConfigError, match="a segmenter is measured by mean IoU"):
        open_session(config)


def test_measuring_needs_labelled_tests(root, tmp_path):
    plain = {"root": None, "domain_a": str(root / "train"), "domain_b": str(root / "trainannot")}
    config = labelled_config(root, data=plain, labels={"classes": 4}, eval={"every_steps": 2})
    with pytest.raises(ConfigError, match=r"no labelled test pictures: put some into val/"):
        start_run(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_data_one_sentence_says_what_is_needed(tmp_path):
    with pytest.raises(
        ConfigError, match=r"learns from labelled pictures, .* with --data DIR, train with the"
    ):
        start_run(labelled_config(None), run_dir=tmp_path / "run")


def test_meaning_of_the_labels_is_fixed(trained, tmp_path):
    toml = shutil.copytree(trained, tmp_path / "run") / "config.toml"
    toml.write_text(toml.read_text().replace("ignore = 9", "ignore = 8"))
    with pytest.raises(ConfigError, match=r"labels\.ignore \(was 9, now 8\)"):
        resume_run(tmp_path / "run", steps=4)


def test_changed_label_maps_stop_a_run(tmp_path):
    root = write_labelled(tmp_path / "set", size=(40, 32))
    start_run(labelled_config(root, train={"steps": 2}), run_dir=tmp_path / "run")
    for folder in ("train", "trainannot"):
        (root / folder / "train_0.png").unlink()
    with pytest.raises(DataError, match="domain A had 5 pictures and now has 4"):
        resume_run(tmp_path / "run", steps=4)


def test_head_and_backbone_have_their_rates(root):
    session = open_session(labelled_config(root, labels={"classes": 4}))
    stepper = session.steppers["segmenter"]
    assert isinstance(stepper.optimizer, torch.optim.SGD)
    stepper.set_learning_rate(Moment(1, session.data.steps_per_epoch))
    assert [group["lr"] for group in stepper.optimizer.param_groups] == [0.01, 0.1]
    stepper.set_learning_rate(Moment(241, session.data.steps_per_epoch))
    rate = 0.01 * (1 - 240 / 480) ** 0.9
    assert [group["lr"] for group in stepper.optimizer.param_groups] == pytest.approx(
        [rate, 10 * rate]
    )


def test_run_starts_from_a_file_of_weights_once(root, tmp_path):
    file = tmp_path / "backbone.pth"
    weights = DilatedResnet("resnet18").state_dict()
    torch.save(weights, file)
    config = labelled_config(
        root, method={"backbone_weights": str(file), "optimizer": {"lr": 1e-12}}, train={"steps": 1}
    )
    start_run(config, run_dir=tmp_path / "run")
    file.unlink()
    trained = load_checkpoint(tmp_path / "run/checkpoints/last.pt").weights
    torch.testing.assert_close(trained["backbone.conv1.weight"], weights["conv1.weight"])
    resume_run(tmp_path / "run", steps=2)


def test_missing_weights_are_said_before_there_is_a_folder(root, tmp_path):
    for chosen, said in (("imagenet", "i2i weights get resnet18"), ("none.pth", "neither a file")):
        config = labelled_config(root, method={"backbone_weights": chosen})
        with pytest.raises(WeightsError, match=said):
            start_run(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_the_same(root):
    from i2icli.bench.plan import plan_run

    with near_workers():
        plan = plan_run(labelled_config(root), preset="danet")
    assert plan.pictures == {"a": 5, "b": 5}
    assert plan.config["labels"]["classes"] == 4
    assert plan.phases[0].augmentation.startswith("scale the longer side to 20 - 80 (bicubic)")
    with pytest.raises(WeightsError, match="i2i weights get resnet18"):
        plan_run(labelled_config(root, method={"backbone_weights": "imagenet"}), preset="danet")


def test_weights_of_another_network_are_refused(root, tmp_path):
    file = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, file)
    config = labelled_config(root, method={"backbone_weights": str(file)})
    with pytest.raises(ConfigError, match=r"other\.pth do not fit this backbone: .*conv1\.weight"):
        start_run(config, run_dir=tmp_path / "run")


def test_a_file_without_sums_is_taken_and_said_and_whole_numbers_are_no_weights(tmp_path):
    weights, file = DilatedResnet("resnet18").state_dict(), tmp_path / "backbone.pth"
    torch.save(weights, file, _use_new_zipfile_serialization=False)
    messages = collect_messages()
    assert load_table(str(file)).keys() == weights.keys()
    assert messages[0].startswith(f"note: {file} has no sums of its own")
    torch.save({**weights, "conv1.weight": weights["conv1.weight"].int()}, file)
    with pytest.raises(WeightsError, match=r"conv1\.weight has the type torch\.int32"):
        load_table(str(file))


def test_drawings_of_label_maps_raise_no_alarm(root, tmp_path):
    config = labelled_config(
        root,
        train={"steps": 2},
        samples={"every_steps": 1, "count": 2},
        health={"warmup_steps": 0, "saturation": 0.0, "collapse": 5.0},
    )
    result = start_run(config, run_dir=tmp_path / "run")
    assert [line for line in result.folder.read_metrics() if "alarm" in line] == []
    assert result.folder.sample(2).is_file()


def test_norms_are_part_of_the_state(trained, tmp_path):
    state = load_checkpoint(trained / "checkpoints/last.pt")
    assert int(state.weights["backbone.bn1.num_batches_tracked"]) == 2
    assert not torch.equal(state.weights["backbone.bn1.running_mean"], torch.zeros(64))
    save_checkpoint(tmp_path / "copy.pt", state)
    assert_same(vars(load_checkpoint(tmp_path / "copy.pt")), vars(state))
