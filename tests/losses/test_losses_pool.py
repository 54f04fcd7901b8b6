import io

import torch

from i2icli.methods.shared.draws import Draws, ImagePool


class Slots(Draws):
    """Returns given decisions."""

    def __init__(self, *slots):
        super().__init__()
        self.slots = list(slots)
        self.asked = []

    def swap(self, name, *, size):
        self.asked.append((name, size))
        return self.slots.pop(0)


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def test_pool_without_slots_returns_the_images_themselves():
    images, draws = numbered(1, 2), Slots()
    assert ImagePool(0).query(images, draws, "fake") is images
    assert draws.asked == []


def test_pool_stores_and_returns_until_it_is_full():
    pool, draws = ImagePool(3), Slots(None)
    assert numbers(pool.query(numbered(1, 2), draws, "fake")) == [1, 2]
    assert draws.asked == []
    assert numbers(pool.query(numbered(3, 4), draws, "fake")) == [3, 4]
    assert draws.asked == [("fake", 3)]
    assert numbers(torch.stack(pool.state())) == [1, 2, 3]


def test_images_of_a_batch_change_places_one_after_the_other():
    pool = ImagePool(2)
    pool.query(numbered(1, 2), Slots(), "fake")
    assert numbers(pool.query(numbered(3, 4, 5), Slots(1, 1, None), "fake")) == [2, 3, 5]
    assert numbers(torch.stack(pool.state())) == [1, 4]


def test_remembered_images_do_not_follow_later_changes_and_carry_no_gradient():
    pool, images = ImagePool(1), numbered(1).clone().requires_grad_()
    returned = pool.query(images, Slots(), "fake")
    with torch.no_grad():
        images.zero_()
    assert not returned.requires_grad
    assert numbers(pool.query(numbered(7), Slots(0), "fake")) == [1]


def test_state_survives_a_weights_only_file_and_continues_alike():
    pool, other, draws = ImagePool(2), ImagePool(2), Slots(0, None, 0, None)
    pool.query(numbered(1, 2, 3, 4)[:2], draws, "fake")
    file = io.BytesIO()
    torch.save(pool.state(), file)
    assert file.tell() < 4000  # the images alone, not the batches they came from
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    results = [kept.query(numbered(5, 6), draws, "fake") for kept in (pool, other)]
    assert torch.equal(*results)
    assert all(map(torch.equal, pool.state(), other.state()))
