"""`i2i eval`: how good translations are, with the protocol of every number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from i2icli.cli.evaluate_words import show_one, show_several
from i2icli.cli.options import AsJson, Device, Direction, Processes
from i2icli.cli.progress import progress_bar
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.evaluation.evaluate import Evaluated, Request
    from i2icli.evaluation.segmenters import Scorer
    from i2icli.pictures.label_maps import LabelScheme
    from i2icli.system.shares import Process

Checkpoint = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN|CKPT]",
        help="A checkpoint, a run folder: its last.pt, or zoo:NAME; none: the newest run in runs/.",
    ),
]
Fid = Annotated[bool, typer.Option("--fid", help="Frechet Inception distance.")]
Kid = Annotated[bool, typer.Option("--kid", help="Kernel Inception distance.")]
Lpips = Annotated[
    bool, typer.Option("--lpips", help="LPIPS against the inputs, and the truth where it is known.")
]
Structure = Annotated[
    bool, typer.Option("--structure", help="VGG16 self-similarity distance to the inputs.")
]
Diversity = Annotated[
    bool,
    typer.Option(
        "--diversity",
        help="LPIPS among translations of one input in --styles random styles; in --fake among "
        "NAME_1.png, NAME_2.png, ...",
    ),
]
Styles = Annotated[
    int | None, typer.Option(min=2, metavar="N", help="With --diversity: styles an input; 10.")
]
Seg = Annotated[
    bool,
    typer.Option(
        "--seg",
        help="Scores of label maps: a segmenter's; a translator's by --segmenter; or true ones "
        "--real, predicted --fake.",
    ),
]
SegmenterCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--segmenter",
        metavar="CKPT",
        help="With --seg: a segmenter that tells what the photos made of label maps show.",
    ),
]
Judge = Annotated[  # what --segmenter was called in 0.1.0
    Path | None, typer.Option("--judge", metavar="CKPT", hidden=True)
]
Classes = Annotated[
    int | None, typer.Option(metavar="N", help="With --seg: classes, with ids from 0 on.")
]
Ignore = Annotated[
    int | None,
    typer.Option(metavar="ID", help="With --seg: id that is not scored; 255, or the segmenter's."),
]
PaletteName = Annotated[
    str | None,
    typer.Option(
        "--palette", metavar="NAME|FILE", help="With --seg: colours; cityscapes, or lines `R G B`."
    ),
]
TruthError = Annotated[
    bool, typer.Option("--truth-error", help="Error against the true translations (demo set).")
]
Net = Annotated[str, typer.Option("--net", metavar="alex|vgg", help="Network of LPIPS.")]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data set with testA and testB; none: the run's own."),
]
Real = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Real pictures, with --fake: no checkpoint. For --fid and --kid also .tar shards: "
        "one, a folder of them, a quoted pattern, or 'set-{000..099}.tar'.",
    ),
]
Fake = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Made pictures to measure; shards as for --real.")
]
Inputs = Annotated[
    Path | None, typer.Option(metavar="DIR", help="With --fake: what they were made from.")
]
Truth = Annotated[Path | None, typer.Option(metavar="DIR", help="The true pictures, for LPIPS.")]
AllCheckpoints = Annotated[
    bool, typer.Option("--all-checkpoints", help="Measure every kept checkpoint of the run.")
]
Named = Annotated[
    str | None,
    typer.Option(
        "--protocol", metavar="NAME", help="A paper's way: cut, qs-attn, cyclegan, f-lsesim, clean."
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="clean (default), legacy_pytorch or legacy_tensorflow; the protocol's where one is.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Pictures through Inception at once."),
]
Keep = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep the translations in this new folder.")
]
Work = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="DIR",
        help="Keep the features here; none: in I2I_HOME, those of made pictures until the end.",
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Never use the network; measuring downloads nothing anyway."),
]

_Folders = tuple[Path | None, Path | None, Path | None]  # made, real and input pictures
_NAMES = ("fid", "kid", "lpips", "structure", "diversity", "seg", "truth")


def evaluate(
    checkpoint: Checkpoint = None,
    fid: Fid = False,
    kid: Kid = False,
    lpips: Lpips = False,
    structure: Structure = False,
    diversity: Diversity = False,
    styles: Styles = None,
    seg: Seg = False,
    truth_error: TruthError = False,
    net: Net = "alex",
    data: Data = None,
    real: Real = None,
    fake: Fake = None,
    inputs: Inputs = None,
    truth: Truth = None,
    classes: Classes = None,
    ignore: Ignore = None,
    palette: PaletteName = None,
    segmenter: SegmenterCheckpoint = None,
    judge: Judge = None,
    all_checkpoints: AllCheckpoints = False,
    protocol: Named = None,
    mode: Mode = None,
    direction: Direction = "a2b",
    batch: Batch = None,
    device: Device = "auto",
    offline: Offline = False,  # noqa: ARG001 - a promise that is always kept
    keep: Keep = None,
    work: Work = None,
    nproc: Processes = 1,
    as_json: AsJson = False,
) -> None:
    """Translate a run's test pictures and measure them; or measure two folders, or shards.

    Without metrics, all that the data and the weights at hand allow.
    """
    _check_effects(segmenter := segmenter or judge, styles, fake, seg=seg, diversity=diversity)
    _check_folders(checkpoint, real=real, fake=fake, inputs=inputs, others=all_checkpoints or keep)
    from i2icli.evaluation.evaluate import Request
    from i2icli.evaluation.protocols import find_protocol
    from i2icli.metrics.inception import check_mode

    request = Request(
        names=_chosen(fid, kid, lpips, structure, diversity, seg, truth_error),
        protocol=None if protocol is None else find_protocol(protocol),
        mode=None if mode is None else check_mode(mode),
        direction=direction,
        data=data,
        truth=truth,
        lpips_net=_check_net(net),
        device=device,
        batch_size=batch,
        keep=keep,
        labels=_label_scheme(classes, ignore, palette, seg=seg, fake=fake, segmenter=segmenter),
        styles=styles or 10,
        scorer=_scorer(segmenter, ignore, palette),
        work=work and work.expanduser(),
    )
    _measure(checkpoint, (fake, real, inputs), request, nproc, all_checkpoints, as_json=as_json)


def _measure(
    checkpoint: Path | None,
    folders: _Folders,
    request: Request,
    count: int,
    all_checkpoints: bool,
    *,
    as_json: bool,
) -> None:
    from i2icli.system.allocator import claim_process
    from i2icli.system.shares import joined_processes

    claim_process()
    with joined_processes(count) as process:
        if process.count > 1 and not process.is_joined:
            raise ConfigError(
                "processes that measure together must reach each other: use torchrun."
            )
        if folders[0] is not None:
            _measure_folders(folders, request, process, as_json=as_json)
        elif all_checkpoints:
            _measure_run(checkpoint, request, process, as_json=as_json)
        else:
            _measure_checkpoint(checkpoint, request, process, as_json=as_json)


def _chosen(*flags: bool) -> tuple[str, ...]:
    return tuple(name for name, is_wanted in zip(_NAMES, flags, strict=True) if is_wanted)


def _check_net(net: str) -> Literal["alex", "vgg"]:
    if net in ("alex", "vgg"):
        return "vgg" if net == "vgg" else "alex"
    raise ConfigError(f"--net {net!r} is no network of LPIPS: use alex or vgg.")


def _check_effects(
    segmenter: Path | None, styles: int | None, fake: Path | None, *, seg: bool, diversity: bool
) -> None:
    if segmenter is not None and (fake is not None or not seg):
        raise ConfigError(
            f"--segmenter {segmenter} segments the photos that a translator makes of label maps: "
            "i2i eval RUN --seg --segmenter CKPT."
        )
    if styles is not None and (fake is not None or not diversity):
        raise ConfigError(
            f"--styles {styles} is of the random styles that --diversity translates a checkpoint's "
            "test pictures in: i2i eval RUN --diversity --styles N."
        )


def _scorer(segmenter: Path | None, ignore: int | None, palette: str | None) -> Scorer | None:
    from i2icli.evaluation.segmenters import Scorer

    return None if segmenter is None else Scorer(segmenter.expanduser(), ignore, palette)


def _label_scheme(
    classes: int | None,
    ignore: int | None,
    palette: str | None,
    *,
    seg: bool,
    fake: Path | None,
    segmenter: Path | None,
) -> LabelScheme | None:
    from i2icli.pictures.label_maps import LabelScheme, load_palette

    given = {"--classes": classes, "--ignore": ignore, "--palette": palette}
    if not seg:
        for flag, value in given.items():
            if value is not None:
                raise ConfigError(f"{flag} {value} is about label maps: add --seg.")
        return None
    if fake is None:
        given = {"--classes": classes} if segmenter else given
        for flag, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"{flag} {value}: a segmenter's checkpoint says it, leave it out; label maps "
                    "that are made already: i2i eval --seg --real TRUE --fake PREDICTED."
                )
        return None
    if classes is None:
        raise ConfigError("--seg needs the number of classes: add --classes N.")
    return LabelScheme(
        classes,
        255 if ignore is None else ignore,
        None if palette is None else load_palette(palette),
    )


def _check_folders(
    checkpoint: Path | None,
    *,
    real: Path | None,
    fake: Path | None,
    inputs: Path | None,
    others: object,
) -> None:
    if fake is None:
        if real is not None or inputs is not None:
            name = "--real" if real is not None else "--inputs"
            raise ConfigError(
                f"{name} goes with --fake: i2i eval --fid --real DIR --fake DIR. A checkpoint is "
                "measured on a data set: --data DIR."
            )
        return
    if checkpoint is not None or others:
        raise ConfigError(
            "--fake measures pictures that are made already: leave out the checkpoint, "
            "--all-checkpoints and --keep, or leave out --fake."
        )


def _measure_folders(
    folders: _Folders, request: Request, process: Process, *, as_json: bool
) -> None:
    from i2icli.evaluation.evaluate import evaluate_folders
    from i2icli.metrics.choose import Subject

    outputs, reals, inputs = folders
    subject = Subject(outputs, reals, inputs, request.truth)
    evaluated = evaluate_folders(subject, request, bars=progress_bar, process=process)
    if process.is_first:
        show_one(evaluated, request.protocol, as_json=as_json)


def _measure_checkpoint(
    named: Path | None, request: Request, process: Process, *, as_json: bool
) -> None:
    from i2icli.evaluation.evaluate import evaluate_checkpoint
    from i2icli.runs.paths import find_checkpoint

    file = find_checkpoint(_named_or_newest(named, process))
    evaluated = evaluate_checkpoint(file, request, bars=progress_bar, process=process)
    if process.is_first:
        show_one(evaluated, request.protocol, as_json=as_json)


def _measure_run(named: Path | None, request: Request, process: Process, *, as_json: bool) -> None:
    from i2icli.evaluation.evaluate import check_alike, evaluate_checkpoint
    from i2icli.runs.paths import checkpoints_of

    found: list[Evaluated] = []
    for entry in checkpoints_of(_named_or_newest(named, process)):
        keep = request.keep / entry.path.stem if request.keep else None
        if process.is_first:
            typer.echo(f"step {entry.step}: {entry.path}", err=True)
        own = replace(request, keep=keep)
        found.append(evaluate_checkpoint(entry.path, own, bars=progress_bar, process=process))
    check_alike(found)
    if process.is_first:
        show_several(found, request.protocol, as_json=as_json)


def _named_or_newest(named: Path | None, process: Process) -> Path:
    if named is not None:
        return named
    from i2icli.runs.paths import newest_run

    run = newest_run()
    if process.is_first:
        typer.echo(f"the newest run: {run}", err=True)
    return run
