"""The training loop. It knows no method by name.

Where several processes share a run, all go through it step by step; rank 0 alone writes, draws,
measures and speaks.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import astuple, replace
from pathlib import Path

from i2icli.config.document import config_document
from i2icli.config.words import short_duration
from i2icli.data.batch import AnyBatch
from i2icli.data.loader import BatchStream
from i2icli.errors import DivergedError, I2IError
from i2icli.runs.checkpoint import copy_checkpoint, save_checkpoint
from i2icli.runs.folder import Line, RunFolder
from i2icli.system.cores import LoadWatch
from i2icli.system.signals import StopRequest
from i2icli.training.finite import Fault, FiniteGuard, diverged
from i2icli.training.fit import advise
from i2icli.training.health import Event, HealthWatch
from i2icli.training.logs import Clock, MetricsLog, NoLog
from i2icli.training.pace import PaceWatch
from i2icli.training.reporter import Progress, Reporter
from i2icli.training.samples import Drawn
from i2icli.training.scoreboard import Scoreboard, draw_curve
from i2icli.training.session import Session
from i2icli.training.step import build_send
from i2icli.training.timing import Due, Timetable, with_steps

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
        self._times = Timetable(session.config, clock, session.device)
        self._is_stalled = False
        self.is_over = False  # the budget is used

    def run(self) -> None:
        """Train until the last step, or until something asks to stop; either way, save.

        What asks is a signal, a budget that is used, or measurements without a gain where
        `eval.stop` is set.

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
        elif self.is_over and session.step < session.last_step:
            log.info(self._end_of_budget())

    def _train_on(self, batches: BatchStream) -> None:
        session, every = self.session, self.session.config
        is_entering = True
        batches.is_stopping = lambda: bool(self._stop)
        while session.step < session.last_step and not (self._is_stalled or self.is_over):
            batch = self._next(batches)
            due = self._agree(batch)
            if due.stop:
                break
            assert batch is not None, "all agreed to go on"
            with self._clock.aside():
                self._act_by_clock(due)
            if is_entering or session.step % session.data.steps_per_epoch == 0:
                session.start_epoch()
                is_entering = False
            self._step(batch)
            step, is_last = session.step, self.is_over or session.step == session.last_step

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
        except (RuntimeError, I2IError) as error:
            # A scheduler's SIGTERM goes to the loader's processes as well.
            if self._stop:
                return None
            self._rescue(error)
            raise

    def _rescue(self, error: Exception) -> None:
        """Save what was reached before a run ends for want of a batch, and say how it goes on."""
        session = self.session
        if self._ranks.world > 1 or session.step == 0:
            return
        if self._saved_step != session.step:
            self._save()
        if isinstance(error, I2IError):
            said, command = str(error).rstrip("."), self._folder.resume_command
            raise type(error)(
                f"{said}. All up to step {session.step} is saved: go on with `{command}`."
            ) from error

    def _agree(self, batch: AnyBatch | None) -> Due:
        """Return what all processes do before the next step: stop together, or what is due."""
        is_first = not self._clock.steps_here
        own = self._times.look() if self._ranks.is_main and not is_first else Due()
        flags = astuple(replace(own, stop=batch is None))
        due = Due(*self._ranks.any(*flags))
        if due.stop and not self._stop:
            self._stop.by = "a signal to another process"
        return due

    def _act_by_clock(self, due: Due) -> None:
        session = self.session
        self.is_over = due.end
        if due.count:
            self._count_steps()
        if due.loss and (terms := self._ranks.average(session.terms.means())):
            self._reporter.glanced(self._progress(), terms)
            self._times.shown()
        if due.sample:
            self._ranks.alone(self._draw_now)
        if due.save and self._saved_step != session.step:
            self._save()

    def _count_steps(self) -> None:
        """Turn the budget into a number of steps, which the configuration keeps from here on."""
        session, config, folder = self.session, self.session.config, self._folder
        steps = self._ranks.alone(lambda: self._times.count(config, done=session.step))
        session.config = with_steps(config, steps)
        if self._ranks.is_main:
            folder.write_config(config_document(session.config))
            log.info(self._times.sentence(config, steps))
        self._times.counted()

    def _end_of_budget(self) -> str:
        session, train = self.session, self.session.config.train
        end = replace(session.moment, step=session.last_step).epoch
        twice = short_duration(2 * (train.budget_seconds or 0))
        rates = [each.player.schedule.rate(session.moment) for each in session.steppers.values()]
        return (
            f"the budget of {train.budget} is used: stopped after step {session.step}, "
            f"{session.step / session.last_step:.0%} of the schedule's {session.last_step} steps "
            f"(epoch {session.epoch} of {end}), the learning rate at {max(rates):.0%} of its full "
            f"height. Go on with `{self._folder.resume_command} --budget {twice}`."
        )

    def _step(self, batch: AnyBatch) -> None:
        session = self.session
        losses = self._take_step(batch, session.next_moment)
        session.step += 1
        session.terms.add(losses)
        self._guard.note(losses, batch, step=session.step)
        self._clock.count(len(batch) * self._ranks.world)
        self._reporter.stepped(self._progress())
        if self._ranks.is_main and self._times.timer.stepped():
            self._warn_of_length()

    def _warn_of_length(self) -> None:
        session = self.session
        said = advise(
            session.config,
            steps=session.last_step - session.step,
            step_seconds=self._times.timer.seconds or 0.0,
            device=session.device.type,
            command=f"i2i train --preset {shlex.quote(str(self._folder.config))}",
        )
        if said:
            log.warning("\n  ".join(said))

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
            self._times.shown()
            self._tell(self._watch.look_at_terms(line), is_partial=is_partial)
            if slow := self._pace.look_at(stretch):
                threads = session.choices.threads
                log.warning(slow.sentence(session.config.runtime, self._folder, threads=threads))

    def _draw(self) -> None:
        session = self.session
        drawn = self._draw_to(self._folder.sample(session.step))
        is_partial = session.step % session.config.samples.every_steps != 0
        self._tell(self._watch.look_at_samples(session.step, drawn), is_partial=is_partial)

    def _draw_now(self) -> None:
        path = self._folder.now
        if self._draw_to(path) and self._times.is_first_sample():
            minutes = self.session.config.samples.every_minutes
            log.info(f"{path}: samples of step {self.session.step}, anew every {minutes:g} minutes")

    def _draw_to(self, path: Path) -> tuple[Drawn, ...]:
        session = self.session
        with session.average.in_place() if session.average else nullcontext():
            return session.drawer.draw(
                session.method, path, precision=session.precision, scale=session.scale
            )

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
            scores = session.measurer.measure(
                session.method, precision=session.precision, scale=session.scale
            )
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
        state = replace(self.session.state(), seconds=round(self._clock.seconds, 3))

        def write() -> None:
            self._log.sync()
            save_checkpoint(self._folder.last, state)
            if is_best:
                copy_checkpoint(self._folder.last, self._folder.best)
            if is_kept:
                copy_checkpoint(self._folder.last, self._folder.numbered(state.step))

        self._ranks.alone(write)
        self._saved_step = state.step
        self._times.saved()

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
