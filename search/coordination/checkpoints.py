"""Find the checkpoints that lanes have written to a folder or a bucket, and remove those that are no longer needed.

A trial is trained in legs (search/coordination/coordinator.py). Each leg is a folder such as `t007-2` in Ray Tune's
folder, and has a `checkpoint_NNNNNN/` for each epoch. The best and the newest checkpoint of a trial are kept, over all
its legs.

In a bucket every listing and every read is a request. So checkpoints that a lane reports (`saved`) are not looked up,
metrics are read once, because they never change, and a trial is listed only when its leg is over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileInfo

from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics
from search.record.trials import trial_id
from search.storage.storage_path import StoragePath, is_file, local_path

STATE_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.json"
"""The files of a checkpoint: the state of training, and its description (search/record/checkpoint_record.py), which is
written last. A checkpoint is whole if it has both."""

CHECKPOINT = "checkpoint_"
"""How the names of checkpoints' folders begin."""


@dataclass(kw_only=True)
class _Known:
    """The checkpoints of a trial, as far as they are known."""

    legs: int = 0
    """Number of the trial's legs."""

    whole: dict[PurePosixPath, CheckpointRecord] = field(default_factory=dict)
    """The checkpoints that were written to the end, by folder."""

    broken: set[PurePosixPath] = field(default_factory=set)
    """The folders of checkpoints that were cut off."""

    num_bytes: dict[PurePosixPath, int] = field(default_factory=dict)
    """Size of each checkpoint, by folder."""

    is_current: bool = False
    """Whether no lane can have written since the trial was listed."""


class Checkpoints:
    """The checkpoints of all trials of one search."""

    def __init__(
        self, folder: StoragePath | Path, *, remove: Callable[[StoragePath], None] = StoragePath.remove_folder
    ) -> None:
        """Begin with nothing listed.

        Args:
            folder: Ray Tune's folder.
            remove: Function that removes a folder, at once or later.
        """
        self._folder = local_path(folder) if isinstance(folder, Path) else folder
        self._remove_folder = remove
        self._trials: dict[int, _Known] | None = None
        self._at_first: dict[int, dict[PurePosixPath, dict[str, int]]] = {}
        """The listing of all trials, until each is first looked at: sizes of files by trial, checkpoint and name."""
        self._records: dict[str, CheckpointRecord] = {}
        self._num_bytes: dict[int, int] = {}

    @property
    def total_bytes(self) -> int:
        """Bytes of all checkpoints that are kept, as far as `tidy` has counted them."""
        return sum(self._num_bytes.values())

    @property
    def numbers(self) -> set[int]:
        """The numbers of the trials that have a folder."""
        return set(self._all())

    def newest(self, number: int) -> PurePosixPath | None:
        """Return the state file of a trial's newest whole checkpoint; None if it has none."""
        return _newest(self._look_at(number).whole)

    def best(self, number: int) -> PurePosixPath | None:
        """Return the state file of a trial's best epoch, the earliest among equals; None if none has a finite Dice."""
        return _best(self._look_at(number).whole)

    def relative(self, file: PurePosixPath) -> str:
        """Return the path of a checkpoint's file relative to the experiment's folder, as in the table of trials."""
        return str(file.relative_to(PurePosixPath(self._folder.path).parent))

    def last_epoch(self, number: int) -> int:
        """Return the last whole epoch that a checkpoint of a trial holds; 0 if it has none."""
        return max((one.metrics.epoch for one in self._look_at(number).whole.values()), default=0)

    def newest_record(self, number: int) -> CheckpointRecord | None:
        """Return the description of a trial's newest checkpoint, with its history; None if it has none."""
        newest = self.newest(number)
        values = StoragePath(self._folder.filesystem, f"{newest.parent}/{METRICS_FILE}").read_json() if newest else None
        return CheckpointRecord.from_json(values, f"{newest.parent}/{METRICS_FILE}") if newest and values else None

    def next_leg(self, number: int) -> str:
        """Make the folder of a trial's next leg, and return its name; no name is returned twice."""
        known = self._look_at(number)
        known.legs += 1
        known.is_current = False
        name = leg_name(number, known.legs)
        try:
            (self._folder / name).make_folder()
        except OSError:  # a bucket that does not answer; there, a folder exists as soon as it has a file
            if not self._folder.is_bucket:
                raise
        return name

    def saved(self, number: int, folder: str, epoch: EpochMetrics) -> None:
        """Record that a leg has written a checkpoint, and remove those that it replaces, without listing any.

        Args:
            epoch: The metrics of the last whole epoch before the checkpoint.
        """
        known = self._know(number)
        known.whole[PurePosixPath(folder)] = self._records[f"{folder}/{METRICS_FILE}"] = CheckpointRecord(metrics=epoch)
        self._remove(known, kept=_kept(known.whole, keep_newest=True))

    def tidy(self, number: int, *, keep_newest: bool) -> None:
        """Remove a trial's checkpoints except the best and, with `keep_newest`, the newest. No lane may be writing."""
        known = self._look_at(number)
        kept = _kept(known.whole, keep_newest=keep_newest)
        self._remove(known, kept=kept)
        self._num_bytes[number] = sum(known.num_bytes.get(folder, 0) for folder in kept)

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints. The empty folders of its legs stay, because legs are counted by them."""
        self._remove(self._look_at(number), kept=set())
        self._num_bytes.pop(number, None)

    def _remove(self, known: _Known, *, kept: set[PurePosixPath]) -> None:
        for folder in (set(known.whole) | known.broken) - kept:
            try:
                self._remove_folder(StoragePath(self._folder.filesystem, str(folder)))
            except OSError:  # the next listing finds it again
                continue
            known.whole.pop(folder, None)
            known.broken.discard(folder)
            known.num_bytes.pop(folder, None)

    def _look_at(self, number: int) -> _Known:
        """Return a trial's checkpoints, after listing them if a lane may have written since the last listing."""
        known = self._know(number)
        if not known.is_current:
            try:
                self._list(number, known)
            except OSError:  # the bucket does not answer, but lanes have reported nearly all checkpoints
                if not self._folder.is_bucket:
                    raise
        return known

    def _list(self, number: int, known: _Known) -> None:
        """List a trial's checkpoints, with a request for each leg and two for each checkpoint that no lane reported."""
        sizes = self._at_first.pop(number, None)
        if sizes is None:
            sizes = {}
            for index in range(1, max(1, known.legs) + 1):
                infos = (self._folder / leg_name(number, index)).list_folder(recursive=True)
                known.legs = max(known.legs, index if infos else 0)
                for info in infos:
                    _note(sizes, info)
        whole = {folder: self._read(folder) for folder in sizes if {STATE_FILE, METRICS_FILE} <= set(sizes[folder])}
        known.whole = {folder: record for folder, record in whole.items() if record is not None}
        known.broken = set(sizes) - set(known.whole)
        known.num_bytes = {folder: sum(files.values()) for folder, files in sizes.items()}
        known.is_current = True

    def _read(self, folder: PurePosixPath) -> CheckpointRecord | None:
        """Return a checkpoint's record, without its history; None if the file was cut off or is gone."""
        name = f"{folder}/{METRICS_FILE}"
        if name not in self._records:
            values = StoragePath(self._folder.filesystem, name).read_json()
            if values is None:
                return None
            self._records[name] = replace(CheckpointRecord.from_json(values, name), history=())
        return self._records[name]

    def _know(self, number: int) -> _Known:
        """Return what is known of a trial's checkpoints, without listing them."""
        return self._all().setdefault(number, _Known())

    def _all(self) -> dict[int, _Known]:
        """Return what is known of each trial. The first call lists all, with one request for a thousand files."""
        if self._trials is None:
            trials: dict[int, _Known] = {}
            for info in self._folder.list_folder(recursive=True):
                if leg := leg_of(self._folder.relative_name(info).split("/")[0]):
                    trial, index = leg
                    known = trials.setdefault(trial, _Known())
                    known.legs = max(known.legs, index)
                    _note(self._at_first.setdefault(trial, {}), info)
            self._trials = trials
        return self._trials


