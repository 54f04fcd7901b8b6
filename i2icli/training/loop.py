"""The training loop. It knows no method by name.

Where several processes share a run, all go through it step by step; rank 0 alone writes, draws,
measures and speaks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from i2icli.data.batch import AnyBatch
from i2icli.errors import DivergedError, I2IError
from i2icli.runs.checkpoint import copy_checkpoint, save_checkpoint
from i2icli.runs.folder import Line, RunFolder
from i2icli.system.cores import LoadWatch
from i2icli.system.signals import StopRequest
from i2icli.training.finite import Fault, FiniteGuard, diverged
from i2icli.training.health import Event, HealthWatch
from i2icli.training.logs import Clock, MetricsLog, NoLog
from i2icli.training.pace import PaceWatch
from i2icli.training.reporter import Progress, Reporter
from i2icli.training.scoreboard import Scoreboard, draw_curve
from i2icli.training.session import Session
from i2icli.training.step import build_send

log = logging.getLogger(__package__)


class Trainer:
    """Takes a session from the step it is at to its last one."""

    def __init__(
        self,
        session: Session,
        folder: RunFolder,
        *,
        log: MetricsLog | NoLog,
        clock: Clock,
        reporter: Reporter,
        stop: StopRequest,
    ) -> None:
        self.session = session
        self._ranks = session.ranks
        self._folder = folder
        self._log = log
        self._clock = clock
        self._reporter = reporter
        self._stop = stop
        self._guard = FiniteGuard()
        self._send = build_send(session.choices)
        self._take_step = session.build_step()
        self._saved_step = -1
        # What was said and measured so far is in the log, which was cut back to this step.
        lines = folder.read_metrics() if self._ranks.is_main else []
        self._watch = HealthWatch(session.config, session.data.domains, lines)
        self._board = _open_board(session, lines)
        # Other processes of the run would look like other programs.
        self._pace = PaceWatch(lines, LoadWatch() if self._ranks.world == 1 else None)
        self._is_stalled = False

    def run(self) -> None:
        """Train until the last step, or until something asks to stop; either way, save.

        What asks is a signal, or measurements without a gain where `eval.stop` is set.

        Raises:
            DivergedError: if a term or a weight is no longer finite; nothing is saved then.
        """
        session, every = self.session, self.session.config
        self._ranks.alone(self._prepare_measuring)
        self._reporter.started(self._progress())
        if session.step == 0 and every.samples.every_steps:
            self._ranks.alone(self._draw)
        with session.batches() as batches:
            self._train_on(batches)
        if self._saved_step != session.step:
            self._save()
        if self._is_stalled and session.step < session.last_step:
            log.info(
                f"stopped after step {session.step} of {session.last_step}, for want of gain "
                f"(eval.stop). Go on with `{self._folder.resume_command}`."
            )

    def _train_on(self, batches: Iterator[AnyBatch]) -> None:
        session, every = self.session, self.session.config
        is_entering = True
        while session.step < session.last_step and not self._is_stalled:
            batch = self._next(batches)
            if self._agree_to_stop(batch):
                break
            assert batch is not None, "all agreed to go on"
            if is_entering or session.step % session.data.steps_per_epoch == 0:
                session.start_epoch()
                is_entering = False
            self._step(batch)
            step, is_last = session.step, session.step == session.last_step

            # Once in a while: log.
            if is_last or step % every.log.every_steps == 0:
                self._write_line()

            with self._clock.aside():
                self._look_and_save(is_last=is_last)

    def _look_and_save(self, *, is_last: bool) -> None:
        every, step = self.session.config, self.session.step

        # Once in a while: draw the samples, and look at them.
        if _is_due(step, every.samples.every_steps, is_last=is_last):
            self._ranks.alone(self._draw)

        # Once in a while: measure.
        is_best = False
        if _is_due(step, every.eval.every_steps, is_last=is_last):
            is_best, self._is_stalled = self._ranks.alone(self._measure)

        # Once in a while: save. The best is a copy of the last.
        is_kept = _is_due(step, every.checkpoint.keep_every_steps, is_last=False)
        if is_last or is_best or is_kept or step % every.checkpoint.every_steps == 0:
            self._save(is_best=is_best, is_kept=is_kept)

    def _next(self, batches: Iterator[AnyBatch]) -> AnyBatch | None:
        if self._stop:
            return None
        try:
            with self._clock.waiting():
                return self._send(next(batches))
        except (RuntimeError, I2IError):
            # A scheduler's SIGTERM goes to the loader's processes as well.
            if self._stop:
                return None
            raise

    def _agree_to_stop(self, batch: AnyBatch | None) -> bool:
        # All processes stop after the same step.
        must_stop = self._ranks.any(batch is None)
        if must_stop and not self._stop:
            self._stop.by = "a signal to another process"
        return must_stop

    def _step(self, batch: AnyBatch) -> None:
        session = self.session
        losses = self._take_step(batch, session.next_moment)
        session.step += 1
        session.terms.add(losses)
        self._guard.note(losses, batch, step=session.step)
        self._clock.count(len(batch) * self._ranks.world)
        self._reporter.stepped(self._progress())

    def _write_line(self) -> None:
        session = self.session
        self._check_terms()
        is_partial = session.step % session.config.log.every_steps != 0
        rates = {
            f"{name}/lr": stepper.learning_rate(session.moment)
            for name, stepper in session.steppers.items()
        }
        line: dict[str, float | int | bool] = {"step": session.step, "epoch": session.epoch}
        terms = self._ranks.average(session.terms.means())
        stretch = self._clock.stretch()
        line |= terms | rates | self._clock.interval()
        if is_partial:
            # The interval stays open in the checkpoint, for a run that goes on from here.
            line["partial"] = True
        else:
            session.terms.reset()
        if self._ranks.is_main:
            self._log.write(line)
            self._reporter.logged(self._progress(), line)
            self._tell(self._watch.look_at_terms(line), is_partial=is_partial)
            if slow := self._pace.look_at(stretch):
                threads = session.choices.threads
                log.warning(slow.sentence(session.config.runtime, self._folder, threads=threads))

    def _draw(self) -> None:
        session = self.session
        with session.average.in_place() if session.average else nullcontext():
            drawn = session.drawer.draw(
                session.method, self._folder.sample(session.step), precision=session.precision
            )
        is_partial = session.step % session.config.samples.every_steps != 0
        self._tell(self._watch.look_at_samples(session.step, drawn), is_partial=is_partial)

    def _prepare_measuring(self) -> None:
        session = self.session
        if session.measurer is None:
            return
        session.measurer.prepare(session.method)
        if not self._board.is_comparable(session.best):
            log.info(
                f"what is measured changed ({self._board.protocol}): the best step is sought "
                f"from here on, and best.pt, of step {session.best['step']}, will be replaced"
            )
            session.best = {}

    def _measure(self) -> tuple[bool, bool]:
        session, board, config = self.session, self._board, self.session.config.eval
        assert session.measurer is not None, "eval.every_steps without something to measure"
        with session.average.in_place() if session.average else nullcontext():
            scores = session.measurer.measure(session.method, precision=session.precision)
        if not scores:
            return False, False
        line: dict[str, float | int | bool] = {"step": session.step, "epoch": session.epoch}
        line |= scores
        is_partial = session.step % config.every_steps != 0
        if is_partial:
            line["partial"] = True
        self._log.write({**line, "protocol": board.protocol})
        self._reporter.logged(self._progress(), line)
        board.add(session.step, scores)
        best = board.improved(session.best)
        session.best = best or session.best
        draw_curve(self._folder.path, board, session.best)
        stall = board.stall(session.best, patience=config.patience)
        self._tell(self._watch.look_at_measurements(stall), is_partial=is_partial)
        return best is not None, config.stop and stall is not None

    def _tell(self, events: Sequence[Event], *, is_partial: bool) -> None:
        session = self.session
        for event in events:
            line = {"step": session.step, "epoch": session.epoch, **event.line()}
            self._log.write({**line, "partial": True} if is_partial else line)
            log.warning(f"step {session.step}: {event.sentence()}")

    def _save(self, *, is_best: bool = False, is_kept: bool = False) -> None:
        self._check_terms()
        if fault := self._guard.weight_fault(self.session.method, step=self.session.step):
            raise self._diverged(fault)
        state = self.session.state()

        def write() -> None:
            self._log.sync()
            save_checkpoint(self._folder.last, state)
            if is_best:
                copy_checkpoint(self._folder.last, self._folder.best)
            if is_kept:
                copy_checkpoint(self._folder.last, self._folder.numbered(state.step))

        self._ranks.alone(write)
        self._saved_step = state.step

    def _check_terms(self) -> None:
        faults = [fault for fault in self._ranks.collect(self._guard.first_fault()) if fault]
        if faults:
            raise self._diverged(min(faults, key=lambda fault: fault.step))

    def _diverged(self, fault: Fault) -> DivergedError:
        session = self.session
        return diverged(
            fault, config=session.config, folder=self._folder, precision=session.precision
        )

    def _progress(self) -> Progress:
        session = self.session
        return Progress(session.step, session.last_step, session.epoch)


def _open_board(session: Session, lines: Sequence[Line]) -> Scoreboard:
    measurer = session.measurer
    if measurer is None:
        return Scoreboard("", "")
    board = Scoreboard(measurer.deciding, measurer.protocol)
    board.read(lines)
    return board


def _is_due(step: int, every: int, *, is_last: bool) -> bool:
    return every > 0 and (is_last or step % every == 0)
