"""`i2i data`: get, make, prepare, check and count the pictures to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.data_cache import cache
from i2icli.cli.data_prepare import prepare
from i2icli.cli.data_shard import shard
from i2icli.cli.options import AsJson, Processes, examples
from i2icli.cli.progress import progress_bar
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.config.sections import DataConfig

data_app = typer.Typer(
    help="Make, get, prepare and check pictures to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
DomainA = Annotated[
    Path | None, typer.Option("--domain-a", help="A plain folder of domain A, instead of DIR.")
]
DomainB = Annotated[
    Path | None, typer.Option("--domain-b", help="A plain folder of domain B, instead of DIR.")
]


@data_app.command(
    "demo",
    epilog=examples(
        "i2i data demo",
        "i2i data demo demo256/ --size 256 --count 400",
        "i2i data demo --score out/",
    ),
)
def demo(
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="A new folder; none: the built-in set, made once."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the pictures, pixels.")] = 128,
    count: Annotated[
        int, typer.Option(help="Training pictures of each domain; a fifth as many for testing.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Draws the scenes.")] = 0,
    score: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Make nothing; compare translations of testA in FOLDER with the truth.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the demo set: plain animals, striped ones, and the truth of every test picture."""
    from i2icli.datasets.demo.demo_set import DemoPlan, demo_folder, make_demo_set

    plan = DemoPlan(size=size, train=count, test=max(1, count // 5), seed=seed)
    if out is None and plan != DemoPlan():
        raise ConfigError(
            "The built-in set has its own size, count and seed; name a folder for another one: "
            "i2i data demo OUT --size N --count N --seed N"
        )
    with progress_bar("drawing") as report:
        if out is None:
            root = demo_folder(report)
        else:
            root = out
            if score is None:
                make_demo_set(out, plan, progress=report)
    if score is not None:
        from i2icli.data.held_out import folders_beside
        from i2icli.metrics.truth import score_folder

        show(score_folder(score, folders_beside(root / "testA")), as_json=as_json)
        return
    counts = {"trainA": plan.train, "trainB": plan.train, "testA": plan.test, "testB": plan.test}
    made = {"folder": root, "size": size, "seed": seed, "counts": counts}
    # The folder alone on stdout: `i2i translate RUN "$(i2i data demo)/testA" out/`.
    show(Told(made, [str(root)]), as_json=as_json)
    typer.echo(
        ", ".join(f"{name} {number}" for name, number in counts.items())
        + "; the true translations of testA are in testA_truth, the masks in testA_mask",
        err=True,
    )


data_app.command(
    "prepare",
    epilog=examples(
        "i2i data prepare horses/ zebras/ --out horse2zebra",
        "i2i data prepare A/ B/ --out set --cache 286",
        "i2i data prepare --paired facades/ --layout side-by-side-ba --out labels2photos",
        "i2i data prepare --video walk.mp4 --every 10 --out frames/",
    ),
)(prepare)
data_app.command(
    "shard",
    epilog=examples("i2i data shard pictures/ shards/", "i2i data shard A/ shards/ --size 5000"),
)(shard)

data_app.command(
    "cache",
    epilog=examples(
        "i2i data cache horse2zebra/ --preset cut",
        "i2i data cache horse2zebra/ --preset cut --set data.resize=572 --set data.crop=512",
    ),
)(cache)


@data_app.command(
    "check",
    epilog=examples(
        "i2i data check horse2zebra/", "i2i data check --domain-a horses/ --domain-b zebras/"
    ),
)
def check(
    root: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A folder with trainA and trainB.")
    ] = None,
    domain_a: DomainA = None,
    domain_b: DomainB = None,
    crop: Annotated[int, typer.Option(help="Side of the training crop, pixels.")] = 256,
    nproc: Processes = 1,
    workers: Annotated[  # what --nproc was called before
        int | None, typer.Option("--workers", min=1, hidden=True)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decode every picture and report what may spoil training; exit 3 with unreadable files."""
    from i2icli.data.folders import find_domains
    from i2icli.datasets.check import check_domains
    from i2icli.system.processes.work_queue import executor

    domains = find_domains(_data_config(root, domain_a, domain_b))
    with executor(workers or nproc) as own, progress_bar("checking") as report:
        result = check_domains(domains, crop=crop, progress=report, executor=own)
    show(result, as_json=as_json)
    if result.verdict == "unusable":
        raise typer.Exit(3)


def _data_config(root: Path | None, domain_a: Path | None, domain_b: Path | None) -> DataConfig:
    from i2icli.config.sections import DataConfig

    if (root is None) == (domain_a is None and domain_b is None):
        raise ConfigError("Give a folder with trainA and trainB, or --domain-a X --domain-b Y.")
    if root is not None:
        return DataConfig(root=str(root))
    if domain_a is None or domain_b is None:
        raise ConfigError("--domain-a and --domain-b are given together.")
    return DataConfig(domain_a=str(domain_a), domain_b=str(domain_b))


@data_app.command(
    "stats",
    epilog=examples(
        "i2i data stats horse2zebra/",
        "i2i data stats horse2zebra/ --preset cut --seconds-per-step 0.12",
    ),
)
def stats(
    root: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A folder with trainA and trainB.")
    ] = None,
    domain_a: DomainA = None,
    domain_b: DomainB = None,
    preset: Annotated[
        str, typer.Option(help="Whose schedule and batch size count.")
    ] = "qs-attn-global",
    seconds_per_step: Annotated[
        float | None, typer.Option(metavar="S", help="Measured time of a step, for the hours.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count pictures, and say what a preset's schedule amounts to on them."""
    from i2icli.data.folders import find_domains
    from i2icli.datasets.stats import measure_part, plan_training, stats_lines
    from i2icli.methods import method_of
    from i2icli.methods.shared.configure import configure_run

    config = configure_run(preset)
    kind = method_of(config).data
    domains = find_domains(_data_config(root, domain_a, domain_b), kind)
    parts = {
        "trainA": domains.train_a,
        "trainB": domains.train_b,
        "testA": domains.test_a,
        "testB": domains.test_b,
    }
    plan = plan_training(
        domains,
        batch_size=config.data.batch_size,
        total_steps=config.method.schedule.total_steps,
        is_random_pairing=config.data.pairing == "random",
        seconds_per_step=seconds_per_step,
        crops=config.data.patches_per_epoch if kind == "single" else None,
    )
    sizes = {part: measure_part(paths) for part, paths in parts.items() if paths}
    result = {"preset": preset, "parts": sizes, "plan": plan}
    where = str(root) if root is not None else f"--set data.domain_a={domain_a} ..."
    show(Told(result, stats_lines(preset, sizes, plan, where)), as_json=as_json)


@data_app.command(
    "get",
    epilog=examples(
        "i2i data get --list",
        "i2i data get horse2zebra",
        "i2i data get horse2zebra --from ~/Downloads/horse2zebra.zip",
    ),
)
def get(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A name from --list.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the registered sets.")] = False,
    archive: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A .zip or .tar.gz that is here already."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="A new folder; none: I2I_HOME/datasets/NAME."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a registered data set, or unpack its archive; safe to run again."""
    from i2icli.datasets.catalogue import CATALOGUE, find_data_set, list_lines

    if list_all:
        show(Told(list(CATALOGUE.values()), list_lines(CATALOGUE)), as_json=as_json)
        return
    if name is None:
        raise ConfigError("Name a data set; i2i data get --list shows all.")
    from i2icli.datasets.obtain import obtain

    with progress_bar("downloading", is_bytes=True) as report:
        result = obtain(
            find_data_set(name), folder=out, archive=archive, is_offline=offline, progress=report
        )
    for difference in result.differences:
        typer.echo(f"warning: {difference}; results will not compare with published ones", err=True)
    show(result, as_json=as_json)
