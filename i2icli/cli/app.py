"""The command line `i2i`: its commands, and what happens to an error."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from i2icli.cli.analyse_structure import analyse_structure
from i2icli.cli.bench import bench
from i2icli.cli.cache import cache_app
from i2icli.cli.compare import compare
from i2icli.cli.data import data_app
from i2icli.cli.doctor import doctor
from i2icli.cli.evaluate import evaluate
from i2icli.cli.import_checkpoint import import_checkpoint
from i2icli.cli.mistyped import Command, Group, next_command
from i2icli.cli.options import examples
from i2icli.cli.presets import presets_app
from i2icli.cli.progress import MESSAGES
from i2icli.cli.report import report as report_command
from i2icli.cli.resume import resume
from i2icli.cli.schema import schema
from i2icli.cli.shared_run import speaks_of_errors
from i2icli.cli.streams import usable_streams
from i2icli.cli.train import train
from i2icli.cli.translate import translate
from i2icli.cli.viz_attention import viz_attention
from i2icli.cli.weights import weights_app
from i2icli.cli.zoo import zoo_app
from i2icli.errors import I2IError, Interrupted
from i2icli.system.faults import is_out_of_memory, refusal
from i2icli.version import __version__

app = typer.Typer(
    name="i2i",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: quick to print, and the same in a terminal, a file and a pipe.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "i2i train --preset demo",
        "i2i resume runs/demo-001",
        "i2i translate runs/demo-001 pictures/ out/",
    ),
)

app.command(
    "train",
    epilog=examples(
        "i2i train --preset demo",
        "i2i train --preset qs-attn-global --data horse2zebra/ --set method.num_patches=128",
        "i2i train --preset cut --data horse2zebra/ --dry-run",
    ),
)(train)
app.command(
    "resume", epilog=examples("i2i resume runs/demo-001", "i2i resume runs/demo-001 --steps 4000")
)(resume)
app.command(
    "translate",
    epilog=examples(
        "i2i translate runs/demo-001/checkpoints/last.pt pictures/ out/",
        "i2i translate runs/demo-001/checkpoints/last.pt horse.jpg zebra.jpg",
    ),
)(translate)
app.command(
    "eval",
    epilog=examples(
        "i2i eval",
        "i2i eval runs/cut-001 --fid --kid --lpips --protocol cut",
        "i2i eval runs/cut-001 --fid --all-checkpoints",
        "i2i eval --fid --real horse2zebra/testB --fake out/",
    ),
)(evaluate)
app.command("report", epilog=examples("i2i report", "i2i report runs/demo-001 --out demo.html"))(
    report_command
)
app.command(
    "compare",
    epilog=examples(
        "i2i compare runs/cut-001 runs/qs-attn-global-001 horse2zebra/testA",
        "i2i compare a.pt b.pt 'pictures/*.jpg' --count 4 --out side-by-side",
    ),
)(compare)
app.command(
    "viz-attention",
    epilog=examples(
        "i2i viz-attention",
        "i2i viz-attention runs/qs-attn-global-001 photos/ out/ --html",
        "i2i viz-attention runs/qs-attn-global-001 horse.jpg --query 120,80 --all-checkpoints",
    ),
)(viz_attention)
app.command(
    "analyse-structure",
    epilog=examples(
        "i2i analyse-structure facades/test",
        "i2i analyse-structure photos/ labels/ --count 100 --out analysis",
    ),
)(analyse_structure)
app.command(
    "import",
    epilog=examples(
        "i2i import checkpoints/horse2zebra_cut_pretrained/latest_net_G.pth",
        "i2i import latest_net_G.pth horse2zebra.pt --preset qs-attn-global",
        "i2i import gen_01000000.pt edges2shoes.pt",
    ),
)(import_checkpoint)
app.command(
    "bench",
    epilog=examples(
        "i2i bench --preset qs-attn-global --size 128",
        "i2i bench --preset cut --size 128 --precision bfloat16 --against fastcut",
        "i2i bench --preset cut --against runs/cut-001 --json",
    ),
)(bench)
app.command(
    "doctor",
    epilog=examples("i2i doctor", "i2i doctor --preset cut --data horse2zebra/"),
)(doctor)
app.add_typer(data_app, name="data", cls=Group)
app.add_typer(presets_app, name="presets", cls=Group)
app.add_typer(weights_app, name="weights", cls=Group)
app.add_typer(zoo_app, name="zoo", cls=Group)
app.add_typer(cache_app, name="cache", cls=Group)
app.command("schema", epilog=examples("i2i schema", "i2i schema --out i2i.schema.json"))(schema)
for _typer in (app, *(group.typer_instance for group in app.registered_groups)):
    assert _typer is not None, "groups are added as they are"
    for _command in _typer.registered_commands:
        _command.cls = Command


_NO_MEMORY = (
    "there is not enough memory. Free some, raise its limit (ulimit -v), or ask for less: smaller "
    "pictures or batches, fewer processes."
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"i2i {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train, resume and translate with unpaired image-to-image translators."""


def main() -> None:
    """Run the command line; an error that the user can act on is a sentence and an exit code."""
    log = logging.getLogger("i2icli")
    MESSAGES.setLevel(logging.INFO)
    log.addHandler(MESSAGES)
    log.setLevel(logging.INFO)
    try:
        with usable_streams():
            _run()
    finally:
        log.removeHandler(MESSAGES)


def _run() -> None:
    try:
        app()
    except I2IError as error:
        if speaks_of_errors():
            report(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as fault:
        # What no command expected of the system: no traceback, for no line of ours is at fault.
        report(I2IError(refusal(fault)))
        sys.exit(I2IError.exit_code)
    except MemoryError:
        report(I2IError(_NO_MEMORY))
        sys.exit(I2IError.exit_code)
    except (RuntimeError, ImportError) as fault:
        # torch and the loader of libraries say it in words of their own.
        if not is_out_of_memory(fault):
            raise
        report(I2IError(_NO_MEMORY))
        sys.exit(I2IError.exit_code)


def report(error: I2IError) -> None:
    """Print an error on stderr, red where that is a terminal that wants colours."""
    if isinstance(error, Interrupted):
        typer.echo(str(error), err=True)
        return
    colour = None if os.environ.get("NO_COLOR") else typer.colors.RED
    typer.secho(f"error: {error}{next_command(error)}", fg=colour, err=True)
