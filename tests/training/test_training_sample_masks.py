import numpy as np
import pytest
import torch
from engine_kit import PairMethod, pair_config
from PIL import Image

from i2icli.methods import Translation
from i2icli.runs.folder import RunFolder
from i2icli.training.run import start_run
from i2icli.viz.tiles import read_rows

pytestmark = pytest.mark.usefixtures("pair")


def masking(monkeypatch, value):
    """Let the small method make a mask: 1 in the left column, `value` elsewhere."""

    def translate(_self, images, *, direction="a2b", style=None):
        mask = torch.full_like(images[:, :1], value)
        mask[..., 0] = 1
        return Translation(images, masks={"where": mask})

    monkeypatch.setattr(PairMethod, "translate", translate)
    monkeypatch.setattr(PairMethod, "mask_names", ("where",))


def run(root, folder, **health):
    sections = {"samples": {"every_steps": 2, "count": 2}, "health": {"warmup_steps": 0, **health}}
    # So near to the pictures' size that samples are translated at their own.
    sections["data"] = {"resize": 20}
    start_run(pair_config(root, steps=2, **sections), run_dir=folder)
    return folder


def alarms(folder):
    return [line for line in RunFolder(folder).read_metrics() if "alarm" in line]


def test_grid_has_a_column_for_each_mask(picture_root, tmp_path, monkeypatch):
    plain = run(picture_root, tmp_path / "plain") / "samples" / "step-0000002.png"
    masking(monkeypatch, 0.6)
    masked = run(picture_root, tmp_path / "masked") / "samples" / "step-0000002.png"
    rows = read_rows(masked)
    # The report reads sources and translations alone.
    assert [len(row.boxes) for row in rows] == [2, 2]
    left, top, right, bottom = rows[0].boxes[1]
    with Image.open(plain) as before, Image.open(masked) as after:
        assert after.width > before.width
        assert after.height == before.height
        beside = np.asarray(after.crop((right, top, after.width, bottom)))
    is_mask = (beside == round(0.6 * 255)).all(axis=2)
    # The left column of the mask is 1, as white as the paper.
    assert is_mask.sum() == (right - left - 1) * (bottom - top)
    assert (beside[~is_mask] == 255).all()


def test_mask_that_is_0_is_said_once_with_its_direction(picture_root, tmp_path, monkeypatch):
    masking(monkeypatch, 0.0)
    monkeypatch.setattr("i2icli.metrics.alarms._SMALLEST_FOREGROUND", 0.2)
    (line,) = alarms(run(picture_root, tmp_path / "run", mask=0.4))
    assert (line["step"], line["alarm"], line["direction"]) == (0, "mask-empty", "a2b")
    assert line["saw"].startswith("the where mask is")
    assert alarms(run(picture_root, tmp_path / "silent", mask=0.0)) == []
