"""The loader's figure counts what it says."""

from types import SimpleNamespace

import pytest
from picture_folders import write_pictures

from i2icli.bench.measure import measure_loader
from i2icli.config.sections import DataConfig, LabelsConfig
from i2icli.data.folders import find_domains
from i2icli.data.training_set import open_training_set


@pytest.fixture
def config(tmp_path):
    for number, part in enumerate(("trainA", "trainB")):
        write_pictures(tmp_path / part, seed=number)
    return DataConfig(root=str(tmp_path), resize=20, crop=16, batch_size=2)


@pytest.fixture
def dataset(config):
    return open_training_set("unpaired", find_domains(config), config, LabelsConfig())


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_of_both_domains_count(config, dataset, workers, monkeypatch):
    clock = iter((0.0, 2.0, 5.0, 6.0, 7.0, 11.0))
    timer = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("i2icli.bench.measure.time", timer)
    # Three batches of two pictures of each domain, in 2, 1 and 4 seconds.
    found = measure_loader(dataset, config, workers=workers, batches=3, repeats=3)
    assert found == [6.0, 12.0, 3.0]
    assert dataset.notes == ()


def test_nothing_cannot_be_measured(config, dataset):
    with pytest.raises(ValueError, match="at least 1"):
        measure_loader(dataset, config, workers=0, batches=0)
