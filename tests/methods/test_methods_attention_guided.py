import copy

import pytest
import torch
from picture_folders import PICTURES
from tiny import TinyVGG, tiny_batch, tiny_config, tiny_method

from i2icli.config.document import config_document
from i2icli.config.method import StructureConfig
from i2icli.data.batch import Batch
from i2icli.methods import build_method, configure_run
from i2icli.methods.attention_guided import AttentionGuidedConfig
from i2icli.methods.shared.configure import run_schema
from i2icli.methods.shared.draws import Draws
from i2icli.runs.checkpoint import load_checkpoint
from i2icli.training.optimizers import build_steppers
from i2icli.training.run import resume_run, start_run
from i2icli.training.step import train_step

NAME = "attention-guided"
EPOCH = PICTURES  # steps
CPU = torch.device("cpu")


class ScriptedDraws(Draws):
    """Answers pool decisions from a list, the same for both sides of a comparison."""

    def __init__(self, slots):
        super().__init__()
        self._slots = iter(slots)

    def swap(self, name, *, size):
        return next(self._slots)


def guided(**changes):
    return tiny_method(NAME, **changes)


def batches(count, *, pictures=1):
    found = [tiny_batch(pictures, seed=seed) for seed in range(count)]
    return [Batch(b.real_a.double(), b.real_b.double()) for b in found]


# The definition of a step, after the released code's own order of updates.


class Definition:
    """The released updates on copies of a method's networks, one optimizer a player."""

    def __init__(self, method, slots):
        nets = copy.deepcopy(method)
        self.attend = {"a": nets.translator_ab.attention, "b": nets.translator_ba.attention}
        self.make = {"b": nets.translator_ab.generator, "a": nets.translator_ba.generator}
        self.judge = {"a": nets.discriminator_a, "b": nets.discriminator_b}
        self.config, self.slots = nets.config, iter(slots)
        self.pools = {"a": [], "b": []}
        self.networks = nets
        self.adam = {
            name: torch.optim.Adam(self.weights(name), lr=1e-3, betas=(0.5, 0.999))
            for name in ("G_a", "G_b", "D_a", "D_b")
        }

    def weights(self, name):
        kind, domain = name.split("_")
        if kind == "D":
            return list(self.judge[domain].parameters())
        source = "a" if domain == "b" else "b"
        return [*self.make[domain].parameters(), *self.attend[source].parameters()]

    def forward(self, real):
        """Return masks, translations and cycles of both domains, as one graph."""
        m = {d: self.attend[d](real[d]) for d in "ab"}
        fake = {
            "b": m["a"] * self.make["b"](real["a"]) + (1 - m["a"]) * real["a"],
            "a": m["b"] * self.make["a"](real["b"]) + (1 - m["b"]) * real["b"],
        }
        again = {d: self.attend[d](fake[d]) for d in "ab"}
        cycle = {
            "a": again["b"] * self.make["a"](fake["b"]) + (1 - again["b"]) * fake["b"],
            "b": again["a"] * self.make["b"](fake["a"]) + (1 - again["a"]) * fake["a"],
        }
        return {f"{k}_{d}": v[d] for k, v in zip("mfc", (m, fake, cycle), strict=True) for d in v}

    def logits(self, domain, image, mask, tau):
        return self.judge[domain](image * (mask >= tau).double())

    def update(self, name, loss, *, frozen):
        kind, domain = name.split("_")
        weights = self.weights(name)
        if frozen and kind == "G":
            weights = list(self.make[domain].parameters())
        weights = [w for w in weights if w.requires_grad]
        self.adam[name].zero_grad()
        torch.autograd.backward(loss, inputs=weights)
        self.adam[name].step()

    def step(self, batch, *, switched):
        real = {"a": batch.real_a, "b": batch.real_b}
        tau = 0.1 if switched else 0.0
        losses = {}
        for target, source in (("b", "a"), ("a", "b")):
            x = self.forward(real)
            fake, mask = x[f"f_{target}"], x[f"m_{source}"]
            gan = ((self.logits(target, fake, mask, tau) - 1) ** 2).mean()
            cycles = sum(10 * (x[f"c_{d}"] - real[d]).abs().mean() for d in "ab")
            losses[f"G_{target}"] = float((gan + cycles).detach())
            self.update(f"G_{target}", gan + cycles, frozen=switched)

            shown = self.exchange(target, {"im": fake.detach(), "mask": mask.detach()})
            real_mask = self.attend[target](real[target])
            on_real = self.logits(target, real[target], real_mask, tau)
            on_fake = self.logits(target, shown["im"], shown["mask"], tau)
            loss = 0.5 * (((on_real - 1) ** 2).mean() + (on_fake**2).mean())
            losses[f"D_{target}"] = float(loss.detach())
            self.update(f"D_{target}", loss, frozen=switched)
        return losses

    def exchange(self, domain, new):
        pool = self.pools[domain]
        if len(pool) < self.config.pool_size:
            pool.append(new)
            return new
        slot = next(self.slots)
        if slot is None:
            return new
        old, pool[slot] = pool[slot], new
        return old

    def switch(self):
        for domain in "ab":
            self.attend[domain].requires_grad_(False)
            self.judge[domain].is_normed = False
            for name, weight in self.judge[domain].named_parameters():
                weight.requires_grad_("norm" not in name)


