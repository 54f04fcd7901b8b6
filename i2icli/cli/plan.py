"""What `i2i train --dry-run` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer


def show_plan(preset: str, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print what a run would be, and what it would cost, without starting it.

    Args:
        preset: what `--preset` named.
        overrides: `KEY=VALUE` texts over it.
        as_json: print JSON instead of text.
    """
    from i2icli.bench.plan import plan_run
    from i2icli.methods import configure_run

    plan = plan_run(configure_run(preset, overrides), preset=preset)
    typer.echo(json.dumps(plan.document(), indent=2) if as_json else plan.text())
