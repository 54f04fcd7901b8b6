"""`i2i resume`: go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from i2icli.cli.options import AsJson, Budget, Epochs, Steps, stop_settings
from i2icli.cli.shared_run import Processes, share_work


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The folder of the run.")],
    steps: Steps = None,
    epochs: Epochs = None,
    budget: Budget = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps; none: as before.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The folder in which the same pictures lie now, where they moved."),
    ] = None,
    nproc: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run from its last checkpoint; it ends as if it had never stopped."""
    stop_settings(steps=steps, epochs=epochs, budget=budget)
    share_work(nproc)

    from i2icli.cli.training import open_view, show_result  # imports torch; keeps --help instant
    from i2icli.training.run import resume_run

    result = resume_run(
        run_dir,
        steps=steps,
        epochs=epochs,
        budget=budget,
        device=device,
        data=data,
        reporter=open_view(),
    )
    show_result(result, as_json=as_json)
