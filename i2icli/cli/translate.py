"""`i2i translate`: pictures through a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import AsJson, Device, Direction, NoMark, Overwrite, Processes
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from i2icli.cli.translate_work import Wanted
    from i2icli.system.choices import Choices
    from i2icli.translation.scale import ScaleChoice
    from i2icli.translation.translator import Translator

_LOSSLESS = ("png", "bmp", "tif", "tiff")

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT", help="A checkpoint, a run folder: its last.pt, or zoo:NAME (i2i zoo list)."
    ),
]
In = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="A picture, a folder, a quoted pattern ('in/**/*.jpg'), a .txt file with one path a "
        "line, or - for such lines on standard input; also .tar shards: one, a folder of them, "
        "or 'set-{000..099}.tar'.",
    ),
]
Out = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="A folder, which mirrors IN; for one picture also a file name such as out.png; for "
        "shards a folder of shards.",
    ),
]
Precision = Annotated[
    str, typer.Option(help="auto (as the run was trained), float32, bfloat16 or float16.")
]
BatchSize = Annotated[
    str, typer.Option(metavar="auto|N", help="Pictures of one size translated at once.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="png (default), jpg, webp, bmp, tiff; keep: as the input."),
]
Quality = Annotated[int | None, typer.Option(min=1, max=100, help="Of jpg and webp. Default: 95.")]
Suffix = Annotated[str, typer.Option(help="Added to every output's name, for example _zebra.")]
Grid = Annotated[
    bool, typer.Option("--grid", help="Also write contact sheets, source beside translation.")
]
Styles = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Outputs in N random styles, of methods with styles."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="S", help="With --styles: of the random styles; 0.")
]
StyleFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--style-from",
        metavar="PICTURE",
        help="An output in the style of this picture of the target domain, or of each picture of "
        "a folder; may be given several times.",
    ),
]
Masks = Annotated[
    bool, typer.Option("--masks", help="Also write the masks of methods that make some.")
]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave outputs that are already there.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most memory to take, such as 4G. Default: most of what is free."
    ),
]
TilesChoice = Annotated[
    str,
    typer.Option(
        "--tiles",
        metavar="auto|exact|fast|off",
        help="Large pictures in tiles: auto: exactly, where the whole does not fit.",
    ),
]
ScaleText = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="auto|none|N",
        help="Size that the network works at: auto: training's, where the picture's differs; none: "
        "the picture's; 0.5: half of its sides; 144px: that geometric mean of them.",
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the generator first, for many pictures of few sizes on a GPU.",
    ),
]


def translate(
    checkpoint: Checkpoint,
    source: In,
    out: Out,
    direction: Direction = "a2b",
    device: Device = "auto",
    precision: Precision = "auto",
    batch: BatchSize = "auto",
    format_: Format = None,
    quality: Quality = None,
    suffix: Suffix = "",
    grid: Grid = False,
    styles: Styles = None,
    seed: Seed = None,
    style_from: StyleFrom = None,
    masks: Masks = False,
    skip_existing: SkipExisting = False,
    memory: Memory = None,
    tiles: TilesChoice = "auto",
    scale: ScaleText = "auto",
    compile_: Compile = None,
    nproc: Processes = 1,
    no_mark: NoMark = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Translate pictures of any size with a trained checkpoint."""
    from i2icli.cli.translate_work import Task, translate_all
    from i2icli.system.shares import joined_processes
    from i2icli.translation.folder import FolderOptions
    from i2icli.translation.large import parse_tiles
    from i2icli.translation.scale import check_scale
    from i2icli.translation.styles import SameStyles

    _check_styles(styles, seed, style_from)
    with joined_processes(nproc) as process:
        if process.count > 1:
            _check_shared(source, grid=grid)
        wanted = _find(source, out, format_=format_, suffix=suffix, quality=quality)
        batch_size = _parse_batch(batch)
        large, worked_at = parse_tiles(tiles, memory), check_scale(scale)
        translator = _load(checkpoint, device, precision, compile_, memory)
        if process.rank == 0 and translator.choices is not None:
            _say_choices(translator.choices)
        _check_made(translator, wanted, wants_masks=masks)
        names, codes = _choose_styles(
            translator, styles, seed, style_from, direction=direction, scale=worked_at
        )
        options = FolderOptions(
            direction=direction,
            batch_size=batch_size,
            quality=quality or 95,
            skip_existing=skip_existing,
            styles_of=None if codes is None else SameStyles(codes),
            tiles=large,
            scale=worked_at,
            is_marked=not no_mark,
        )
        task = Task(translator, options, names, masks, grid, process, may_replace=overwrite)
        translate_all(task, wanted, as_json=as_json)


