"""Five training steps of the engine against five steps of the released code.

Adam divides each gradient by its own size, so that from the second step on the rounding of
float32 decides the sign of steps whose gradient is nearly zero. Another order of summation is then
another trajectory. The five steps are therefore taken in float64, where they end within 1e-12 of
the released code run in float64, and compared with the recorded float32 run within its tolerances;
the same code in float32 is held to the recorded losses of the first step.
"""

import pytest
import torch
from golden import golden_cases
from recorded_views import check_views
from trajectory import (
    check_entropies,
    check_final_weights,
    check_images,
    check_losses,
    replay,
    run_by_default,
)


@pytest.mark.parametrize("case", golden_cases(r"traj_(cut|fastcut|cyclegan|qs_)"))
def test_five_training_steps_equal_the_released_code(case):
    run = run_by_default(case.name)
    check_losses(case, run)
    check_images(case, run)
    check_final_weights(case, run)
    check_entropies(case, run)
    check_views(case)
    check_losses(case, replay(case, torch.float32, steps=1))
