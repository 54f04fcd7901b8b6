import pytest
import torch
from tiny import CLASSES, batch_for, tiny_config, tiny_method

from i2icli.config.method import SGDConfig, Task
from i2icli.data.batch import LabelledBatch
from i2icli.errors import ConfigError
from i2icli.losses.segmentation import label_loss
from i2icli.methods import METHODS, build_method
from i2icli.methods.shared.views import ChannelView, PositionView, ScaleView
from i2icli.networks.dilated_resnet import DilatedResnet

NAMES = [name for name, method in METHODS.items() if method.data == "labelled"]


def test_both_segment():
    assert sorted(NAMES) == ["attention-to-scale", "danet"]


@pytest.mark.parametrize("name", NAMES)
def test_translation_is_the_label_map_and_its_colours(name):
    method = tiny_method(name).eval()
    with torch.inference_mode():
        made = method.translate(batch_for(name).images)
    assert made.labels.dtype == torch.int64
    assert made.labels.shape == (2, 32, 32)
    assert int(made.labels.max()) < CLASSES
    colours = torch.tensor(method.task.colours)
    drawn = ((made.images + 1) * 127.5).round().long().permute(0, 2, 3, 1)
    assert torch.equal(drawn, colours[made.labels])


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_without_labels_changes_nothing_but_norms(name):
    method = tiny_method(name)
    given = batch_for(name)
    empty = LabelledBatch(given.images, torch.full_like(given.labels, 255))
    ((player, terms),) = method.losses(empty)
    assert all(float(term.detach()) == 0 for term in terms.values())
    gradients = torch.autograd.grad(sum(terms.values()), method.players[player].trainable())
    assert all(bool((gradient == 0).all()) for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_learns_ten_times_as_fast_by_sgd(name):
    player = tiny_method(name).players["segmenter"]
    assert isinstance(player.optimizer, SGDConfig)
    assert player.rates == (1.0, 10.0)
    assert player.optimizer.momentum == 0.9
    assert player.schedule.policy == "poly"


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_classes_must_be_known(name):
    config = tiny_config(name)
    unknown = config.model_copy(update={"labels": config.labels.model_copy(update={"classes": 0})})
    with pytest.raises(ConfigError, match=r"labels\.classes is 0"):
        build_method(unknown)


@pytest.mark.parametrize("name", NAMES)
def test_grey_drawings_are_refused(name):
    config = METHODS[name].Config()
    with pytest.raises(ValueError, match=r"data\.channels_b == 3, got 1"):
        METHODS[name](config, Task(channels_b=1, classes=3))


@pytest.mark.parametrize("name", NAMES)
def test_a_new_run_starts_from_the_weights_that_are_named(name):
    assert tiny_method(name).starts_from == ()
    assert tiny_method(name, backbone_weights="imagenet").starts_from == ("resnet18",)
    method = tiny_method(name, backbone_weights="mine.pth")
    assert method.starts_from == ("mine.pth",)
    weights = DilatedResnet("resnet18").state_dict()
    method.start_from({"mine.pth": weights})
    state = method.state_dict()
    assert all(torch.equal(state[f"backbone.{key}"], value) for key, value in weights.items())
    wrong = DilatedResnet("resnet34").state_dict()
    del wrong["conv1.weight"]
    with pytest.raises(ValueError, match=r"the weights mine\.pth do not fit .* lack conv1"):
        method.start_from({"mine.pth": wrong})


@pytest.mark.parametrize(("name", "least"), [("danet", 16), ("attention-to-scale", 32)])
def test_crops_too_small_for_batch_norm_are_refused(name, least):
    config = tiny_config(name)
    sides = {"crop": least, "batch_size": 1}
    enough = config.model_copy(update={"data": config.data.model_copy(update=sides)})
    method = build_method(enough)
    ((player, terms),) = method.losses(batch_for(name, count=1, size=least))
    torch.autograd.grad(sum(terms.values()), method.players[player].trainable())
    sides["crop"] = least - 1
    small = config.model_copy(update={"data": config.data.model_copy(update=sides)})
    with pytest.raises(ConfigError, match=f"crops need {least} pixels or more"):
        build_method(small)


def test_danet_adds_the_losses_of_three_scores():
    method, given = tiny_method("danet").eval(), batch_for("danet")
    ((_, terms),) = method.losses(given)
    assert list(terms) == ["fused", "position", "channel"]
    scores = method.head(method.backbone(given.images))
    for term, part in zip(terms.values(), scores, strict=True):
        large = torch.nn.functional.interpolate(part, (32, 32), mode="bilinear", align_corners=True)
        torch.testing.assert_close(term, label_loss(large, given.labels, ignore=255))


def test_attention_to_scale_supervises_every_scale():
    ((_, terms),) = tiny_method("attention-to-scale").losses(batch_for("attention-to-scale"))
    assert list(terms) == ["merged", "scale_1", "scale_0.75", "scale_0.5"]
    plain = tiny_method("attention-to-scale", lambda_scales=0.0)
    ((_, terms),) = plain.losses(batch_for("attention-to-scale"))
    assert list(terms) == ["merged"]


def test_scale_classifier_tells_merged_features_and_scales_apart():
    name = "attention-to-scale"
    method = tiny_method(name, scale_classifier="on", lambda_classifier=0.5).eval()
    ((player, terms),) = method.losses(batch_for(name))
    assert method.scale_classifier is not None
    features = [
        method.backbone(
            torch.nn.functional.interpolate(
                batch_for(name).images, size=(side, side), mode="bilinear", align_corners=True
            )
        )
        for side in (32, 24, 16)
    ]
    scores = method.head(features)
    parts = [scores.merged_features(), *scores.features]
    expected = sum(
        -method.scale_classifier(part).log_softmax(dim=1)[:, answer].mean()
        for answer, part in enumerate(parts)
    )
    torch.testing.assert_close(terms["scale_classifier"], 0.5 * expected / 4)
    weights = method.players[player].trainable()
    assert method.players[player].rates == (1.0, 10.0, 10.0)
    gradients = torch.autograd.grad(sum(terms.values()), weights)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("scales", [(0.5, 1.0), (0.5,), (1.0, 1.0), (), (1.0, 0.1)])
def test_scales_begin_with_the_picture_itself_and_fall(scales):
    with pytest.raises(ValueError, match="must begin with 1 and fall"):
        METHODS["attention-to-scale"].Config.model_validate({"scales": scales})


def test_danet_shows_both_attentions():
    method = tiny_method("danet").eval()
    images = batch_for("danet").images
    views = method.views(images)
    assert len(views) == 2
    position, channel = views[0]
    assert (type(position), type(channel)) == (PositionView, ChannelView)
    features = method.backbone(images[:1])
    weights = method.head.sa.weights(method.head.conv5a(features))[0]
    rows = position.map_rows(torch.tensor([0, 5]))
    torch.testing.assert_close(rows.flatten(1), weights[[0, 5]].detach())
    torch.testing.assert_close(channel.weights.sum(dim=1), torch.ones(len(channel.weights)))
    assert channel.channels.shape == (len(channel.numbers), 4, 4)


def test_attention_to_scale_shows_the_weights_of_its_scales():
    method = tiny_method("attention-to-scale").eval()
    ((view,), _) = method.views(batch_for("attention-to-scale").images)
    assert isinstance(view, ScaleView)
    assert view.scales == (1.0, 0.75, 0.5)
    torch.testing.assert_close(view.weights.sum(dim=0), torch.ones(4, 4))
