"""`i2i eval`: checkpoints or folders, by several metrics, by one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from i2icli.data.folders import match_maps
from i2icli.data.held_out import HeldOut, find_held_out
from i2icli.data.labelled import label_scheme
from i2icli.errors import ConfigError
from i2icli.evaluation.protocols import Protocol, unexpected_counts
from i2icli.evaluation.segmenters import Scorer, check_labelled, score_by_segmenter
from i2icli.evaluation.translated import (
    checkpoint_facts,
    resize_all,
    scale_by,
    translate_folder,
    translate_held_out,
)
from i2icli.metrics.choose import Results, Settings, Subject, choose_metrics, measure_all
from i2icli.metrics.inception import FeatureMode
from i2icli.metrics.realism import Reading
from i2icli.metrics.results import Fact
from i2icli.pictures.label_maps import LabelScheme
from i2icli.pictures.listing import list_pictures
from i2icli.system.device import resolve_device
from i2icli.system.files import filled_folder, temporary_folder
from i2icli.system.shares import ALONE, Process, device_of_rank
from i2icli.translation.pictures import check_styles
from i2icli.translation.translator import Translator, load_translator

_STYLE_CODES: Mapping[str, Fact] = {
    "style_codes": "standard normal, own of each input, fixed seeds"
}
Bars = Callable[[str], AbstractContextManager[Callable[[int, int | None], None] | None]]


@dataclass(frozen=True)
class Request:
    """What to measure and how.

    Attributes:
        names: metrics; none: all that data and weights allow.
        protocol: a paper's way; None: every picture at its own size.
        mode: clean-fid's way of resizing; None: that of the protocol, else clean.
        direction: a2b or b2a.
        data: another data set than the run's own.
        truth: folder of true pictures; None: the data set's, if it has them.
        lpips_net: alex or vgg.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: pictures through Inception at once; None: as the device likes.
        keep: folder that keeps the translations; None: they go when they are measured.
        labels: what label maps hold; None where none are scored.
        styles: random styles a picture, of which diversity is measured; 2 or more.
        scorer: the segmenter that scores translations of label maps; None: none does.
        work: folder that keeps the features; None: that of I2I_HOME, those of real pictures alone.
    """

    names: tuple[str, ...] = ()
    protocol: Protocol | None = None
    mode: FeatureMode | None = None
    direction: str = "a2b"
    data: Path | None = None
    truth: Path | None = None
    lpips_net: Literal["alex", "vgg"] = "alex"
    device: str = "auto"
    batch_size: int | None = None
    keep: Path | None = None
    labels: LabelScheme | None = None
    styles: int = 10
    scorer: Scorer | None = None
    work: Path | None = None


@dataclass(frozen=True)
class Evaluated:
    """Numbers of one checkpoint, or of folders.

    Attributes:
        results: by name; empty in all processes but the first.
        about: of the checkpoint; empty for folders.
        skipped: metrics left out because nothing was asked for, with the reason.
        warnings: what holds for all numbers.
    """

    results: Results
    about: Mapping[str, Fact] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def evaluate_folders(
    subject: Subject, request: Request, *, bars: Bars, process: Process = ALONE
) -> Evaluated:
    """Measure pictures that are there already, as they are.

    Raises:
        ConfigError: a protocol is asked for, which says how pictures are made.
        DataError: pictures are missing, too few or cannot be read.
        WeightsError: weights are missing.
    """
    if request.protocol is not None:
        raise ConfigError(
            f"--protocol {request.protocol.name} says how pictures are translated, and these are "
            f"made already: give a checkpoint, or `--mode {request.protocol.mode}` to measure "
            "them in its mode."
        )
    settings = _settings(request, process)
    names, skipped = choose_metrics(request.names, subject, settings)
    with bars("measuring") as report:
        results = measure_all(names, subject, _with_progress(settings, report))
    return Evaluated(_said(results, {"protocol": None}, {}), {}, skipped)


def evaluate_checkpoint(
    checkpoint: Path, request: Request, *, bars: Bars, process: Process = ALONE
) -> Evaluated:
    """Translate the test pictures with a checkpoint, then measure them.

    Of a segmenter the label maps of the labelled test pictures are scored.

    Raises:
        CheckpointError: it is no checkpoint.
        ConfigError: a setting contradicts another, or the checkpoint.
        DataError: pictures are missing, too few or cannot be read.
        WeightsError: weights are missing.
    """
    settings = _settings(request, process)
    device = device_of_rank(request.device)
    translator = load_translator(checkpoint, device=device)
    if translator.segments:
        return _evaluate_segmenter(translator, checkpoint, request, bars=bars, process=process)
    segmenter = _load_segmenter(request, device)
    styles = request.styles if "diversity" in request.names else 0
    if styles:
        check_styles(translator.method)
    data, kind = translator.config.data, translator.method.data
    held_out = find_held_out(data, kind, root=request.data, direction=request.direction)
    subject = _subject(held_out, request)
    names, skipped = _choose(request, subject, settings)
    with _workplace(request.keep, process) as folder:
        with bars("translating") as report:
            total = len(list_pictures(held_out.inputs)) * (1 + styles)
            translated = translate_held_out(
                translator,
                held_out,
                folder,
                direction=request.direction,
                protocol=request.protocol,
                styles=styles,
                process=process,
                on_done=_counted(report, total, process),
            )
        reals = held_out.reals
        if reals is not None and request.protocol and request.protocol.reals == "resized":
            reals = resize_all(reals, folder / "reals", request.protocol, process=process)
        outputs, inputs, styled = translated.outputs, translated.inputs, translated.styles
        made = replace(subject, outputs=outputs, inputs=inputs, reals=reals, styles=styled)
        with bars("measuring") as report:
            results = measure_all(names, made, _with_progress(settings, report))
        if segmenter is not None and request.scorer is not None:
            with bars("segmenting") as report:
                on_done = _counted(report, len(list_pictures(translated.outputs)), process)
                results |= score_by_segmenter(
                    segmenter, request.scorer, translated, folder, on_done=on_done, process=process
                )
    about = checkpoint_facts(checkpoint)
    warnings = _count_warnings(held_out) if request.protocol else ()
    made_of = _origin(request, held_out, translator)
    said = _said(results, _facts(request, translator), {**made_of, **about})
    if "lpips_diversity" in said:
        said["lpips_diversity"] = said["lpips_diversity"].with_facts(protocol=_STYLE_CODES)
    return Evaluated(said, about, skipped, warnings)


def _evaluate_segmenter(
    translator: Translator, checkpoint: Path, request: Request, *, bars: Bars, process: Process
) -> Evaluated:
    others = [name for name in request.names if name != "seg"]
    if others or request.protocol is not None or request.scorer is not None:
        raise ConfigError(
            f"{checkpoint} segments: its label maps are scored by --seg alone; the other metrics, "
            "--protocol and --segmenter are about translations."
        )
    held_out = find_held_out(translator.config.data, "labelled", root=request.data)
    assert held_out.reals is not None, "labelled data have label maps"
    pictures, maps = match_maps(held_out.inputs, held_out.reals)
    scheme = label_scheme(translator.config.labels)
    check_labelled(pictures, maps, scheme)
    settings = replace(_settings(request, process), labels=scheme)
    with _workplace(request.keep, process) as folder, bars("segmenting") as report:
        outputs, on_done = folder / "outputs", _counted(report, len(pictures), process)
        translate_folder(translator, held_out.inputs, outputs, on_done=on_done, process=process)
        results = measure_all(("seg",), Subject(outputs, reals=held_out.reals), settings)
    about = checkpoint_facts(checkpoint)
    precision = str(translator.precision).removeprefix("torch.")
    facts: dict[str, Fact] = {"input_size": "their own", "scale": "auto", "precision": precision}
    kept: dict[str, Fact] = {"worked_at": translator.scale.words()}
    if request.keep is None:
        kept["predicted"] = "label maps, not kept"
    return Evaluated(_said(results, facts, {**kept, **about}), about)


def _load_segmenter(request: Request, device: str) -> Translator | None:
    if "seg" not in request.names:
        return None
    if request.scorer is None:
        raise ConfigError(
            "--seg of a translator needs a segmenter that scores its photos: add --segmenter CKPT. "
            "Label maps that are made already: "
            "i2i eval --seg --real TRUE --fake PREDICTED --classes N."
        )
    return request.scorer.load(device=device)


def _counted(
    report: Callable[[int, int | None], None] | None, total: int, process: Process
) -> Callable[[int], None]:
    # `total` are the outputs of all processes; the bar shows those of this one.
    if report is None:
        return lambda _done: None
    return lambda done: report(done, -(-total // process.count))


def _choose(
    request: Request, subject: Subject, settings: Settings
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    # A segmenter gives the scores of label maps.
    others = tuple(name for name in request.names if name != "seg")
    if request.names and not others:
        return (), {}
    return choose_metrics(others, subject, settings)


def _settings(request: Request, process: Process) -> Settings:
    default = request.protocol.mode if request.protocol else "clean"
    return Settings(
        Reading(
            mode=request.mode or default,
            device=resolve_device(device_of_rank(request.device)),
            batch_size=request.batch_size,
            process=process,
            keeps_fake=False,
            work=request.work,
        ),
        request.lpips_net,
        request.labels,
    )


def _with_progress(
    settings: Settings, report: Callable[[int, int | None], None] | None
) -> Settings:
    return replace(settings, reading=replace(settings.reading, progress=report))


def _subject(held_out: HeldOut, request: Request) -> Subject:
    truth = request.truth or held_out.truth
    if request.protocol is not None:
        truth = None  # at its size nothing fits the truth
    is_own = truth is not None and truth == held_out.truth
    return Subject(
        reals=held_out.reals,
        inputs=held_out.inputs,
        truth=truth,
        held_out=held_out if is_own else None,
    )


@contextmanager
def _workplace(keep: Path | None, process: Process) -> Iterator[Path]:
    """Yield the folder for translations, the same in all processes."""
    if keep is not None:
        with filled_folder(keep) if process.is_first else nullcontext():
            process.wait()
            keep.mkdir(parents=True, exist_ok=True)
            yield keep
        return
    with temporary_folder("i2i-eval") if process.is_first else nullcontext(Path()) as made:
        yield process.agree(made)


def _count_warnings(held_out: HeldOut) -> tuple[str, ...]:
    inputs = held_out.inputs
    folders = {folder.name: folder for folder in (inputs, held_out.reals) if folder}
    found = {name: len(list_pictures(folder)) for name, folder in folders.items()}
    return unexpected_counts(inputs.parent.name, inputs=inputs.name, found=found)


def _facts(request: Request, translator: Translator) -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "protocol": None,
        "input_size": "their own",
        "reals": "files as they are",
        "scale": scale_by(request.protocol),
    }
    if request.protocol is not None:
        facts |= request.protocol.facts()
    precision = str(translator.precision).removeprefix("torch.")
    return {**facts, "direction": request.direction, "precision": precision}


def _origin(request: Request, held_out: HeldOut, translator: Translator) -> dict[str, Fact]:
    outputs = str(request.keep / "outputs") if request.keep else "translations, not kept"
    return {
        "inputs": str(held_out.inputs),
        "fake": outputs,
        "outputs": outputs,
        "worked_at": translator.scale_for(scale_by(request.protocol)).words(),
    }


def _said(results: Results, protocol: Mapping[str, Fact], about: Mapping[str, Fact]) -> Results:
    return {
        name: measured.with_facts(protocol=protocol, about=about)
        for name, measured in results.items()
    }


def check_alike(evaluated: Sequence[Evaluated]) -> None:
    """Refuse to put checkpoints side by side whose numbers were not measured alike.

    Raises:
        ConfigError: naming what differs.
    """
    for other in evaluated[1:]:
        for name, measured in evaluated[0].results.items():
            if name in other.results:
                measured.comparable_with(other.results[name])