def _note(sizes: dict[PurePosixPath, dict[str, int]], info: FileInfo) -> None:
    """Record the size of a checkpoint's file, or that its folder exists."""
    file = PurePosixPath(info.path)
    folder = file.parent if is_file(info) else file
    if folder.name.startswith(CHECKPOINT):
        sizes.setdefault(folder, {}).update({file.name: info.size} if is_file(info) else {})


def _kept(whole: Mapping[PurePosixPath, CheckpointRecord], *, keep_newest: bool) -> set[PurePosixPath]:
    return {file.parent for file in (_best(whole), _newest(whole) if keep_newest else None) if file}


def _newest(whole: Mapping[PurePosixPath, CheckpointRecord]) -> PurePosixPath | None:
    found = [(record.metrics.epoch, record.num_batches, folder) for folder, record in whole.items()]
    return max(found)[-1] / STATE_FILE if found else None


def _best(whole: Mapping[PurePosixPath, CheckpointRecord]) -> PurePosixPath | None:
    epochs = {folder: record.metrics for folder, record in whole.items()}
    scored = [(-epoch.val_dice, epoch.epoch, folder) for folder, epoch in epochs.items() if epoch.has_dice]
    return min(scored)[2] / STATE_FILE if scored else None


def leg_name(number: int, index: int) -> str:
    """Return the name of the folder of a trial's leg; legs are counted from 1."""
    return f"{trial_id(number)}-{index}"


def leg_of(name: str) -> tuple[int, int] | None:
    """Return the trial's number and the leg's index from the name of its folder; None for any other name."""
    trial, _, index = name.rpartition("-")
    if not (index.isdigit() and trial.startswith("t") and trial[1:].isdigit()):
        return None
    return int(trial[1:]), int(index)
