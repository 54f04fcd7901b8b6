"""The interface of data sets to the loader, and the data set of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from i2icli.config.sections import DataConfig, DatasetKind, LabelsConfig
from i2icli.data.batch import AnyBatch
from i2icli.data.folders import Domains
from i2icli.data.labelled import LabelledSet
from i2icli.data.single import SingleSet
from i2icli.data.unpaired import UnpairedSet
from i2icli.errors import ConfigError


class AnySample(Protocol):
    """One element of a batch."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Faults of files that others stood in for, one sentence each."""


class TrainingSet(Protocol):
    """A pure function from a key to a sample; keys hold all that decides one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """The origin of the pictures where it is not their files, one sentence each."""

    def __len__(self) -> int:
        """Return the samples of one epoch."""

    def __getitem__(self, key: Any) -> AnySample:
        """Return the sample of a key that `epoch_keys` gave.

        Raises:
            DataError: when a picture cannot be read.
        """

    def epoch_keys(self, *, seed: int, epoch: int, jitter: bool, start: int = 0) -> Iterator[Any]:
        """Yield the keys of one epoch, counted from 1, from sample `start` on."""

    def collate(self, samples: Sequence[Any]) -> AnyBatch:
        """Put samples into a batch.

        Raises:
            DataError: when they have different sizes.
        """


def open_training_set(
    kind: DatasetKind, domains: Domains, config: DataConfig, labels: LabelsConfig
) -> TrainingSet:
    """Return the data set that a method of this kind trains on.

    Raises:
        ConfigError: if the crops do not suit the kind.
        DataError: if a method that trains on one picture of each domain finds more.
    """
    if kind == "labelled":
        return LabelledSet(domains, config, labels)
    if kind == "single":
        return SingleSet(domains, config)
    if config.preprocess == "zoom-and-patch":
        raise ConfigError(
            'data.preprocess "zoom-and-patch" is for methods that train on one picture of each '
            "domain, and this one trains on many: use `--set data.preprocess=resize-and-crop`"
        )
    return UnpairedSet(domains, config)
