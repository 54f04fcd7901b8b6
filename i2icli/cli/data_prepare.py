"""`i2i data prepare`: the layout from folders, pairs or videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from i2icli.cli.options import AsJson
from i2icli.cli.show import Told, show
from i2icli.errors import ConfigError

if TYPE_CHECKING:
    from i2icli.datasets.pairs import Layout
    from i2icli.datasets.placing import Resize
    from i2icli.datasets.prepare import Prepared, SplitRule

LAYOUTS = ("side-by-side-ab", "side-by-side-ba", "folders")

DirA = Annotated[
    Path | None,
    typer.Argument(metavar="A_DIR", help="Pictures of domain A in any depth, or a video."),
]
DirB = Annotated[Path | None, typer.Argument(metavar="B_DIR", help="The same of domain B.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder; required.")]
TestFraction = Annotated[float, typer.Option(help="Share of each domain that is for testing.")]
TestCount = Annotated[int | None, typer.Option(help="Number instead of a share; 0: none.")]
Seed = Annotated[int, typer.Option(help="Draws which pictures are for testing.")]
Copy = Annotated[bool, typer.Option("--copy", help="Copy files; without it they are hard links.")]
Side = Annotated[
    int | None,
    typer.Option(metavar="N", help="Decode, scale the shorter side down to N, write PNG."),
]
Exact = Annotated[bool, typer.Option("--exact", help="With --resize: N x N, whatever the shape.")]
Cache = Annotated[
    int | None,
    typer.Option(
        metavar="SIDE",
        help="Also keep training pictures decoded at SIDE x SIDE, data.resize of the runs to come.",
    ),
]
Paired = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Take pairs, instead of A_DIR and B_DIR.")
]
LayoutName = Annotated[
    str, typer.Option(help="Of --paired: side-by-side-ab, side-by-side-ba or folders.")
]
Video = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a video's frames to a plain folder.")
]
Every = Annotated[int, typer.Option(metavar="N", help="Of a video one frame in N.")]


def prepare(
    domain_a: DirA = None,
    domain_b: DirB = None,
    out: Out = None,
    test_fraction: TestFraction = 0.1,
    test_count: TestCount = None,
    seed: Seed = 0,
    copy: Copy = False,
    resize: Side = None,
    exact: Exact = False,
    cache: Cache = None,
    paired: Paired = None,
    layout: LayoutName = "side-by-side-ab",
    video: Video = None,
    every: Every = 1,
    as_json: AsJson = False,
) -> None:
    """Build trainA, trainB, testA and testB from folders, pairs or videos."""
    given = [domain_a is not None or domain_b is not None, paired is not None, video is not None]
    if sum(given) != 1:
        raise ConfigError("Give A_DIR and B_DIR, or --paired DIR, or --video FILE.")
    if out is None:
        raise ConfigError("--out is missing: name a new folder, for example --out dataset")
    if exact and resize is None:
        raise ConfigError("--exact needs --resize N.")
    if cache is not None and (video is not None or not 4 <= cache <= 16384):
        raise ConfigError("--cache takes 4 to 16384 pixels, and a set with trainA and trainB.")
    if video is not None:
        _prepare_video(video, out, every=every, as_json=as_json)
        return
    from i2icli.datasets.placing import Resize
    from i2icli.datasets.prepare import SplitRule, prepare_folders

    rule = SplitRule(fraction=test_fraction, count=test_count, seed=seed)
    shrink = None if resize is None else Resize(resize, "exact" if exact else "shorter")
    if paired is not None:
        result = _prepare_pairs(paired, out, layout, rule=rule, copy=copy, resize=shrink)
    elif domain_a is None or domain_b is None:
        raise ConfigError("B_DIR is missing: give the folders of both domains, A_DIR B_DIR.")
    else:
        result = prepare_folders(
            domain_a,
            domain_b,
            out,
            rule=rule,
            transfer="copy" if copy else "link",
            resize=shrink,
            every=every,
        )
    if cache is not None:
        _keep(out, cache)
    _report(result, as_json=as_json)


def _keep(out: Path, side: int) -> None:
    from i2icli.cli.data_cache import build_with_bar, cache_lines, report_failed
    from i2icli.config.sections import DataConfig

    built = build_with_bar(DataConfig(root=str(out), resize=side, crop=min(side, 256)))
    report_failed(built)
    for line in cache_lines(built):
        typer.echo(line, err=True)


def _report(result: Prepared, *, as_json: bool) -> None:
    """Name what was left out, then say what was built; exit 3 with unreadable pictures."""
    for fault in result.failed:
        typer.echo(f"left out: {fault}", err=True)
    for path in result.unmatched:
        typer.echo(f"left out, no partner: {path}", err=True)
    show(result, as_json=as_json)
    if result.failed:
        raise typer.Exit(3)


def _prepare_pairs(
    paired: Path, out: Path, layout: str, *, rule: SplitRule, copy: bool, resize: Resize | None
) -> Prepared:
    from i2icli.datasets.pairs import prepare_pairs

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
    from i2icli.datasets.prepare import check_out
    from i2icli.pictures.frames import extract_frames
    from i2icli.system.files import whole_folder

    check_out(out, ())
    with whole_folder(out) as fresh:
        count = extract_frames(video, fresh, every=every)
    lines = [
        f"{out}: {count} frames",
        f"Give it as a domain: i2i data prepare {out} OTHER_DIR --out DIR",
    ]
    show(Told({"folder": out, "frames": count}, lines), as_json=as_json)
