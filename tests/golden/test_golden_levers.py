"""The recorded training steps with every way to less cost taken, or not: the same numbers.

The trajectories themselves, in `test_golden_trajectories.py`, take all levers as they are by
default, on. Here each is off alone, all are off, and the settings that change where and when maps
are computed are on. A lever that joins `LeversConfig` is tested without a word here.
"""

from functools import partial

import pytest
import torch
from golden import golden_cases
from trajectory import (
    check_final_weights,
    check_images,
    check_losses,
    networks,
    replay,
    run_by_default,
)

from i2icli.config.sections import LeversConfig
from i2icli.methods import Method

LEVERS = list(LeversConfig.model_fields)
ALL_OFF = LeversConfig(**dict.fromkeys(LEVERS, False))
TRAJECTORIES = r"traj_(cut|fastcut|cyclegan|qs_)"
# One of each kind, of both batch sizes; mirrored steps are among FastCUT's.
FEW = r"traj_(fastcut_b1|cyclegan_b2|qs_global_b1)"


def _check(case, prepare, **options):
    """Compare a run with the recorded one, and more closely with one that has all levers on."""
    run = replay(case, torch.float64, steps=len(case.tensors["A"]), prepare=prepare, **options)
    check_losses(case, run)
    check_images(case, run)
    check_final_weights(case, run)
    plain = run_by_default(case.name)
    for ours, theirs in zip(run.losses, plain.losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    for step, theirs in plain.images.items():
        for key, pictures in theirs.items():
            torch.testing.assert_close(run.images[step][key], pictures, rtol=0, atol=1e-9)
    _compare_weights(case, run, plain)


def _compare_weights(case, run, plain):
    for official, ours in networks(run.method).items():
        theirs = plain.method.get_submodule(ours).state_dict()
        for key, value in run.method.get_submodule(ours).state_dict().items():
            # A bias before a norm has no gradient but rounding, and Adam makes steps of that.
            if f"{official}.{key}" not in case.entry["undetermined_parameters"]:
                torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-9)


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("case", golden_cases(FEW))
def test_five_steps_are_the_same_with_one_lever_off(case, lever):
    levers = LeversConfig(**{lever: False})
    _check(case, partial(Method.use_levers, levers=levers))


@pytest.mark.parametrize("case", golden_cases(TRAJECTORIES))
def test_five_steps_are_the_same_with_all_levers_off(case):
    _check(case, partial(Method.use_levers, levers=ALL_OFF))


@pytest.mark.parametrize("case", golden_cases(FEW))
def test_five_steps_are_the_same_when_maps_are_computed_again(case):
    _check(case, partial(Method.use_levers, levers=LeversConfig(), recompute=True))


@pytest.mark.parametrize("case", golden_cases(FEW))
def test_five_steps_are_the_same_with_channels_last(case):
    _check(case, lambda _: None, layout=torch.channels_last)
