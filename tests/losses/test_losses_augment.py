import pytest
import torch

from i2icli.losses.augment import SHARES, diff_augment


def drawn(count=3, channels=3, height=17, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, height, width, generator=generator) * 2 - 1
    return images.double(), torch.rand(count, SHARES, generator=generator).double()


def plainly(image, shares, strength, grey):
    """Augment one picture, (C, H, W), pixel by pixel as the paper's code indexes."""
    light, colour, contrast, loss, down, right, above, before, hole = map(float, shares)
    channels, height, width = image.shape
    image = image + strength * (light - 0.5)
    factor = 0.0 if loss < grey else 1 + strength * (2 * colour - 1)
    mean = image.mean(dim=0)
    image = (image - mean) * factor + mean
    image = (image - image.mean()) * (1 + strength * (contrast - 0.5)) + image.mean()
    moves, holes = [], []
    for side, share, at in ((height, down, above), (width, right, before)):
        most = round(side * strength / 8)
        moves.append(int(share * (2 * most + 1)) - most)
        size = int(side * 0.5 + 0.5)
        first = int(at * (side + 1 - size % 2)) - size // 2
        holes.append(range(first, first + size))
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            is_hole = hole < strength and y in holes[0] and x in holes[1]
            from_y, from_x = y + moves[0], x + moves[1]
            if not is_hole and 0 <= from_y < height and 0 <= from_x < width:
                result[:, y, x] = image[:, from_y, from_x]
    return result


@pytest.mark.parametrize("grey", [0.0, 0.5])
@pytest.mark.parametrize("strength", [1.0, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_pictures_are_augmented_as_the_formulas_say(seed, strength, grey):
    images, shares = drawn(seed=seed)
    ours = diff_augment(images, shares, strength=strength, grey=grey)
    for one, image, row in zip(ours, images, shares, strict=True):
        torch.testing.assert_close(one, plainly(image, row, strength, grey))


def test_numbers_at_the_ends_of_their_range_stay_inside_the_picture():
    images, _ = drawn(count=2)
    ends = torch.stack([torch.zeros(SHARES), torch.full((SHARES,), 1 - 2.0**-24)])
    ours = diff_augment(images, ends)
    for one, image, row in zip(ours, images, ends, strict=True):
        torch.testing.assert_close(one, plainly(image, row, 1.0, 0.0))


def test_gradient_flows_back_through_all_of_it():
    images, shares = drawn(count=2, height=8, width=8)
    images.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: diff_augment(given, shares, grey=0.5), images)


def test_half_precision_is_augmented_in_float32():
    images, shares = drawn()
    wide = diff_augment(images.float(), shares.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = diff_augment(images.bfloat16(), shares.float())
    assert half.dtype == torch.float32
    assert (half - wide).abs().mean() < 0.01


def test_shifts_and_holes_reach_all_of_the_picture():
    images = torch.ones(400, 1, 16, 16)
    shares = torch.rand(400, SHARES, generator=torch.Generator().manual_seed(1))
    shares[:, :4] = 0.5  # no change of colour
    seen = diff_augment(images, shares)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    share = seen.mean(dim=(0, 1))
    assert share.min() > 0.2
    assert share.max() < 0.9
