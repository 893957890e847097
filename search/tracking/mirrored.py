"""What a tracker writes on a machine that is not the driver's goes to the experiment's bucket from there.

In a folder that all machines share there is nothing to do. With a bucket every machine has a working folder of its own,
and the driver's is sent by the driver.
"""

from collections.abc import Sequence
from pathlib import Path

from model.training.sample_slices import PredictedSlices
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.storage.download import sync_down_folders
from search.storage.lock import is_locked
from search.storage.storage_path import is_file
from search.storage.uploader import Uploader
from search.storage.working_folder import bucket_uri, mark_working_folder, storage_path_of
from search.tracking.outage import OUTAGE_FILE
from search.tracking.tracker import TrackedTrial, Tracker, Tracking, run_id

PARTS = ("wandb", "tensorboard", OUTAGE_FILE)
"""What trackers write, of an experiment."""


def mirrored(tracker: Tracker, tracking: Tracking) -> Tracker:
    """Return a tracker whose files reach the experiment's bucket, from any machine; the same, if it has none."""
    uri = bucket_uri(tracking.folder.parent)
    return tracker if uri is None or tracking.mode == "off" else MirroredTracker(tracker, tracking, uri)


def sync_down_tracks(folder: Path) -> None:
    """Bring what was tracked on other machines to the working folder of the driver."""
    sync_down_folders(folder, PARTS)


class MirroredTracker:
    """A tracker, and a mirror of its files where the driver has none. Neither harms the trial."""

    def __init__(self, tracker: Tracker, tracking: Tracking, uri: str) -> None:
        self._tracker = tracker
        self._tracking = tracking
        self._uri = uri
        self._mirror: Uploader | None = None
        self.wants_slices = tracker.wants_slices

    def start(self, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None:
        """A trial begins, or goes on; what another machine sent of it before is in its history."""
        if self._mirror is None and not is_locked(self._tracking.folder):
            self._mirror = self._open()
        if self._mirror is not None and history:
            self._forget(trial)
        self._tracker.start(trial, history)

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None:
        """An epoch of it ended."""
        self._tracker.log(epoch, slices)

    def finish(self, state: State, reason: str) -> None:
        """It ended, or waits for a leg that may never come."""
        self._tracker.finish(state, reason)
        if self._mirror is not None:
            self._mirror.upload(everything=True)

    def _open(self) -> Uploader | None:
        folder = self._tracking.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark_working_folder(folder.parent, self._uri)
            mirror = Uploader(folder, storage_path_of(folder), parts=PARTS)
        except (OSError, ValueError) as error:
            print(f"what is tracked here is not sent to {self._uri}: {error}")
            return None
        mirror.start()
        return mirror

    def _forget(self, trial: TrackedTrial) -> None:
        """Remove the offline run of an earlier leg, which the new one holds too: of two, a server would keep one."""
        wandb = storage_path_of(self._tracking.folder) / "wandb"
        name = run_id(self._tracking.group, trial.number)
        try:
            for info in wandb.list_folder():
                if not is_file(info) and info.base_name.startswith("offline-") and info.base_name.endswith(f"-{name}"):
                    (wandb / info.base_name).remove_folder()
        except OSError:
            return  # it stays, and `search.sync` completes what a server has
