"""`i2i data`: get, make, prepare, check and count the pictures to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.data_words import (
    check_lines,
    get_lines,
    list_lines,
    prepare_lines,
    score_lines,
    show,
    stats_lines,
)
from i2icli.cli.options import AsJson, examples
from i2icli.cli.progress import progress_bar
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.config.sections import DataConfig
    from i2icli.data.pairs import Layout
    from i2icli.data.placing import Resize
    from i2icli.data.prepare import Prepared, SplitRule

data_app = typer.Typer(
    help="Make, get, prepare and check pictures to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LAYOUTS = ("side-by-side-ab", "side-by-side-ba", "folders")
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
        typer.Argument(metavar="[OUT]", help="A new folder; none: the built-in set, made once."),
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
    from i2icli.data.demo import DemoPlan, demo_folder, make_demo_set

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
        from i2icli.evaluation.truth import score_folder

        result = score_folder(score, root)
        show(result, as_json=as_json, lines=score_lines(result))
        return
    counts = {"trainA": plan.train, "trainB": plan.train, "testA": plan.test, "testB": plan.test}
    made = {"folder": root, "size": size, "seed": seed, "counts": counts}
    lines = [
        f"{root}: " + ", ".join(f"{name} {number}" for name, number in counts.items()),
        f"The true translations of testA are in {root / 'testA_truth'}, the masks in testA_mask.",
        "Train on it: i2i train --preset demo" + ("" if out is None else f" --data {out}"),
    ]
    show(made, as_json=as_json, lines=lines)


@data_app.command(
    "prepare",
    epilog=examples(
        "i2i data prepare horses/ zebras/ --out horse2zebra",
        "i2i data prepare A/ B/ --out cache286 --resize 286 --exact",
        "i2i data prepare --paired facades/ --layout side-by-side-ba --out labels2photos",
        "i2i data prepare --video walk.mp4 --every 10 --out frames/",
    ),
)
def prepare(
    domain_a: Annotated[
        Path | None,
        typer.Argument(metavar="[A_DIR]", help="Pictures of domain A in any depth, or a video."),
    ] = None,
    domain_b: Annotated[
        Path | None, typer.Argument(metavar="[B_DIR]", help="The same of domain B.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new folder; required.")
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of each domain that is for testing.")
    ] = 0.1,
    test_count: Annotated[
        int | None, typer.Option(help="Number instead of a share; 0: none.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws which pictures are for testing.")] = 0,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files; without it they are hard links.")
    ] = False,
    resize: Annotated[
        int | None,
        typer.Option(metavar="N", help="Decode, scale the shorter side down to N, write PNG."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="With --resize: N x N, whatever the shape.")
    ] = False,
    paired: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take pairs, instead of A_DIR and B_DIR.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of --paired: side-by-side-ab, side-by-side-ba or folders.")
    ] = "side-by-side-ab",
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a video's frames to a plain folder.")
    ] = None,
    every: Annotated[int, typer.Option(metavar="N", help="Of a video one frame in N.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Build trainA, trainB, testA and testB from folders, pairs or videos."""
    from i2icli.data.placing import Resize
    from i2icli.data.prepare import SplitRule

    given = [domain_a is not None or domain_b is not None, paired is not None, video is not None]
    if sum(given) != 1:
        raise ConfigError("Give A_DIR and B_DIR, or --paired DIR, or --video FILE.")
    if out is None:
        raise ConfigError("--out is missing: name a new folder, for example --out dataset")
    if exact and resize is None:
        raise ConfigError("--exact needs --resize N.")
    rule = SplitRule(fraction=test_fraction, count=test_count, seed=seed)
    shrink = None if resize is None else Resize(resize, "exact" if exact else "shorter")
    if video is not None:
        _prepare_video(video, out, every=every, as_json=as_json)
        return
    if paired is not None:
        result = _prepare_pairs(paired, out, layout, rule=rule, copy=copy, resize=shrink)
    elif domain_a is None or domain_b is None:
        raise ConfigError("B_DIR is missing: give the folders of both domains, A_DIR B_DIR.")
    else:
        from i2icli.data.prepare import prepare_folders

        result = prepare_folders(
            domain_a,
            domain_b,
            out,
            rule=rule,
            transfer="copy" if copy else "link",
            resize=shrink,
            every=every,
        )
    for fault in result.failed:
        typer.echo(f"left out: {fault}", err=True)
    for path in result.unmatched:
        typer.echo(f"left out, no partner: {path}", err=True)
    show(result, as_json=as_json, lines=prepare_lines(result))
    if result.failed:
        raise typer.Exit(3)


