import pytest
import torch
from golden import golden_cases

from i2icli.config.schedule import CosineSchedule, LinearSchedule, StepSchedule
from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.methods.shared.draws import Draws, ImagePool


@pytest.mark.parametrize("case", golden_cases(r"gan_losses"))
def test_gan_losses_give_the_recorded_terms(case):
    real, fake = case.tensors["pred_real"], case.tensors["pred_fake"]
    recorded = {name for name in case.tensors if not name.startswith("pred_")}
    for mode in sorted({name.split(".")[0] for name in recorded}):
        terms = {
            "D_real": discriminator_gan_loss(real, is_real=True, mode=mode),
            "D_fake": discriminator_gan_loss(fake, is_real=False, mode=mode),
            "G": generator_gan_loss(fake, mode=mode),
            "G_list": generator_gan_loss([fake, real], mode=mode),
        }
        for term in sorted(name.split(".")[1] for name in recorded if name.startswith(mode + ".")):
            expected = case.tensors[f"{mode}.{term}"].mean()  # or recorded image by image
            case.close_to(terms[term], expected, f"{mode}.{term}")


def build_schedule(options):
    flat, decaying = int(options["n_epochs"]), int(options["n_epochs_decay"])
    if options["lr_policy"] == "linear":
        return LinearSchedule(epochs=flat, epochs_decay=decaying)
    if options["lr_policy"] == "step":
        return StepSchedule(epochs=flat + decaying, every_epochs=int(options["lr_decay_iters"]))
    return CosineSchedule(epochs=flat, epochs_extra=decaying)


@pytest.mark.parametrize("case", golden_cases(r"lr_schedules"))
def test_schedules_give_the_recorded_learning_rates(case):
    assert set(case.options) == set(case.tensors)
    for name, options in case.options.items():
        schedule = build_schedule(options)
        # only the linear policy looks at the epoch that a run resumes at
        first = options["epoch_count"] if options["lr_policy"] == "linear" else 1
        epochs = range(first, first + len(case.tensors[name]))
        rates = [options["lr"] * schedule.factor(epoch) for epoch in epochs]
        case.close(torch.tensor(rates, dtype=torch.float64), name)
        assert epochs[-1] <= schedule.total_epochs


class RecordedSwaps(Draws):
    """Returns the recorded decisions of a pool, in their order."""

    def __init__(self, case):
        super().__init__()
        draws = zip(
            case.tensors["draw_p"].flatten().tolist(),
            case.tensors["draw_slot"].flatten().tolist(),
            strict=True,
        )
        self.left = [slot if p > 0.5 else None for p, slot in draws if p >= 0]
        self.sizes = set()

    def swap(self, name, *, size):
        self.sizes.add(size)
        return self.left.pop(0)


@pytest.mark.parametrize("case", golden_cases(r"image_pool"))
def test_image_pool_returns_and_keeps_the_recorded_images(case):
    size, queries, batch = (case.options[key] for key in ("pool_size", "queries", "batch"))
    pool, swaps = ImagePool(size), RecordedSwaps(case)
    images = torch.arange(queries * batch, dtype=torch.float32).view(queries, batch, 1, 1, 1)
    returned = [pool.query(new, swaps, "pool").flatten() for new in images]

    case.close(torch.stack(returned), "returned")
    kept = [int(image.item()) for image in pool.state()]
    assert kept == case.tensors["final_pool"].tolist()
    assert swaps.left == []
    assert swaps.sizes <= {size}
