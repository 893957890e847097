"""A lane: the Tune actor that keeps one worker group warm and hands it one trial after another."""

import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

from ray import tune

from search.cluster.capacity.draining import DrainWatch, Preempted, address_of
from search.cluster.capacity.machines import check_sees
from search.cluster.group.messages import LEG, Failure, Halt, LaneReport, LegConfig, Report, StartTrial
from search.cluster.group.worker_group import GroupConfig, WorkerGroup
from search.cluster.tune_internals import next_checkpoint_name, to_saved_checkpoint
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics
from search.space.configs import SharedSettings, to_configs
from search.storage.storage_path import RETRY_SECONDS, StoragePath, write_with_retries
from search.tracking.kept_slices import pack_slices

FIRST_EPOCH_SECONDS = 3600.0
"""How long the first epoch may take."""

EXIT_SECONDS = 5.0
"""How long Ray may take to end the process of a lane that has no worker group."""

SLOWEST_FACTOR = 10.0
"""An epoch that takes more than a minute and this many times as long as the slowest so far counts as hung."""


class Lane(tune.Trainable):
    """Trains one leg after another. The coordinator decides, through Tune, which trial is next and when a leg ends."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] (tune.with_parameters gives the keywords)
        self, config: dict[str, LegConfig], *, group: GroupConfig, shared_settings: SharedSettings, wants_slices: bool
    ) -> None:
        self._group_config = group
        self._shared_settings = shared_settings
        self._wants_slices = wants_slices
        self._slowest_seconds: float | None = None
        self._best_dice = -math.inf
        self._last: LaneReport | None = None
        self._group: WorkerGroup | None = None
        self._watch = DrainWatch()
        self._draining_node: str | None = None
        """The id of the draining node that makes this lane leave."""
        self._start_group()
        self._take(config[LEG])

    def reset_config(self, new_config: dict[str, LegConfig]) -> bool:
        """Take the next leg. This never raises, because Tune does not retry a trial whose reset failed."""
        self._take(new_config[LEG])
        return True

    def step(self) -> dict[str, object]:
        """Return the result of one epoch.

        Raises:
            WorkerGroupLost: The workers are gone. The trial continues from its newest checkpoint in another lane.
            Preempted: The lane's node will be reclaimed. The trial continues in another lane from a checkpoint that was
                written just now.
        """
        group = self._group or self._start_group()
        if self._must_leave():
            raise self._preempted(self._after_epoch)
        if not self._has_started:
            self._start_trial(group)
        started = time.perf_counter()
        reply = group.step(timeout_seconds=self._timeout_seconds(), must_halt=self._must_leave)
        if isinstance(reply, Halt):
            raise self._preempted(self._save_halted(reply))
        self._slowest_seconds = max(self._slowest_seconds or 0.0, time.perf_counter() - started)
        self._last = self._failed(reply) if isinstance(reply, Failure) else self._reported(reply)
        return self._last.to_result()

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Let a worker write a checkpoint to the shared folder or bucket, and return it as Tune expects it."""
        assert checkpoint_dir is None
        folder = self._group_config.checkpoints / self._leg.folder / next_checkpoint_name(self)
        is_whole = self._save(folder)
        checkpoint = tune.Checkpoint(path=folder.path, filesystem=folder.filesystem) if is_whole else None
        return to_saved_checkpoint(self, checkpoint)

    def cleanup(self) -> None:
        """End the group."""
        self._end_group()

    def _save(self, folder: StoragePath) -> bool:
        """Write the state after the last batch, and return whether that was done. There is none if training raised.

        If a bucket accepts nothing for a while, the checkpoint is given up, but the trial continues.
        """
        record = self._describe_state()
        if record is None:
            return False
        assert self._group is not None
        timeout_seconds = self._timeout_seconds() + RETRY_SECONDS
        if not self._group.save(folder / STATE_FILE, timeout_seconds=timeout_seconds):
            return False
        # Written after the state: if this file is whole, so is the state (see search.coordination.checkpoints).
        content = json.dumps(record.to_json()).encode()
        return write_with_retries(folder / METRICS_FILE, lambda file: file.write_bytes(content))

    def _describe_state(self) -> CheckpointRecord | None:
        """Return the description of the state after the last batch; None if there is none, because training raised."""
        history = tuple(self._history)
        if self._halt is not None:
            # The metrics have no Dice, so that this checkpoint is never a trial's best.
            metrics = EpochMetrics(epoch=self._halt.epoch)
            return CheckpointRecord(metrics=metrics, num_batches=self._halt.num_batches, history=history)
        assert self._last is not None
        if self._last.raised:
            return None
        return CheckpointRecord(
            metrics=self._last.metrics, history=history, finished=self._last.finished, failure=self._last.failure
        )

    def _take(self, leg: LegConfig) -> None:
        self._leg = leg
        self._best_dice = max(self._best_dice, leg.best_dice)
        self._has_started = False
        self._history: list[EpochMetrics] = []
        self._last = None
        self._halt: Halt | None = None

    def _start_trial(self, group: WorkerGroup) -> None:
        """Give the group its trial, with the newest checkpoint of the leg before.

        Raises:
            UnfitMachine: This machine does not share the folder of checkpoints.
        """
        check_sees(self._group_config.checkpoints)
        content = None
        if self._leg.checkpoint:
            folder = StoragePath(self._group_config.checkpoints.filesystem, str(Path(self._leg.checkpoint).parent))
            content = (folder / STATE_FILE).with_retries(StoragePath.read_bytes)
            values = json.loads((folder / METRICS_FILE).with_retries(StoragePath.read_bytes))
            self._history = list(CheckpointRecord.from_json(values).history)
        network, train = to_configs(self._leg.sample, self._shared_settings)
        group.start(StartTrial(network=network, train=train, checkpoint=content))
        self._has_started = True

    def _reported(self, report: Report) -> LaneReport:
        epoch = EpochMetrics.from_json(report.metrics)
        if epoch.epoch not in {one.epoch for one in self._history}:  # a training that was over repeats its last epoch
            self._history.append(epoch)
        slices = self._slices_of_new_best(epoch)
        return LaneReport(
            metrics=epoch,
            finished=report.finished,
            failure=report.failure,
            slices=slices,
            changed=self._changed,
        )

    def _slices_of_new_best(self, epoch: EpochMetrics) -> bytes | None:
        """Return a few predicted validation slices, packed, if this epoch is the best so far of all trials; else
        None."""
        if not epoch.val_dice > self._best_dice:
            return None
        self._best_dice = epoch.val_dice
        if not self._wants_slices:
            return None
        assert self._group is not None
        slices = self._group.slices(timeout_seconds=self._timeout_seconds())
        return None if slices is None else pack_slices(epoch=epoch.epoch, **vars(slices))

    def _failed(self, failure: Failure) -> LaneReport:
        changed = self._changed
        if self._group_config.num_workers > 1:
            # The ranks may have stopped at different collective operations, so the next trial gets a new group.
            self._end_group()
        text = f"{failure.message}\n{failure.traceback}"
        return LaneReport(metrics=EpochMetrics(epoch=0), finished=True, failure=text, raised=True, changed=changed)

    def _must_leave(self) -> bool:
        if self._draining_node is None and self._group is not None:
            self._draining_node = self._watch.find(self._group.nodes)
        return self._draining_node is not None

    def _save_halted(self, halt: Halt) -> str:
        """Save the epoch under way if possible, and return where the trial continues: "after epoch 3 "."""
        if halt.num_batches == 0:
            return self._after_epoch
        self._halt = halt
        try:
            if self.save().checkpoint is None:
                raise OSError("the bucket accepts nothing")
        except Exception as error:  # then the trial continues as if there had been no notice
            return f"{self._after_epoch}(later state could not be saved: {type(error).__name__}: {error}) "
        return f"after batch {halt.num_batches} of epoch {halt.epoch + 1} "

    @property
    def _changed(self) -> tuple[str, ...]:
        return self._group.changed if self._group else ()

    @property
    def _after_epoch(self) -> str:
        return f"after epoch {self._history[-1].epoch} " if self._history else ""

    def _preempted(self, where: str) -> Preempted:
        assert self._draining_node is not None
        return Preempted(
            f"leaves {address_of(self._draining_node)}, which will be reclaimed; it continues {where}elsewhere"
        )

    def _start_group(self) -> WorkerGroup:
        try:
            self._group = WorkerGroup(self._group_config)
        except BaseException:
            _end_process_after(EXIT_SECONDS)
            raise
        return self._group

    def _end_group(self) -> None:
        if self._group is not None:
            self._group.end()
            self._group = None

    def _timeout_seconds(self) -> float:
        if self._slowest_seconds is None:
            return FIRST_EPOCH_SECONDS
        return max(60.0, SLOWEST_FACTOR * self._slowest_seconds)


def _end_process_after(seconds: float) -> None:
    """End this process if Ray does not. Tune waits for that before it starts another lane.

    Ray (2.60) waits until no task of the process is in flight. If a Train controller was killed while it started, its
    first task stays in flight for ever.
    """
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()
