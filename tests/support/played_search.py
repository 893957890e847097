"""A search whose lanes, disk and accidents are played, without Ray and training.

Coordinator, scheduler, searcher, log, table and checkpoints are the real ones, and so is what Tune calls. Every event
is checked against `Books`, which keep what really happened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from search.cluster.adapter import LegScheduler, LegSearcher
from search.cluster.group.messages import LEG
from search.coordination.checkpoints import Checkpoints
from search.coordination.coordinator import Coordinator
from search.coordination.listener import Listeners
from search.coordination.missing_epochs import log_missing_epochs
from search.coordination.recorder import Recorder
from search.coordination.replay import replay
from search.coordination.searcher import Searcher
from search.coordination.trial_progress import End, Phase, TrialProgress
from search.record.epochs import METRIC
from search.record.events import read_events
from search.record.trials import State, read_rows
from search.scheduling.scheduler import Scheduler, SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.screen.clock import Clock
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows
from tests.support.plain_searcher import PlainSearcher
from tests.support.played_lanes import MAX_EPOCHS, PlayedLane, Reports, Written
from tests.support.search_books import Books


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The options of a played search."""

    scheduler: str = "asha"
    searcher: str = "plain"
    """"plain", or "random" for the real one, which takes most of the time."""

    num_lanes: int = 1
    num_trials: int = 6
    max_failures: int = 1000
    checkpoints_gb: float | None = None

    def new_scheduler(self) -> Scheduler:
        """Return a scheduler that has judged nothing yet."""
        request = SchedulerRequest(
            num_trials=self.num_trials, max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=2
        )
        return SCHEDULERS[self.scheduler].make(request)

    def new_searcher(self) -> Searcher:
        """Return a searcher that has suggested nothing yet."""
        if self.searcher == "plain":
            return PlainSearcher()
        return OptunaSearcher(CORE, sampler="random", seed=0, num_trials=self.num_trials, max_epochs=MAX_EPOCHS)


LOST = "lost without a message"
"""The error of a trial whose lane dies without an exception."""