def _prepare_pairs(
    paired: Path,
    out: Path,
    layout: str,
    *,
    rule: SplitRule,
    copy: bool,
    resize: Resize | None,
) -> Prepared:
    from i2icli.data.pairs import prepare_pairs

    if layout not in LAYOUTS:
        raise ConfigError(f"--layout is {layout!r}; give {', '.join(LAYOUTS[:-1])} or folders.")
    known: Layout = layout  # type: ignore[assignment]
    return prepare_pairs(
        paired,
        out,
        layout=known,
        rule=rule,
        transfer="copy" if copy else "link",
        resize=resize,
    )


def _prepare_video(video: Path, out: Path, *, every: int, as_json: bool) -> None:
    from i2icli.data.frames import extract_frames
    from i2icli.data.prepare import building, check_out

    check_out(out, ())
    with building(out) as fresh:
        count = extract_frames(video, fresh, every=every)
    lines = [
        f"{out}: {count} frames",
        f"Give it as a domain: i2i data prepare {out} OTHER_DIR --out DIR",
    ]
    show({"folder": out, "frames": count}, as_json=as_json, lines=lines)


@data_app.command(
    "check",
    epilog=examples(
        "i2i data check horse2zebra/", "i2i data check --domain-a horses/ --domain-b zebras/"
    ),
)
def check(
    root: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A folder with trainA and trainB.")
    ] = None,
    domain_a: DomainA = None,
    domain_b: DomainB = None,
    crop: Annotated[int, typer.Option(help="Side of the training crop, pixels.")] = 256,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; by default one a core.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decode every picture and report what may spoil training; exit 3 with unreadable files."""
    from i2icli.data.check import check_domains
    from i2icli.data.folders import find_domains

    domains = find_domains(_data_config(root, domain_a, domain_b))
    with progress_bar("checking") as report:
        result = check_domains(domains, crop=crop, workers=workers, progress=report)
    show(result, as_json=as_json, lines=check_lines(result))
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
        Path | None, typer.Argument(metavar="[DIR]", help="A folder with trainA and trainB.")
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
    from i2icli.data.stats import measure_part, plan_training
    from i2icli.methods.configure import configure_run

    config = configure_run(preset)
    domains = find_domains(_data_config(root, domain_a, domain_b))
    parts = {
        "trainA": domains.train_a,
        "trainB": domains.train_b,
        "testA": domains.test_a,
        "testB": domains.test_b,
    }
    plan = plan_training(
        domains,
        batch_size=config.data.batch_size,
        epochs=config.method.schedule.total_epochs,
        is_random_pairing=config.data.pairing == "random",
        seconds_per_step=seconds_per_step,
    )
    sizes = {part: measure_part(paths) for part, paths in parts.items() if paths}
    result = {"preset": preset, "parts": sizes, "plan": plan}
    where = str(root) if root is not None else f"--set data.domain_a={domain_a} ..."
    show(result, as_json=as_json, lines=stats_lines(preset, sizes, plan, where))


@data_app.command(
    "get",
    epilog=examples(
        "i2i data get --list",
        "i2i data get horse2zebra",
        "i2i data get horse2zebra --from ~/Downloads/horse2zebra.zip",
    ),
)
def get(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A name from --list.")
    ] = None,
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
    from i2icli.data.catalogue import CATALOGUE, find_data_set

    if list_all:
        show(list(CATALOGUE.values()), as_json=as_json, lines=list_lines(CATALOGUE))
        return
    if name is None:
        raise ConfigError("Name a data set; i2i data get --list shows all.")
    from i2icli.data.obtain import obtain

    with progress_bar("downloading", is_bytes=True) as report:
        result = obtain(
            find_data_set(name), folder=out, archive=archive, is_offline=offline, progress=report
        )
    for difference in result.differences:
        typer.echo(f"warning: {difference}; results will not compare with published ones", err=True)
    show(result, as_json=as_json, lines=get_lines(result))
