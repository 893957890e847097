"""Where the work after a search runs: in this process, or as tasks of Ray with a trial's resources."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from data.errors import UserError
from data.patient import Patient
from model.memory import limit_gpu_memory
from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.capacity.draining import usable_nodes
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.session import ray_session
from search.config import SearchConfig
from search.storage import remote
from search.storage.bucket import open_bucket
from search.storage.working_folder import bucket_uri

logger = logging.getLogger(__name__)

PLACE_SECONDS = 10
"""How long scoring and export wait for a place; the lanes of the search that has just ended leave in less."""


class TaskRunner:
    """Runs functions one beside the other; without lanes, one after the other in this process."""

    def __init__(
        self, lanes: LanePlan | None, place: PlacementGroup | None = None, *, folder: Path | None = None
    ) -> None:
        """Begin with nothing to run.

        Args:
            lanes: What a task books; None: they run here.
            place: What was booked for them, one at a time; None: each waits for a place of its own.
            folder: An experiment's whose bucket all machines reach; None: all machines share its folder.
        """
        self._lanes = lanes
        self._place = place
        self._folder = folder

    @property
    def num_threads(self) -> int:
        """Cores that a function may use."""
        return self._lanes.cpus_per_worker if self._lanes else torch.get_num_threads()

    @property
    def loader_processes(self) -> int:
        """Processes that a training function may start."""
        return self._lanes.loader_processes if self._lanes else 0

    def share(self, value: Any) -> Any:
        """Return what stands for a large value in the arguments of functions: it is sent to a machine once."""
        return ray.put(value) if self._lanes else value

    def map(self, function: Callable, calls: Sequence[tuple]) -> list[Any]:
        """Return the function's results, one for each tuple of arguments, in order.

        Raises:
            Exception: What a function raised.
        """
        if self._lanes is None:
            return [function(*arguments) for arguments in calls]
        resources = self._lanes.worker_resources()
        task = ray.remote(num_cpus=resources.get("CPU", 1), num_gpus=resources.get("GPU", 0), max_retries=3)(_call)
        if self._place:
            task = task.options(scheduling_strategy=PlacementGroupSchedulingStrategy(self._place))
        if self._folder:
            remote.upload_working_folder(self._folder)
            function = partial(remote.run_remotely, self._folder, bucket_uri(self._folder.parent), function)
        references = [task.remote(resources.get("GPU", 0), function, *arguments) for arguments in calls]
        try:
            return self._take_in(ray.get(references))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:  # a node that died three times, or has too little memory
            raise UserError(f"a task of the promotion was lost: {error}") from error

    def _take_in(self, results: list[Any]) -> list[Any]:
        if self._folder is None:
            return results
        for _, files in results:
            remote.write_results(self._folder, files)
        return [result for result, _ in results]

    def run(self, function: Callable, *arguments: Any) -> Any:
        """Return the function's result."""
        return self.map(function, [arguments])[0]


@contextmanager
def open_task_runner(config: SearchConfig, patients: Sequence[Patient], *, training: bool) -> Iterator[TaskRunner]:
    """Hold a place for tasks: Ray where RAY_ADDRESS names a cluster, or where there is something to train.

    A cluster whose nodes cannot read the patients' files is used for nothing; one that another search keeps busy, be it
    for days, for training alone, which waits for a place.
    """
    if not (training or os.environ.get("RAY_ADDRESS")):
        yield TaskRunner(None)
        return
    with ray_session():
        folder = config.folder.resolve()
        lanes, bucket = plan_on_cluster(config), folder if bucket_uri(folder.parent) else None
        if training:
            yield run_here_if_unreadable(TaskRunner(lanes, folder=bucket), patients, folder)
            return
        with reserve_place(lanes.worker_resources()) as place:
            tasks = TaskRunner(lanes, place, folder=bucket)
            yield run_here_if_unreadable(tasks, patients, folder) if place else TaskRunner(None)


@contextmanager
def reserve_place(resources: dict[str, float]) -> Iterator[PlacementGroup | None]:
    """Book a place for one task at a time; none if the cluster has none to give for a while."""
    place = placement_group([resources])
    try:
        is_booked = place.wait(PLACE_SECONDS)
        if not is_booked:
            logger.warning("no place of the cluster was free for %.0f seconds: what follows runs here", PLACE_SECONDS)
        yield place if is_booked else None
    finally:
        remove_placement_group(place)


def run_here_if_unreadable(tasks: TaskRunner, patients: Sequence[Patient], folder: Path) -> TaskRunner:
    """Return the tasks if every node can read the patients' and the experiment's files; else some that run here."""
    paths = [bucket_uri(folder.parent) or str(folder), *(str(patient.files[0]) for patient in patients)]
    places = [
        NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        for node in usable_nodes()
        if node["Resources"].get("CPU")
    ]
    asked = [ray.remote(num_cpus=0)(_unreadable).options(scheduling_strategy=place).remote(paths) for place in places]
    unreadable = [path for paths in ray.get(asked) for path in paths]
    if not unreadable:
        return tasks
    logger.warning("a node of the cluster cannot read %s: what follows runs here instead", unreadable[0])
    return TaskRunner(None)


def _call(gpus: float, function: Callable, *arguments: Any) -> Any:
    limit_gpu_memory(gpus)
    return function(*arguments)


def _unreadable(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not _can_read(path)][:1]


def _can_read(path: str) -> bool:
    if "://" not in path:
        return os.access(path, os.R_OK)
    try:
        return open_bucket(path).is_bucket
    except ValueError:
        return False