class Endings(Rows):
    """Remembers how each trial ended. None ends twice."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_end = on_end

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        assert trial.number not in self.ended, f"trial {trial.number} ended twice"
        super().on_end(trial, state, error)
        self._on_end()


class PlayedSearch:
    """A search that one process after the other runs, each from what the last has left on disk."""

    def __init__(self, setting: Setting, folder: Path, reports: Reports) -> None:
        self.setting, self.reports = setting, reports
        self.ray, self.log, self.table = folder / "ray", folder / "events.jsonl", folder / "trials.jsonl"
        self.books = Books()
        self._durable_bytes = 0
        """How much of the log a crash of the machine leaves at least."""
        self._num_asked = 0
        self._open()

    def _open(self) -> None:
        """Begin or resume, as search/cluster/engine.py does."""
        self.lanes: list[PlayedLane | None] = [None] * self.setting.num_lanes
        self.table.unlink(missing_ok=True)
        self._checkpoints = Checkpoints(self.ray)
        self.scheduler = self.setting.new_scheduler()
        self.endings = Endings(self._note_durable)
        recorder = Recorder(self.table, self._checkpoints)
        self.coordinator = Coordinator(
            self.setting.new_searcher(),
            self.scheduler,
            num_trials=self.setting.num_trials,
            listener=Listeners(self.endings, recorder),
            max_failures=self.setting.max_failures,
            log=self.log,
        )
        log_missing_epochs(self.log, self._checkpoints)
        if self.log.exists():
            self.coordinator.restore(self._checkpoints.last_epoch)
            recorder.restore(self.coordinator.trials.values())
        self._legs = LegSearcher(self.coordinator, self._checkpoints, checkpoints_gb=self.setting.checkpoints_gb)
        self._tune = LegScheduler(self.coordinator, Clock())

    def finish(self) -> list[tuple]:
        """Let the lanes work until nothing is left to do, and return what two runs of a search have in common."""
        while any([self.step(slot) for slot in range(self.setting.num_lanes)]):
            pass
        assert self.coordinator.is_finished
        self.coordinator.stop(None)
        self.check()
        trials = self.coordinator.trials
        assert all(trial.phase == Phase.ENDED for trial in trials.values())
        rows = read_rows(self.table)
        assert [row.number for row in rows] == list(range(self.setting.num_trials))
        return [(row.number, row.state, row.sample, trials[row.number].dices, row.error) for row in rows]

    def step(self, slot: int) -> bool:
        """Let a lane do what comes next, and return whether there was anything to do."""
        lane = self.lanes[slot]
        if lane is None:
            return self._ask(slot)
        if lane.report is None:
            self._train(lane)
        else:
            self.save(slot)
        return True

    def tell_again(self, slot: int, epoch: int) -> None:
        """Let the report of an earlier epoch arrive once more."""
        lane = self._lane(slot)
        if not self.reports.of(lane.number, epoch).finished:
            self._tell(lane, epoch)

    def save(self, slot: int, *, is_refused: bool = False) -> None:
        """Write the checkpoint of a lane's epoch, unless the bucket refuses it; the leg continues or ends then."""
        lane = self._lane(slot)
        report = lane.report
        assert report is not None
        if folder := self._write(lane, Written.NOTHING if is_refused else Written.WHOLE):
            self._checkpoints.saved(lane.number, folder, report.metrics)
        lane.report = None
        if lane.ends:
            if report.finished:
                self._note(lane.number, report.metrics.epoch, report.metrics.val_dice)
            self._tune.on_trial_complete(None, lane.tune_trial, report.to_result())
            self._end(slot, error=False)

    def lose(self, slot: int, written: Written) -> None:
        """Let a lane die, while it trains or while it writes a checkpoint."""
        lane = self._lane(slot)
        self._write(lane, written)
        self._tune.on_trial_error(None, lane.tune_trial)
        self._end(slot, error=True)

    def halt(self, slot: int, num_batches: int) -> None:
        """Let a lane leave its node after some batches of an epoch. To the coordinator that is no loss."""
        lane = self._lane(slot)
        if num_batches:
            lane.write(self.ray, num_batches=num_batches)
            self.books.on_disk[lane.number].add((lane.epoch, num_batches))
        self._end(slot, error=True)

    def stop(self, reason: str, written: Written) -> None:
        """End the search early, as Ctrl-C and the time budget do, and resume it."""
        ended = [trial.number for trial in self.coordinator.trials.values() if trial.phase == Phase.ENDED]
        self.coordinator.stop(reason)
        assert [row.number for row in read_rows(self.table)] == list(self.coordinator.trials)
        cut_off = {number for number, (_, _, error) in self.endings.ended.items() if error == reason}
        assert cut_off == self.coordinator.trials.keys() - ended
        self.die(written)

    def die(self, written: Written, *, torn: bytes = b"", num_missing: int = 0, from_bucket: bool = False) -> None:
        """Kill driver and lanes at once, and resume the search.

        Args:
            written: How far lanes come with their checkpoints.
            torn: What the driver has written of another event.
            num_missing: How many bytes of the log's end are gone, as after a crash of the machine.
            from_bucket: Whether that may be any, because the bucket had an older log.
        """
        for lane in filter(None, self.lanes):
            self._write(lane, written)
        trials, scheduler, before = self.coordinator.trials, self.scheduler, self.books.recorded
        ended = {number: self.endings.ended[number] for number in trials if trials[number].phase == Phase.ENDED}
        content = self.log.read_bytes() if self.log.exists() else b""
        kept = max(0 if from_bucket else self._durable_bytes, len(content) - num_missing)
        self.log.write_bytes(content[:kept] + torn)
        if not self.log.stat().st_size:  # its first line was not on the disk, or in the bucket
            self.log.unlink()
        if from_bucket:
            self.books.look_at_disk(self.ray)
        log = read_events(self.log)
        self.books.restore(log, self.reports)
        self._durable_bytes = 0
        self._open()
        self.check()
        if not from_bucket:
            assert {number: self.endings.ended.get(number) for number in ended} == ended, "an end was forgotten"
        if not num_missing:
            assert all(self.books.recorded[number] | before[number] == self.books.recorded[number] for number in before)
            assert len(log) < len(read_events(self.log)) or plain(self.scheduler) == plain(scheduler)

    def check(self) -> None:
        """Check that every trial is in exactly one state, and has exactly the epochs that were reported."""
        trials = self.coordinator.trials
        assert list(trials) == list(range(len(trials)))
        running = sorted(lane.number for lane in self.lanes if lane)
        assert running == [number for number, trial in trials.items() if trial.phase == Phase.RUNNING]
        active = {number for number in trials if trials[number].phase in (Phase.RUNNING, Phase.INTERRUPTED)}
        assert self.coordinator.active.keys() == active
        assert self.endings.ended.keys() == {number for number in trials if trials[number].phase == Phase.ENDED}
        known = {number: {one.epoch: str(one.val_dice) for one in trials[number].all_epochs} for number in trials}
        recorded = {number: self.books.recorded[number] for number in trials}
        assert known == {number: {e: str(dice) for e, dice in epochs.items()} for number, epochs in recorded.items()}

    def check_log(self) -> None:
        """Check that the log tells others, such as the report, what the search knows."""
        if not self.log.exists():
            return
        options = {"num_trials": self.setting.num_trials, "max_failures": self.setting.max_failures}
        for trial in replay(self.log, self.setting.new_scheduler(), objectives=(METRIC,), **options):
            known = self.coordinator.trials[trial.number]
            assert (trial.sample, trial.dices, trial.num_losses) == (known.sample, known.dices, known.num_losses)
            assert trial.outcome == known.outcome
            if known.phase == Phase.ENDED:
                assert trial.phase == Phase.ENDED
                assert isinstance(known.outcome, End)
                assert self.endings.ended[trial.number][0] == known.outcome.state

    def _ask(self, slot: int) -> bool:
        self._num_asked += 1
        name = f"leg {self._num_asked}"
        config = self._legs.suggest(name)
        if not isinstance(config, dict):
            return False
        self._note_durable()
        leg = config[LEG]
        self.books.begin_leg(leg.number, leg.folder, leg.checkpoint)
        self.lanes[slot] = lane = PlayedLane(name=name, leg=leg)
        lane.start()
        return True

    def _train(self, lane: PlayedLane) -> None:
        """Let a lane train an epoch. Of the last one, the driver hears only when its checkpoint is written."""
        report = lane.train(self.reports)
        if not report.raised and not lane.repeats:
            self.books.train(lane.number, lane.epoch)
        if not report.finished:
            lane.ends = not self._tell(lane, lane.epoch)

    def _tell(self, lane: PlayedLane, epoch: int) -> bool:
        report = self.reports.of(lane.number, epoch)
        self._note(lane.number, epoch, report.metrics.val_dice)
        decision = self._tune.on_trial_result(None, lane.tune_trial, report.to_result())
        return decision == TrialScheduler.CONTINUE

    def _note(self, number: int, epoch: int, dice: float) -> None:
        if epoch:
            self.books.recorded[number][epoch] = dice

    def _write(self, lane: PlayedLane, written: Written) -> str | None:
        """Write a lane's checkpoint if it is about to, and return its folder if it is whole."""
        if lane.report is None or lane.report.raised:
            return None
        folder = lane.write(self.ray, written)
        if written == Written.WHOLE:
            self.books.on_disk[lane.number].add((lane.epoch, 0))
            return folder
        self.books.num_unsaved[lane.number, lane.epoch] += not lane.repeats
        return None

    def _end(self, slot: int, *, error: bool) -> None:
        lane, self.lanes[slot] = self._lane(slot), None
        self._legs.on_trial_complete(lane.name, error=error)

    def _lane(self, slot: int) -> PlayedLane:
        lane = self.lanes[slot]
        assert lane is not None
        return lane

    def _note_durable(self) -> None:
        self._durable_bytes = self.log.stat().st_size


def plain(value: Any) -> Any:
    """Return an object as dicts and lists, which can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return plain(vars(value)) if hasattr(value, "__dict__") and not isinstance(value, type) else value
