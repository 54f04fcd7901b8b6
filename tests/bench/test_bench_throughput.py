"""The loader's figure counts what it says."""

import pytest
from picture_folders import write_pictures

from i2icli.bench.throughput import measure_loader
from i2icli.config.sections import DataConfig


@pytest.fixture
def config(tmp_path):
    for number, part in enumerate(("trainA", "trainB")):
        write_pictures(tmp_path / part, seed=number)
    return DataConfig(root=str(tmp_path), resize=20, crop=16, batch_size=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_of_both_domains_count(config, workers):
    found = measure_loader(config, workers=workers, batches=3, repeats=3)
    assert (found.pictures, found.repeats, found.workers) == (12, 3, workers)
    assert 0 < found.slowest <= found.median <= found.fastest
    assert found.start_seconds > 0
    assert found.notes == ()


def test_nothing_cannot_be_measured(config):
    with pytest.raises(ValueError, match="at least 1"):
        measure_loader(config, workers=0, batches=0)
