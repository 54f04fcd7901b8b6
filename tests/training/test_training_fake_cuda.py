"""Steps of every method on CUDA tensors that know shapes alone: no device mixed up, no waiting."""

import pytest
import torch
from courses import COURSES, PRESETS, Course
from fake_cuda import CUDA, RefusedError, fake_cuda, needs_fake_cuda
from lever_kit import gradients_of_step
from plain_autograd import plain_autograd
from tiny import batch_for, stand_in, tiny_config

from i2icli.methods import METHODS
from i2icli.runs.folder import RunFolder
from i2icli.system.signals import StopRequest
from i2icli.training import graph_step
from i2icli.training.assembly import RunData, assemble
from i2icli.training.graph_step import obstacle
from i2icli.training.logs import Clock, NoLog
from i2icli.training.loop import Trainer
from i2icli.training.reporter import Silent
from i2icli.training.session import Session

pytestmark = needs_fake_cuda

STEPS_PER_EPOCH = 7


def trainer_on(course, folder, **runtime):
    """Return what trains a course on the fake device, and a batch as the loader gives it."""
    course = COURSES[course]
    off = dict.fromkeys(("channels_last", "compile", "prefetch", "cuda_graphs"), "off")
    settings = {**off, "precision": "float32", **runtime}
    config = course.config.model_copy(
        update={
            "runtime": course.config.runtime.model_copy(update=settings),
            "ema": course.config.ema.model_copy(update={"decay": 0.9}),
        }
    )
    parts = assemble(
        config,
        RunData(None, None, STEPS_PER_EPOCH),
        device=CUDA,
        load=lambda names, place: {name: stand_in(name).to(place) for name in names},
    )
    session = Session(**vars(parts), pictures={}, drawer=None, measurer=None)
    session.method.start_epoch(course.epoch)
    trainer = Trainer(
        session,
        RunFolder(folder),
        log=NoLog(),
        clock=Clock(),
        reporter=Silent(),
        stop=StopRequest(),
    )
    return trainer, batch_for(config.method.name).pin_memory()


def take_steps(course, folder, *, count=1, **runtime):
    """Take steps, a second one where a coin makes it another, and return the kernels."""
    with fake_cuda() as device:
        trainer, batch = trainer_on(course, folder, **runtime)
        method = trainer.session.method
        for pool in method.pools.values():
            pool.size = 1  # so that a first step exchanges pictures
        tossed = []
        method.draws.flip = lambda _: tossed.append(len(tossed) % 2 == 0) or tossed[-1]
        with device.step():
            while trainer.session.step < count or len(tossed) == 1:
                trainer._step(trainer._next(iter([batch])))
        return device.kernels


@pytest.mark.parametrize(
    ("course", "precision", "channels_last"),
    [
        *((course, "bfloat16", "on") for course in COURSES),
        *((course, "float32", "off") for course in [*METHODS, *PRESETS]),
    ],
)
def test_no_step_mixes_devices_or_waits_for_a_gpu(course, precision, channels_last, tmp_path):
    kernels = take_steps(course, tmp_path, precision=precision, channels_last=channels_last)
    assert kernels["convolution", getattr(torch, precision)] > 0
    assert sum(kernels.values()) > 500


@pytest.mark.parametrize("fused", ["on", "off"])
@pytest.mark.parametrize("course", ["cut", "danet"])
def test_no_optimizer_waits_for_a_gpu(course, fused, tmp_path):
    kernels = take_steps(course, tmp_path, count=2, fused_optimizer=fused, channels_last="on")
    kind = {"cut": "_fused_adam_", "danet": "_fused_sgd_"}[course]
    assert (kernels[kind, torch.float32] > 0) is (fused == "on")


def test_float16_waits_for_a_gpu_unless_the_optimizer_is_fused(tmp_path):
    take_steps("cut", tmp_path, precision="float16", fused_optimizer="on")
    with pytest.raises(RefusedError, match="_local_scalar_dense.default waits for the device"):
        take_steps("cut", tmp_path, precision="float16", fused_optimizer="off")