def _say_choices(choices: Choices) -> None:
    settings = choices.again()
    again = f"; the same choices as settings of a run: {settings}" if settings else ""
    typer.echo(f"translating on {choices.describe()}{again}", err=True)


def _check_shared(source: str, *, grid: bool) -> None:
    if source == "-":
        raise ConfigError(
            "several processes cannot read one standard input: write the list to a .txt file."
        )
    if grid:
        raise ConfigError("contact sheets need all pictures in one process: leave --grid out.")


def _load(
    checkpoint: Path, device: str, precision: str, compile_: bool | None, memory: str | None
) -> Translator:
    from i2icli.system.allocator import claim_process, limit_kernels
    from i2icli.system.shares import device_of_rank
    from i2icli.translation.translator import load_translator

    claim_process()
    limit_kernels()
    return load_translator(
        checkpoint,
        device=device_of_rank(device),
        precision=precision,
        compile=compile_,
        # A bound holds only if what is freed really goes back.
        reuse_memory=None if memory is None else False,
    )


def _find(
    named: str, out: Path, *, format_: str | None, suffix: str, quality: int | None
) -> Wanted:
    from i2icli.cli.translate_work import Wanted
    from i2icli.pictures.tar_sets import find_shards
    from i2icli.translation.sources import find_sources, is_list, is_picture
    from i2icli.translation.targets import check_folder_name

    path = Path(named).expanduser()
    shards = find_shards(named, out=out)
    is_one = named != "-" and shards is None and path.is_file() and not is_list(path)
    is_file = is_one and is_picture(out) and not out.is_dir()
    if not is_file:
        check_folder_name(out)
    if is_file and (suffix or (format_ and f".{format_}" != out.suffix.lower())):
        raise ConfigError(
            f"OUT names the file {out}, which leaves nothing to --format and --suffix: "
            "leave them out, or give a folder."
        )
    format_ = out.suffix[1:].lower() if is_file else format_ or "png"
    if quality is not None and format_ in _LOSSLESS:
        raise ConfigError(
            f"--quality {quality} means nothing to {format_}: use it with jpg or webp."
        )
    if path.is_dir() and out.is_dir() and out.samefile(path):
        raise ConfigError(f"OUT is IN ({out}): give another folder, such as {out / 'translated'}.")
    lines = sys.stdin.read().splitlines() if named == "-" else ()
    if shards is not None:
        if suffix:
            raise ConfigError("samples keep their keys: leave --suffix out.")
        return Wanted((), out, is_file, format_, suffix, shards)
    sources = find_sources(named, lines=lines, out=None if is_file else out)
    return Wanted(sources, out, is_file, format_, suffix)


def _check_styles(count: int | None, seed: int | None, pictures: list[str] | None) -> None:
    if count is not None and pictures:
        raise ConfigError(
            "--styles draws styles at random and --style-from takes them from pictures: "
            "leave one of them out."
        )
    if seed is not None and count is None:
        raise ConfigError(f"--seed {seed} is of random styles: add --styles N.")


def _check_made(translator: Translator, wanted: Wanted, *, wants_masks: bool) -> None:
    if wants_masks and not translator.mask_names:
        raise ConfigError(f"{translator.name} makes no masks: leave --masks out.")
    if translator.segments and wanted.format != "png":
        raise ConfigError(
            f"{translator.name} makes label maps, and these are written as png, which keeps the "
            f"ids: {wanted.format} is not possible."
        )


def _choose_styles(
    translator: Translator,
    count: int | None,
    seed: int | None,
    pictures: list[str] | None,
    *,
    direction: str,
    scale: ScaleChoice,
) -> tuple[tuple[str, ...], Tensor | None]:
    from i2icli.translation.styles import style_names, styles_of_pictures

    if count is not None:
        return style_names(count), translator.styles(count, seed or 0)
    if pictures:
        rule = translator.scale_for(scale)
        return styles_of_pictures(translator.method, pictures, direction, scale=rule)
    return (), None


def _parse_batch(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--batch {text!r} is no batch size: use auto, 1, 2, ...")
    return int(text)
