import pytest
import torch

from i2icli.losses.segmentation import label_loss


def scores_and_labels():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    labels[0, :2] = 255
    return scores, labels


def test_loss_is_the_mean_over_labelled_pixels_of_all_pictures():
    scores, labels = scores_and_labels()
    total, count = 0.0, 0
    for picture, row, column in torch.cartesian_prod(*map(torch.arange, (2, 4, 5))).tolist():
        label = int(labels[picture, row, column])
        if label != 255:
            pixel = scores[picture, :, row, column]
            total -= float(pixel[label] - torch.exp(pixel).sum().log())
            count += 1
    assert count == 30
    assert float(label_loss(scores, labels, ignore=255)) == pytest.approx(total / count, rel=1e-12)


def test_ignored_pixels_have_no_gradient():
    scores, labels = scores_and_labels()
    scores.requires_grad_()
    label_loss(scores, labels, ignore=255).backward()
    assert torch.equal(scores.grad.abs().sum(dim=1) > 0, labels != 255)


def test_a_class_may_be_the_ignored_one():
    scores, labels = scores_and_labels()
    without_class = label_loss(scores, labels.where(labels != 255, 1), ignore=1)
    assert without_class.isfinite()
    assert without_class != label_loss(scores, labels, ignore=255)


def test_nothing_labelled_gives_zero_and_a_gradient_of_zeros():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = label_loss(scores, torch.full((1, 2, 2), 255), ignore=255)
    loss.backward()
    assert float(loss.detach()) == 0
    assert scores.grad is not None
    assert torch.equal(scores.grad, torch.zeros_like(scores))