class Recorder:
    """Takes down what would be recorded, and replays nothing."""

    def __init__(self, device):
        self.device, self.recorded = device, 0

    def warm_up(self, work):
        return work()

    def capture(self, work):
        self.recorded += 1
        with self.device.recording():
            return (lambda: None), work()

    def start_over(self):
        pass


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_recorded_step_reads_nothing_on_the_cpu_and_its_replay_does_not_wait(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr(graph_step, "WARM_UP", 1)
    monkeypatch.setitem(COURSES, name, Course(tiny_config(name, pool_size=0)))
    with fake_cuda() as device:
        recorder = Recorder(device)
        monkeypatch.setattr(graph_step, "CudaBackend", lambda _: recorder)
        trainer, batch = trainer_on(name, tmp_path, cuda_graphs="on", precision="bfloat16")
        for _ in range(2):
            trainer._step(trainer._next(iter([batch])))
        with device.step():  # what stands around a replay
            trainer._step(trainer._next(iter([batch])))
        method, steppers = trainer.session.method, trainer.session.steppers
        can = obstacle(method, steppers, trainer.session.choices) is None
    # Its penalty computes with drawn numbers.
    assert recorder.recorded == (can and name != "single-image-sesim")


FORBIDDEN = {
    "item": lambda there: there.sum().item(),
    "float": lambda there: float(there.sum()),
    "if": lambda there: 1 if there.sum() > 0 else 2,
    "max": lambda there: max(there.sum(), there.mean()),
    "tolist": lambda there: there.tolist(),
    "cpu": lambda there: there.cpu(),
    "to the cpu, not blocking": lambda there: there.to("cpu", non_blocking=True),
    "copy to the cpu": lambda there: torch.empty(4, 4).copy_(there),
    "nonzero": lambda there: there.nonzero(),
    "where": lambda there: torch.where(there > 0),
    "unique": lambda there: there.unique(),
    "masked_select": lambda there: there.masked_select(there > 0),
    "mask as index": lambda there: there[there > 0],
    "write by a mask": lambda there: there.__setitem__(there > 0, 0.0),
    "list as index": lambda there: there[[0, 1]],
    "index on the cpu": lambda there: there[torch.tensor([0, 1])],
    "index by a value": lambda there: torch.zeros(3, 3)[there.sum().long()],
    "repeat by values": lambda there: there.repeat_interleave(there[0].long(), dim=0),
    "one_hot": lambda there: torch.nn.functional.one_hot(there.long()),
    "bincount": lambda there: torch.bincount(there[0].long()),
    "histc": lambda there: torch.histc(there),
    "equal": lambda there: torch.equal(there, there),
    "allclose": lambda there: torch.allclose(there, there),
    "inverse": lambda there: torch.linalg.inv(there),
    "made of numbers": lambda there: torch.tensor([1.0, 2.0], device=there.device),
    "new_tensor": lambda there: there.new_tensor(1.0),
    "as_tensor": lambda there: torch.as_tensor([1.0], device=there.device),
    "sent": lambda there: torch.ones(4).to(there.device),
    "sent from pinned memory, blocking": lambda there: torch.ones(4).pin_memory().to(there.device),
    "much sent that is not pinned": lambda there: torch.ones(1 << 15).to(
        there.device, non_blocking=True
    ),
    "written from the cpu": lambda there: there.copy_(torch.ones(4, 4)),
    "layers sent": lambda there: torch.nn.Linear(4, 4).to(there.device),
}
MIXED = {
    "sum": lambda there: there + torch.ones(4, 4),
    "product": lambda there: there @ torch.ones(4, 4),
    "layer": lambda there: torch.nn.Linear(4, 4)(there),
    "stack": lambda there: torch.stack([there.sum(), torch.tensor(1.0)]),
    "gather": lambda there: there.gather(0, torch.zeros(1, 4, dtype=torch.long)),
    "backward": lambda there: (there * torch.ones(4, 4, requires_grad=True)).sum().backward(),
}
ALLOWED = {
    "numbers": lambda there: there * 2 + there.new_full((4, 4), 0.5),
    "number on the cpu": lambda there: there + torch.tensor(1.0),
    "item on the cpu": lambda there: torch.ones(4).sum().item(),
    "index there": lambda there: there[there[0].argsort()],
    "made there": lambda there: torch.arange(4, device=there.device) + there,
    "masked_fill": lambda there: there.masked_fill(there > 0, 1.0),
    "sent from pinned memory": lambda there: (
        torch.ones(1 << 15).pin_memory()[: 1 << 14].to(there.device, non_blocking=True)
    ),
    "little sent": lambda there: torch.ones(4).to(there.device, non_blocking=True),
    "sorted": lambda there: there.topk(2).indices.sort(stable=True),
    "repeat": lambda there: there.repeat_interleave(2, dim=0),
}


def do(work):
    with fake_cuda() as device:
        there = torch.rand(4, 4, device=CUDA)
        with device.step():
            work(there)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_waiting_for_the_device_is_refused(name):
    with pytest.raises(RefusedError, match="waits for the device"):
        do(FORBIDDEN[name])


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_two_devices_are_refused(name):
    with pytest.raises(RefusedError, match="takes tensors of two devices"):
        do(MIXED[name])


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_gpu_does_by_itself_is_allowed(name):
    do(ALLOWED[name])


@pytest.mark.parametrize("name", ["sent from pinned memory", "little sent", "number on the cpu"])
def test_reading_on_the_cpu_is_refused_while_recording(name):
    with fake_cuda() as device:
        there = torch.rand(4, 4, device=CUDA)
        with device.recording(), pytest.raises(RefusedError, match="would not read again"):
            ALLOWED[name](there)


def test_between_steps_a_gpu_may_be_waited_for():
    with fake_cuda() as device:
        there = torch.rand(4, 4, device=CUDA)
        with device.step():
            there.sum()
        assert there.cpu().shape == (4, 4)


@pytest.mark.parametrize("kind", ["cut", "munit", "sincut"])
def test_going_back_from_python_gives_the_gradients_of_torch(kind):
    expected = gradients_of_step(kind)
    with plain_autograd():
        seen = gradients_of_step(kind)
    for player, gradients in expected.items():
        assert seen[player].keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(seen[player][name], gradient, rtol=1e-9, atol=1e-12)
