"""Builds an unpaired data set from a paired one, and keeps the pairs of the test pictures as truth.

Training sees both domains without the pairing, as the papers do with facades, maps and Cityscapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from i2icli.datasets.placing import Placer, Resize, unique_names
from i2icli.datasets.prepare import (
    Prepared,
    SplitRule,
    Transfer,
    check_out,
    describe,
    some_pictures,
    split,
)
from i2icli.errors import DataError
from i2icli.pictures.images import Picture, read_picture
from i2icli.pictures.listing import list_pictures
from i2icli.system.files import whole_folder

Layout = Literal["side-by-side-ab", "side-by-side-ba", "folders"]


def prepare_pairs(
    pairs: Path,
    out: Path,
    *,
    layout: Layout,
    rule: SplitRule | None = None,
    transfer: Transfer = "link",
    resize: Resize | None = None,
) -> Prepared:
    """Build a data set from pictures that hold both domains, or folders A and B with equal names.

    A split that is there is kept: folders `train` and `test` (else `val`) inside `pairs`, or for
    the layout `folders` inside its `A` and `B`; elsewhere a tenth is for testing, or by `rule`.
    Halves are always written, as PNG, and each is resized.

    Raises:
        ConfigError: `out` is in use.
        DataError: the folders are not laid out like that.
    """
    rule = rule or SplitRule()
    rule.check()
    check_out(out, (pairs,))
    placer = Placer(transfer=transfer, resize=resize)
    with whole_folder(out) as fresh:
        if layout == "folders":
            _from_folders(pairs, fresh, rule=rule, placer=placer)
        else:
            is_swapped = layout == "side-by-side-ba"
            _from_halves(pairs, fresh, rule=rule, placer=placer, is_swapped=is_swapped)
    return describe(out, placer)


def _from_halves(
    pairs: Path, fresh: Path, *, rule: SplitRule, placer: Placer, is_swapped: bool
) -> None:
    parts = _split_of(pairs, rule)
    for part, paths in parts.items():
        names = unique_names(paths, pairs, suffix=".png")
        for path in paths:
            try:
                left, right = read_halves(path)
            except DataError as error:
                placer.failed.append(str(error))
                continue
            half_a, half_b = (right, left) if is_swapped else (left, right)
            placer.write(half_a, fresh / f"{part}A" / names[path])
            for folder in _places_of_b(part):
                placer.write(half_b, fresh / folder / names[path])
    _check_some(fresh, pairs, placer)


def read_halves(path: Path) -> tuple[Picture, Picture]:
    """Return the left and the right half of a picture that holds a pair.

    Raises:
        DataError: it cannot be read, or its width is odd.
    """
    picture = read_picture(path, channels=None)
    width = picture.pixels.shape[1]
    if width % 2 or width < 2:
        raise DataError(f"{path} is {width} pixels wide, which has no two equal halves")

    def half(start: int) -> Picture:
        columns = slice(start, start + width // 2)
        alpha = None if picture.alpha is None else picture.alpha[:, columns]
        return replace(picture, pixels=picture.pixels[:, columns], alpha=alpha)

    return half(0), half(width // 2)


def _from_folders(pairs: Path, fresh: Path, *, rule: SplitRule, placer: Placer) -> None:
    folder_a, folder_b = (_subfolder(pairs, letter) for letter in "AB")
    paths_a, paths_b = _by_stem(folder_a), _by_stem(folder_b)
    partner = {path: paths_b[stem] for stem, path in paths_a.items() if stem in paths_b}
    if not partner:
        raise DataError(
            f"No picture in {folder_a} has the name of one in {folder_b}; pairs have equal names."
        )
    alone = sorted(set(paths_a.values()) ^ set(partner))
    alone += sorted(set(paths_b.values()) ^ set(partner.values()))
    placer.unmatched.extend(str(path) for path in alone)
    parts = {
        part: [path for path in paths if path in partner]
        for part, paths in _split_of(folder_a, rule).items()
    }
    for part, paths in parts.items():
        names = unique_names(paths, folder_a, suffix=placer.suffix)
        for path in paths:
            _place_pair(path, partner[path], part, names[path], fresh, placer)
    _check_some(fresh, pairs, placer)


def _place_pair(
    path_a: Path, path_b: Path, part: str, name: str, fresh: Path, placer: Placer
) -> None:
    name_b = Path(name).stem + (placer.suffix or path_b.suffix)
    # The truth is found by the source's full name.
    targets = [(path_a, fresh / f"{part}A" / name)]
    targets += [
        (path_b, fresh / folder / (name if folder == "testA_truth" else name_b))
        for folder in _places_of_b(part)
    ]
    placed = []
    try:
        for source, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            placer.place(source, target)
            placed.append(target)
    except DataError as error:
        for target in placed:  # both of a pair or neither
            target.unlink()
        placer.failed.append(str(error))


def _places_of_b(part: str) -> tuple[str, ...]:
    return ("trainB",) if part == "train" else ("testB", "testA_truth")


def _split_of(folder: Path, rule: SplitRule) -> Mapping[str, Sequence[Path]]:
    if not (folder / "train").is_dir():
        return split(some_pictures(folder), folder, "", rule)
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    return {
        "train": some_pictures(folder / "train"),
        "test": [] if test is None else list_pictures(test),
    }


def _subfolder(pairs: Path, letter: str) -> Path:
    for name in (letter, letter.lower()):
        if (pairs / name).is_dir():
            return pairs / name
    present = sorted(entry.name for entry in pairs.iterdir()) if pairs.is_dir() else []
    raise DataError(
        f"{pairs} has no folder {letter}: the layout `folders` expects A and B with equal file "
        f"names; found {', '.join(present[:8]) or 'nothing'}."
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in some_pictures(folder)
    }


def _check_some(fresh: Path, pairs: Path, placer: Placer) -> None:
    if not (fresh / "trainA").is_dir():
        reason = f": {placer.failed[0]}" if placer.failed else ""
        raise DataError(f"No pair in {pairs} could be used for training{reason}.")
