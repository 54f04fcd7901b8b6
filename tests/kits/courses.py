"""Every course that a training step can take: each method, each preset, each other path."""

from __future__ import annotations

from dataclasses import dataclass

from lever_kit import KINDS, config_of
from tiny import stand_in, tiny_preset

from i2icli.config.presets import preset_names
from i2icli.methods import Method, build_method
from i2icli.methods.shared.configure import AnyRunConfig


@dataclass(frozen=True)
class Course:
    """A small run whose steps go that way, in `epoch`."""

    config: AnyRunConfig
    epoch: int = 1

    def build(self) -> Method:
        """Return the method in training, with small stand-ins for pretrained networks."""
        method = build_method(self.config).train()
        method.take_pretrained({wanted: stand_in(wanted) for wanted in method.pretrained})
        method.start_epoch(self.epoch)
        return method


COURSES = {kind: Course(config_of(kind), epoch=KINDS[kind][3]) for kind in KINDS}


def _is_new(config: AnyRunConfig) -> bool:
    known = [(course.config.method, course.config.structure) for course in COURSES.values()]
    return (config.method, config.structure) not in known


# The presets that differ from these.
PRESETS = {
    preset: Course(config)
    for preset, config in ((preset, tiny_preset(preset)) for preset in preset_names())
    if _is_new(config)
}
COURSES |= PRESETS
