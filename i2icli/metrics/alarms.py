"""Faults of a translator that its pictures and losses give away, each with what to do about it.

Pure functions of arrays: pictures are (H, W, C) of 8 or 16 bits, C 1 or 3. An alarm speaks only
where a healthy translator would not show the same, so most compare with the sources and with real
pictures of the target domain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2icli.config.sections import HealthConfig
from i2icli.metrics.appearance import (
    References,
    luminance,
    nearest_distances,
    pattern_strength,
    saturated_share,
    spread,
    thumbnail,
)
from i2icli.pictures.images import Pixels

Name = Literal[
    "inversion",
    "collapse",
    "saturation",
    "checkerboard",
    "copying",
    "mask-empty",
    "mask-full",
    "discriminator-won",
    "no-improvement",
]
Mask = NDArray[np.float32]
_INVERSION_SIDE = 32  # of the thumbnails that are correlated, pixels
_FEWEST_DIFFERENCES = 0.02  # sources nearer to each other than this do not tell of a collapse
_SMALLEST_FOREGROUND = 0.005  # share of a picture that a mask may leave it at
_FEWEST_REFERENCES = 8  # training pictures without which a typical distance means nothing
# A blind discriminator's sum of terms, its half weights counted, and the value from which the
# generator's term is near its worst: lsgan ends at 1, hinge's margin at 1, the logistic loss has
# no end (2.3 is a probability of one in ten). A bare critic has neither.
_GUESSING = {"lsgan": 0.25, "vanilla": 0.693, "nonsaturating": 0.693, "hinge": 1.0}
_NEAR_WORST = {"lsgan": 0.8, "vanilla": 2.3, "nonsaturating": 2.3, "hinge": 0.8}

_MASK_WORDS = {
    "mask-empty": (
        "picks out nothing",
        "the source comes back as it is and the generator learns next to nothing, which rarely "
        "mends itself: start anew with another `--set train.seed=N`, for much hangs on the start.",
    ),
    "mask-full": (
        "leaves out nothing",
        "the background is translated too, as without a mask: start anew with another "
        "`--set train.seed=N`, or freeze the masks before they open (a lower method.switch_epoch).",
    ),
}


@dataclass(frozen=True)
class Alarm:
    """A fault.

    Attributes:
        saw: the figures that show it, in words.
        remedy: an action, a sentence.
    """

    name: Name
    saw: str
    remedy: str


def picture_alarms(
    sources: Sequence[Pixels],
    outputs: Sequence[Pixels],
    *,
    references: References | None,
    limits: HealthConfig,
    masks: Mapping[str, Sequence[Mask]] = MappingProxyType({}),
) -> list[Alarm]:
    """Return all alarms that translations raise.

    Args:
        sources: the pictures translated.
        outputs: their translations, of the same sizes.
        references: real pictures of the target domain; None: only the sources are compared with.
        limits: the thresholds.
        masks: what came with the translations by name, (H, W) each in [0, 1].

    Raises:
        ValueError: there are not as many outputs as sources.
    """
    if len(sources) != len(outputs):
        raise ValueError(f"{len(sources)} sources but {len(outputs)} outputs")
    found = (
        inversion(sources, outputs, limit=limits.inversion),
        collapse(sources, outputs, references, limit=limits.collapse),
        saturation(sources, outputs, references, limit=limits.saturation),
        checkerboard(sources, outputs, limit=limits.checkerboard),
        copying(sources, outputs, references, limit=limits.copying),
        mask_alarm("mask-empty", masks, limit=limits.mask),
        mask_alarm("mask-full", masks, limit=limits.mask),
    )
    return [alarm for alarm in found if alarm is not None]


def inversion(
    sources: Sequence[Pixels], outputs: Sequence[Pixels], *, limit: float
) -> Alarm | None:
    """Say whether light became dark: luminance of source and translation correlate negatively."""
    pairs = [
        _correlation(*(thumbnail(luminance(p), _INVERSION_SIDE) for p in pair))
        for pair in zip(sources, outputs, strict=True)
    ]
    known = [value for value in pairs if value is not None]
    low = [value for value in known if value < limit]
    if not _are_most(low, known):
        return None
    return Alarm(
        "inversion",
        f"luminance of source and translation correlates at {np.mean(known):.2f}, "
        f"below {limit:g} on {len(low)} of {len(known)} samples",
        "light and dark are swapped, which rarely mends itself: start anew with another "
        "`--set train.seed=N`, or a higher weight of the identity term where the method has one. "
        "If the two domains are negatives of each other, set health.inversion=-1.",
    )


def collapse(
    sources: Sequence[Pixels],
    outputs: Sequence[Pixels],
    references: References | None,
    *,
    limit: float,
) -> Alarm | None:
    """Say whether the translations of unlike sources are alike."""
    given, made = spread(sources), spread(outputs)
    if given is None or made is None or given < _FEWEST_DIFFERENCES:
        return None
    real = references.spread if references is not None else None
    wanted = given if real is None else min(given, real)
    if made >= limit * wanted:
        return None
    than = f"{given:.3f} among the sources"
    than += "" if real is None else f" and {real:.3f} among real pictures"
    return Alarm(
        "collapse",
        f"translations differ by {made:.4f} among themselves, against {than}",
        "every source becomes the same picture: go back to an earlier checkpoint with "
        "`i2i train --init-from`, with half of method.optimizer.lr; look at the variety of the "
        "training pictures with `i2i data stats`.",
    )


def saturation(
    sources: Sequence[Pixels],
    outputs: Sequence[Pixels],
    references: References | None,
    *,
    limit: float,
) -> Alarm | None:
    """Say whether far more values are at black or white than in any real picture."""
    share = float(np.mean([saturated_share(pixels) for pixels in outputs])) if outputs else 0.0
    usual = float(np.mean([saturated_share(pixels) for pixels in sources])) if sources else 0.0
    if references is not None:
        usual = max(usual, references.saturated)
    if share - usual <= limit:
        return None
    return Alarm(
        "saturation",
        f"{share:.0%} of the values are black or white, against {usual:.0%} in real pictures",
        "the generator is driven to its ends: train again with half of method.optimizer.lr; "
        "if it came late, take an earlier checkpoint.",
    )


def checkerboard(
    sources: Sequence[Pixels], outputs: Sequence[Pixels], *, limit: float
) -> Alarm | None:
    """Say whether a pattern of period 2 or 4 pixels lies over the translations.

    Such patterns come from up-sampling whose kernel does not divide evenly by its stride (Odena
    et al., Distill 2016). The figure is the power at those frequencies over that around them.
    """
    strengths = []
    for source, output in zip(sources, outputs, strict=True):
        made = pattern_strength(output)
        if made is not None:
            strengths.append((made, pattern_strength(source) or 0.0))
    high = [made for made, given in strengths if made > max(limit, 3 * given)]
    if not _are_most(high, strengths):
        return None
    return Alarm(
        "checkerboard",
        f"a pattern of period 2 or 4 pixels is {np.median(high):.0f} times stronger than the "
        f"frequencies around it on {len(high)} of {len(strengths)} samples "
        f"(sources: {np.median([given for _, given in strengths]):.0f})",
        "it often fades with training; if it stays, use the smoothing up-sampling "
        "(`--set method.generator.antialias_up=true`).",
    )


def copying(
    sources: Sequence[Pixels],
    outputs: Sequence[Pixels],
    references: References | None,
    *,
    limit: float,
) -> Alarm | None:
    """Say whether the translations are training pictures of the target domain, mirrored or not.

    A translation counts as a copy if it is nearer to one of them than `limit` times the median
    distance of such a picture to its nearest other one, and its source was not that near already.
    """
    if references is None or len(references.thumbnails) < _FEWEST_REFERENCES or not outputs:
        return None
    made = nearest_distances(outputs, references) / references.spacing
    given = nearest_distances(sources, references) / references.spacing
    copies = (made < limit) & (made < 0.5 * given)
    if 2 * int(copies.sum()) <= len(made):
        return None
    return Alarm(
        "copying",
        f"{int(copies.sum())} of {len(made)} translations are training pictures of the target "
        f"domain, nearer to one ({np.median(made[copies]):.2f}) than those are to each other (1)",
        "the generator recites instead of translating: take an earlier checkpoint, train on more "
        "pictures of the target domain, or raise the weight of the term that ties the translation "
        "to its source (nce, cycle).",
    )


def mask_alarm(
    name: Literal["mask-empty", "mask-full"], masks: Mapping[str, Sequence[Mask]], *, limit: float
) -> Alarm | None:
    """Say whether a mask picks out nothing: low on average, and nowhere one half or more.

    Or everything: the opposite. A small foreground is no fault: a mask that picks out as little as
    0.5 % of a picture is fine.
    """
    is_full = name == "mask-full"
    action, remedy = _MASK_WORDS[name]
    for called, each in masks.items():
        faulty = [
            float(mask.mean()) for mask in each if _is_empty(1 - mask if is_full else mask, limit)
        ]
        if _are_most(faulty, each):
            saw = f"the {called} mask is {np.mean(faulty):.3f} on average and {action}"
            return Alarm(name, f"{saw}, on {len(faulty)} of {len(each)} samples", remedy)
    return None


def discriminator_won(
    terms: Mapping[str, float], *, mode: str, weight: float = 1.0, share: float
) -> tuple[str, float, float] | None:
    """Return the discriminator that tells real from translated nearly without fault, if one does.

    Its terms are those called `real` and `fake`, or `b_real` and `b_fake` for the discriminator of
    domain B; the generator's are `gan`, or `gan_a2b` for pictures that become B. A term without a
    partner counts for nothing.

    Args:
        terms: by "player/term", means over an interval.
        mode: the GAN loss, see `losses.gan`; a critic without bounds ("wgangp") never wins.
        weight: of the generator's GAN term.
        share: of a guessing discriminator's loss, under which it has won.

    Returns:
        Its domain ("" where there is one discriminator), its loss and the generator's unweighted
        term.
    """
    if mode not in _GUESSING or weight <= 0:
        return None
    by_domain: dict[str, dict[str, float]] = {}
    for key, value in terms.items():
        term = key.rpartition("/")[2]
        if match := re.fullmatch(r"(?:(\w+)_)?(real|fake)", term):
            by_domain.setdefault(match[1] or "", {})[match[2]] = value
        elif match := re.fullmatch(r"gan(?:_\w+2(\w+))?", term):
            by_domain.setdefault(match[1] or "", {})["gan"] = value / weight
    for domain, parts in by_domain.items():
        if len(parts) == 3:
            loss, gan = parts["real"] + parts["fake"], parts["gan"]
            if loss < share * _GUESSING[mode] and gan >= _NEAR_WORST[mode]:
                return domain, loss, gan
    return None


def discriminator_alarm(domain: str, loss: float, gan: float, *, steps: int) -> Alarm:
    """Return the alarm of a discriminator that has won for so many steps."""
    which = f"the discriminator of {domain.upper()}" if domain else "the discriminator"
    return Alarm(
        "discriminator-won",
        f"{which} has a loss of {loss:.3f} and the generator's GAN term is {gan:.3f}, "
        f"for {steps} steps",
        "the generator learns nothing from a discriminator it cannot fool: use a smaller one "
        "(method.discriminator.width), more training pictures, or more varied crops (a larger "
        "data.resize).",
    )


def stall_alarm(*, metric: str, best: float, best_step: int, count: int) -> Alarm:
    """Return the alarm of `count` measurements without a gain."""
    return Alarm(
        "no-improvement",
        f"no gain in {metric} since step {best_step} ({best:.4g}), in {count} measurements",
        "best.pt holds that step. Stop with Ctrl-C if the samples look no better either; "
        "`--set eval.stop=true` does it by itself.",
    )


def _is_empty(mask: Mask, limit: float) -> bool:
    return bool(mask.mean() < limit and (mask >= 0.5).mean() < _SMALLEST_FOREGROUND)


def _are_most(those: Sequence[object], among: Sequence[object]) -> bool:
    return bool(those) and 2 * len(those) > len(among)


def _correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float | None:
    one, two = one - one.mean(), two - two.mean()
    first, second = float(np.sqrt((one**2).mean())), float(np.sqrt((two**2).mean()))
    if first < 1e-3:  # Pearson's correlation is nothing where the first is flat
        return None
    return 0.0 if second < 1e-3 else float((one * two).mean()) / (first * second)