def prepared(method):
    """Spread attention around the threshold, and the first biases of the judges around 0.

    What is background gives the bias alone once norms are off; at 0 rounding would decide on
    which side of the leaky ReLU it falls.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for translator in (method.translator_ab, method.translator_ba):
            last = translator.attention.decoder[2].conv
            last.weight.mul_(20)
            last.bias.fill_(-3.0)
        for judge in (method.discriminator_a, method.discriminator_b):
            bias = judge.inner[0].conv.bias
            bias.copy_(0.1 * torch.randn(bias.shape, generator=generator))
    return method


def test_five_steps_across_the_switch_equal_the_definition():
    slots = [1, None, 0, 1, 0, 1, None, 0]
    method = prepared(guided(pool_size=2, switch_epoch=2, optimizer={"lr": 1e-3}).double())
    method.draws = ScriptedDraws(slots)
    expected = Definition(method, slots)
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    for number, batch in enumerate(batches(5)):
        switched = number >= 2  # an epoch a step: 1, 2, then the switch
        method.start_epoch(number + 1)
        if switched:
            expected.switch()
        done = train_step(method, batch, steppers, device=CPU, precision=torch.float32)
        ours = {name: float(sum(terms.values())) for name, terms in done.items()}
        theirs = expected.step(batch, switched=switched)
        names = {"generator_ab": "G_b", "discriminator_b": "D_b"}
        names |= {"generator_ba": "G_a", "discriminator_a": "D_a"}
        assert {names[k]: v for k, v in ours.items()} == pytest.approx(theirs, rel=1e-8)
    weights = expected.networks.state_dict()
    for name, weight in method.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-6, atol=1e-8, msg=name)


def test_masks_of_that_comparison_are_neither_empty_nor_full():
    method = prepared(guided().double())
    for batch in batches(5):
        for direction, images in (("a2b", batch.real_a), ("b2a", batch.real_b)):
            mask = method.translate(images, direction=direction).masks["attention"]
            assert 0.05 < (mask >= 0.1).double().mean() < 0.95


@pytest.mark.parametrize(("epoch", "switched"), [(1, False), (30, False), (31, True), (99, True)])
def test_switch_follows_from_the_epoch_alone(epoch, switched):
    method = guided()
    for _ in range(2):  # again, as on resume
        method.start_epoch(epoch)
        names = {name for name, weight in method.named_parameters() if not weight.requires_grad}
        every = [name for name, _ in method.named_parameters()]
        attention = {name for name in every if ".attention." in name}
        norms = {n for n in every if n.startswith("discriminator") and ".norm." in n}
        assert len(attention) > 8
        assert len(norms) == 16
        assert names == (attention | norms if switched else set())
        judges = (method.discriminator_a, method.discriminator_b)
        assert [judge.is_normed for judge in judges] == [not switched] * 2


def test_discriminators_can_keep_their_norms():
    method = guided(discriminator_norm_after_switch=True)
    method.start_epoch(31)
    assert method.discriminator_a.is_normed
    assert all(weight.requires_grad for weight in method.discriminator_b.parameters())


def shown_to(discriminator):
    # Picture by picture, whether they come together or not.
    seen = []
    handle = discriminator.register_forward_pre_hook(
        lambda _, args: seen.extend(args[0].detach().split(1))
    )
    yield seen
    handle.remove()


@pytest.mark.parametrize("threshold", [0.1, 0.0])
def test_discriminator_sees_the_foreground_alone_after_the_switch(threshold):
    method = prepared(guided(switch_epoch=1, threshold=threshold))
    seen = next(watch := shown_to(method.discriminator_b))
    batch = tiny_batch(1)
    for epoch in (1, 2):
        method.start_epoch(epoch)
        seen.clear()
        for _ in method.losses(batch):
            pass
        with torch.no_grad():
            fake, mask = method.translator_ab(batch.real_a)
            real_mask = method.translator_ba.attention(batch.real_b)
        whole = [fake, batch.real_b, fake]  # for the generator, then real and pool
        masks = [mask, real_mask, mask]
        tau = threshold if epoch == 2 else 0.0
        for images, image, where in zip(seen, whole, masks, strict=True):
            torch.testing.assert_close(images, image * (where >= tau))
    watch.close()


def test_every_weight_left_is_reached_after_the_switch():
    method = guided()
    method.start_epoch(31)
    for player, terms in method.losses(tiny_batch(2)):
        weights = method.players[player].trainable()
        gradients = torch.autograd.grad(sum(terms.values()), weights)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_every_player_counts_its_own_steps():
    # The released code's one Adam would count 1, 2, 3 and 4 in the first step.
    method = guided()
    steppers = build_steppers(method, device=CPU, precision=torch.float32)
    train_step(method, tiny_batch(1), steppers, device=CPU, precision=torch.float32)
    for stepper in steppers.values():
        assert stepper.optimizer is not None
        assert {float(s["step"]) for s in stepper.optimizer.state.values()} == {1.0}


def test_learning_rate_is_that_of_the_released_formula():
    schedule = AttentionGuidedConfig().schedule
    released = [1.0 if epoch < 50 else 1.0 - (epoch - 50) / 50 for epoch in range(100)]
    ours = [schedule.factor(epoch + 1) for epoch in range(100)]
    assert ours == pytest.approx(released, abs=1e-12)
    assert schedule.total_epochs == 100
    assert AttentionGuidedConfig().optimizer.lr == 1e-4


def test_translation_is_the_source_where_the_mask_is_0():
    method, images = guided(), tiny_batch(2).real_a
    with torch.no_grad():
        method.translator_ab.attention.decoder[2].conv.bias.fill_(-1000.0)
    translation = method.translate(images)
    assert torch.equal(translation.images, images)
    assert translation.masks["attention"].shape == (2, 1, 32, 32)
    assert translation.masks["attention"].max() == 0
    assert not torch.equal(method.translate(images, direction="b2a").images, images)


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_view_is_the_mask_of_the_translation_with_words_for_its_ends(direction):
    method, images = guided(), tiny_batch(2).real_a
    views = method.views(images, direction=direction)
    mask = method.translate(images, direction=direction).masks["attention"].detach()
    for (view,), expected in zip(views, mask, strict=True):
        torch.testing.assert_close(view.mask, expected[0])
        assert (view.low, view.high) == ("kept from the source", "translated")
        assert not view.mask.requires_grad


def test_pool_keeps_each_picture_with_its_mask():
    method = guided(pool_size=1)
    first, second = tiny_batch(1, seed=1), tiny_batch(1, seed=2)
    for _ in method.losses(first):
        pass
    (kept,) = method.memory()["pools"]["fake_b"]
    with torch.no_grad():
        fake, mask = method.translator_ab(first.real_a)
    torch.testing.assert_close(kept, torch.cat([fake, mask], dim=1)[0])
    method.draws = ScriptedDraws([0, 0])
    seen = next(watch := shown_to(method.discriminator_b))
    for _ in method.losses(second):
        pass
    torch.testing.assert_close(seen[2], fake)
    watch.close()


@pytest.mark.parametrize("kind", ["fixed", "learned"])
def test_structure_term_counts_in_both_directions(kind):
    document = config_document(tiny_config(NAME)) | {
        "structure": StructureConfig(kind=kind, patch_size=4, num_patches=8).model_dump(mode="json")
    }
    method = build_method(run_schema().model_validate(document))
    method.take_pretrained({"vgg16": TinyVGG()})
    turns = list(method.losses(tiny_batch(1)))
    own = ["generator_ab", "discriminator_b", "generator_ba", "discriminator_a"]
    assert list(method.players) == (["structure"] if kind == "learned" else []) + own
    assert [p for p, _ in turns if p != "structure"] == own
    assert [p for p, _ in turns].count("structure") == (2 if kind == "learned" else 0)
    names = {name for _, terms in turns for name in terms}
    assert names >= {"structure_a2b", "structure_b2a"}


def test_unequal_channels_are_refused():
    with pytest.raises(ValueError, match=r"data.channels_a == data.channels_b, got 3 and 1: where"):
        AttentionGuidedConfig().check_channels(3, 1)


def test_preset_has_the_data_of_the_released_code():
    config = configure_run(NAME)
    data = config.data
    assert (data.pairing, data.interpolation, data.flip) == ("ordered", "bilinear", True)
    assert (data.resize, data.crop, data.batch_size) == (286, 256, 1)


def start(root, folder, steps):
    document = config_document(tiny_config(NAME, switch_epoch=1))
    document |= {
        "data": document["data"] | {"root": str(root)},
        "train": {"steps": steps},
        "checkpoint": {"every_steps": 1, "keep_every_steps": 1},
        "samples": {"every_steps": 0},
        "log": {"every_steps": 1, "tensorboard": "off"},
    }
    start_run(run_schema().model_validate(document), run_dir=folder)


@pytest.fixture(scope="module")
def through(picture_root, tmp_path_factory):
    """Return a run that nobody stopped, three steps beyond its one epoch before the switch."""
    folder = tmp_path_factory.mktemp("through") / "run"
    start(picture_root, folder, EPOCH + 3)
    return folder


def weights_at(folder, step):
    return dict(load_checkpoint(folder / "checkpoints" / f"step-{step:07d}.pt").weights)


@pytest.mark.parametrize("late", [0, 1])
def test_run_stopped_at_or_after_the_switch_goes_on_bit_for_bit(
    picture_root, through, tmp_path, late
):
    start(picture_root, tmp_path / "run", EPOCH + late)
    resume_run(tmp_path / "run", steps=EPOCH + 3)
    last, resumed = (weights_at(folder, EPOCH + 3) for folder in (through, tmp_path / "run"))
    assert all(torch.equal(last[name], resumed[name]) for name in last)


def test_attention_is_frozen_by_the_switch_and_the_rest_is_not(through):
    first, entering, last = (weights_at(through, step) for step in (1, EPOCH, EPOCH + 3))
    attention = [n for n in last if ".attention." in n and n.endswith("conv.weight")]
    others = [n for n in last if ".attention." not in n and n.endswith("conv.weight")]
    assert not any(torch.equal(first[name], entering[name]) for name in attention)
    assert all(torch.equal(entering[name], last[name]) for name in attention)
    assert not any(torch.equal(entering[name], last[name]) for name in others)
