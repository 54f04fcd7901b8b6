"""`i2i bench`: what training and translating cost on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, DeviceSetting, Overrides, PresetName, setting_of
from i2icli.cli.show import show


def bench(
    preset: PresetName = "demo",
    size: Annotated[
        int | None, typer.Option(min=4, help="Side of crops and pictures; none: the preset's.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures a step; none: the preset's.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16; none: the preset's.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Repeats that count.")] = 10,
    warmup: Annotated[int, typer.Option(min=1, help="Steps before, that do not.")] = 2,
    against: Annotated[
        str | None,
        typer.Option(metavar="CKPT|PRESET", help="Compare with this, in turn in one run."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Compare with this changed, in turn in one run; repeatable."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set to use; none: made-up pictures.")
    ] = None,
    device: DeviceSetting = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure training steps, translation, memory and operations, with their spread."""
    from i2icli.bench.run import BenchOptions, run_bench  # imports torch; keeps --help instant

    options = BenchOptions(
        preset=preset,
        overrides=(*(set_ or []), *setting_of(device)),
        size=size,
        batch=batch,
        precision=precision,
        data=data,
        steps=steps,
        warmup=warmup,
        against=against,
        vary=tuple(vary or ()),
    )
    report = run_bench(options)
    show(report, as_json=as_json)
