"""Translators of small methods."""

import pytest
import torch
from echo import SMALL, Echo
from many_sided import configure_tiny, many_sided

from i2icli.methods import build_method, configure_run
from i2icli.translation.translator import Translator


@pytest.fixture
def translator():
    return Translator(Echo(), configure_run("cyclegan", SMALL), precision=torch.float32)


@pytest.fixture
def load():
    """Return what makes a translator of a small method that gives more than a picture."""
    with many_sided():

        def make(name, **sections):
            config = configure_tiny(name, **sections)
            return Translator(build_method(config), config, precision=torch.float32)

        yield make
