"""The checkpoints of a search: lanes write them, in a folder or a bucket; this finds them and removes what is useless.

A trial is trained in legs (search/coordination/coordinator.py); every leg is a folder `t007-2` under Ray Tune's, and in
it an epoch is a `checkpoint_NNNNNN/`. Of a trial, the best and the newest of all its legs are kept.

In a bucket every look is a request. So what a lane says it has written is believed without a look (`saved`), what a
file said is remembered, for it never changes, and a trial is listed only once its leg is over.
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
"""In every checkpoint folder: the training's state, and then the metrics of the epoch that it was taken after. In the
middle of an epoch that is the last whole one, without its Dice, and `num_batches` of the next are done."""

CHECKPOINT = "checkpoint_"
"""How the folders of checkpoints begin."""


@dataclass(kw_only=True)
class _Known:
    """What is known of a trial's checkpoints."""

    legs: int = 0
    whole: dict[PurePosixPath, CheckpointRecord] = field(default_factory=dict)
    """Those that were written to the end, by their folders."""

    broken: set[PurePosixPath] = field(default_factory=set)
    """Folders of the others."""

    num_bytes: dict[PurePosixPath, int] = field(default_factory=dict)
    is_current: bool = False
    """Nobody has written since this was learnt."""


class Checkpoints:
    """The checkpoints of all trials of one search."""

    def __init__(
        self, folder: StoragePath | Path, *, remove: Callable[[StoragePath], None] = StoragePath.remove_folder
    ) -> None:
        """Begin with nothing known.

        Args:
            folder: Ray Tune's.
            remove: Removes a folder, now or later.
        """
        self._folder = local_path(folder) if isinstance(folder, Path) else folder
        self._remove_folder = remove
        self._trials: dict[int, _Known] | None = None
        self._at_first: dict[int, dict[PurePosixPath, dict[str, int]]] = {}
        """Sizes of files by checkpoint, of trials that nobody has asked for since all were listed."""
        self._records: dict[str, CheckpointRecord] = {}
        self._num_bytes: dict[int, int] = {}

    @property
    def total_bytes(self) -> int:
        """What the trials that were tidied take."""
        return sum(self._num_bytes.values())

    def newest(self, number: int) -> PurePosixPath | None:
        """Return the state file of a trial's last batch that is whole; None if there is none."""
        return _newest(self._look_at(number).whole)

    def best(self, number: int) -> PurePosixPath | None:
        """Return the state file of a trial's best epoch, the earlier one among equals; None if none has a score."""
        return _best(self._look_at(number).whole)

    def relative(self, file: PurePosixPath) -> str:
        """Return a checkpoint's file as the table of trials names it, relative to the experiment."""
        return str(file.relative_to(PurePosixPath(self._folder.path).parent))

    def last_epoch(self, number: int) -> int:
        """Return the last whole epoch that a trial need not train again; 0 if there is none."""
        return max((one.metrics.epoch for one in self._look_at(number).whole.values()), default=0)

    def next_leg(self, number: int) -> str:
        """Return the folder's name of a trial's next leg, to be written by whoever gets it; no name is given twice."""
        known = self._look_at(number)
        known.legs += 1
        known.is_current = False
        name = leg_name(number, known.legs)
        try:
            (self._folder / name).make_folder()
        except OSError:  # a bucket that is silent; the folder is there when something lies in it
            if not self._folder.is_bucket:
                raise
        return name

    def saved(self, number: int, folder: str, epoch: EpochMetrics) -> None:
        """Take in that a trial's leg has written a checkpoint, and remove those that it makes useless: without a look.

        Args:
            epoch: The metrics of its epoch.
        """
        known = self._know(number)
        known.whole[PurePosixPath(folder)] = self._records[f"{folder}/{METRICS_FILE}"] = CheckpointRecord(metrics=epoch)
        self._remove(known, kept=_kept(known.whole, keep_newest=True))

    def tidy(self, number: int, *, keep_newest: bool) -> None:
        """Keep a trial's best checkpoint, and maybe the newest; not to be called while one is being written."""
        known = self._look_at(number)
        kept = _kept(known.whole, keep_newest=keep_newest)
        self._remove(known, kept=kept)
        self._num_bytes[number] = sum(known.num_bytes.get(folder, 0) for folder in kept)

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints. The empty folders of its legs stay, as their count."""
        self._remove(self._look_at(number), kept=set())
        self._num_bytes.pop(number, None)

    def _remove(self, known: _Known, *, kept: set[PurePosixPath]) -> None:
        for folder in (set(known.whole) | known.broken) - kept:
            try:
                self._remove_folder(StoragePath(self._folder.filesystem, str(folder)))
            except OSError:  # the next look finds it
                continue
            known.whole.pop(folder, None)
            known.broken.discard(folder)
            known.num_bytes.pop(folder, None)

    def _look_at(self, number: int) -> _Known:
        """Return what is known of a trial, after a look if somebody may have written."""
        known = self._know(number)
        if not known.is_current:
            try:
                self._list(number, known)
            except OSError:  # a bucket that is silent: what lanes have said is nearly all
                if not self._folder.is_bucket:
                    raise
        return known

    def _list(self, number: int, known: _Known) -> None:
        """Learn which of a trial's checkpoints are there: a request a leg, and two for each that nobody spoke of."""
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
        """Return what a checkpoint says of itself, without its history; None if that was cut off, or is gone."""
        name = f"{folder}/{METRICS_FILE}"
        if name not in self._records:
            values = StoragePath(self._folder.filesystem, name).read_json()
            if values is None:
                return None
            self._records[name] = replace(CheckpointRecord.from_json(values, name), history=())
        return self._records[name]

    def _know(self, number: int) -> _Known:
        """Return what is known of a trial without a look; all are listed once, for a request a thousand files."""
        if self._trials is None:
            trials: dict[int, _Known] = {}
            for info in self._folder.list_folder(recursive=True):
                if leg := leg_of(self._folder.relative_name(info).split("/")[0]):
                    trial, index = leg
                    known = trials.setdefault(trial, _Known())
                    known.legs = max(known.legs, index)
                    _note(self._at_first.setdefault(trial, {}), info)
            self._trials = trials
        return self._trials.setdefault(number, _Known())


def _note(sizes: dict[PurePosixPath, dict[str, int]], info: FileInfo) -> None:
    """Take in a file of a checkpoint, or its folder."""
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
    """Return the folder of a trial's leg, counted from 1."""
    return f"{trial_id(number)}-{index}"


def leg_of(name: str) -> tuple[int, int] | None:
    """Return the trial's number and the leg's index of such a folder; None of any other name."""
    trial, _, index = name.rpartition("-")
    if not (index.isdigit() and trial.startswith("t") and trial[1:].isdigit()):
        return None
    return int(trial[1:]), int(index)
