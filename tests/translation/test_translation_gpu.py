"""Pictures through a GPU and through the CPU come out the same, but for 1 of 255."""

import numpy as np
import pytest
from gpu_kit import GPU, needs_gpu, plain_float32
from plain_data import assert_same_picture
from run_kit import save_untrained, smooth
from tiny import tiny_config

from i2icli import load_translator
from i2icli.methods import METHODS
from i2icli.pictures.images import read_picture

pytestmark = [pytest.mark.gpu, needs_gpu]


@pytest.fixture(params=sorted(METHODS))
def checkpoint(request, tmp_path):
    return save_untrained(tmp_path / "last.pt", tiny_config(request.param))


def test_translations_are_those_of_the_cpu(checkpoint, record_property):
    ours, theirs = (load_translator(checkpoint, device=str(d)) for d in (GPU, "cpu"))
    off = 0
    for direction in theirs.directions:
        for side in (64, 37):
            picture = smooth(side, 48, seed=side)
            with plain_float32():
                seen = ours.translate(picture, direction)
            expected = theirs.translate(picture, direction)
            if theirs.segments:  # colours of classes, of which two may be as likely
                assert (seen == expected).mean() > 0.99
                continue
            assert expected.std() > 1, "the picture must show something"
            off = max(off, int(np.abs(seen.astype(int) - expected.astype(int)).max()))
    record_property("levels", off)
    assert off <= 1


def test_the_command_translates_as_on_the_cpu(tmp_path, picture_root, i2i):
    checkpoint = save_untrained(tmp_path / "last.pt", tiny_config("cut"))
    with plain_float32():
        for device in (str(GPU), "cpu"):
            out = tmp_path / device.partition(":")[0]
            words = ("translate", checkpoint, picture_root / "testA", out)
            code, _, err = i2i(*words, "--device", device, "--precision", "float32")
            assert code == 0, err
    ours, theirs = (sorted((tmp_path / name).iterdir()) for name in (GPU.type, "cpu"))
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert ours
    for pair in zip(ours, theirs, strict=True):
        assert_same_picture(*(read_picture(path).pixels for path in pair))
