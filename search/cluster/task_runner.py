"""Run functions in this process, or as tasks on a Ray cluster with the resources of a worker."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from data.errors import UserError
from data.patient import Patient
from model.memory import limit_gpu_memory
from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.capacity.machines import ask_machines
from search.cluster.session import ray_session
from search.cluster.start.choice import names_cluster
from search.config import SearchConfig
from search.storage import remote
from search.storage.bucket import open_bucket
from search.storage.working_folder import bucket_uri

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 10
"""How long scoring and export wait for free resources. The lanes of the search that has just ended are gone sooner."""

NUM_RETRIES = 3
"""How often a task is started again after its worker or node was lost."""


class TaskRunner:
    """Runs functions side by side on a cluster, or one after another in this process."""

    def __init__(
        self, lanes: LanePlan | None, place: PlacementGroup | None = None, *, folder: Path | None = None
    ) -> None:
        """Begin with nothing to run.

        Args:
            lanes: A task books what a worker of these lanes books; None: functions run in this process.
            place: A placement group in which tasks run one at a time; None: each task waits for resources of its own.
            folder: The experiment's working folder, if the experiment is in a bucket; None: all machines share the
                experiment's folder.
        """
        self._lanes = lanes
        self._place = place
        self._folder = folder

    @property
    def num_threads(self) -> int:
        """How many cores a function may use."""
        return self._lanes.cpus_per_worker if self._lanes else torch.get_num_threads()

    @property
    def loader_processes(self) -> int:
        """How many processes a function that trains may start."""
        return self._lanes.loader_processes if self._lanes else 0

    def share(self, value: Any) -> Any:
        """Return a reference that can be passed as an argument instead of a large value, and is sent to each machine
        once."""
        return ray.put(value) if self._lanes else value

    def map(self, function: Callable, calls: Sequence[tuple], *, ends: bool = False) -> list[Any]:
        """Return the function's results, one for each tuple of arguments, in order.

        Args:
            ends: Whether each process on the cluster ends after its call, so that nothing of it is left.

        Raises:
            Exception: A function raised it; on a cluster, its cause has the traceback of the remote process.
            UserError: A task was lost again and again, because its machine died or has too little memory.
        """
        if self._lanes is None:
            return [function(*arguments) for arguments in calls]
        if self._folder:
            remote.upload_working_folder(self._folder)
            uri = bucket_uri(self._folder.parent)
            assert uri is not None, "a working folder has a bucket"
            function = partial(remote.run_remotely, self._folder, uri, function)
        task, num_gpus = self._task(self._lanes, ends=ends)
        references = [task.remote(num_gpus, function, *arguments) for arguments in calls]
        try:
            return self._write_results(ray.get(references))
        except RayTaskError as error:
            raise error.cause from error
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
            raise UserError(f"a task was lost {NUM_RETRIES + 1} times: {error}") from error

    def _task(self, lanes: LanePlan, *, ends: bool) -> tuple[Any, float]:
        """Return the remote function that runs a function on the cluster, and the GPUs that it books."""
        resources = lanes.worker_resources()
        num_gpus = resources.get("GPU", 0)
        options = {"num_cpus": resources.get("CPU", 1), "num_gpus": num_gpus, "max_retries": NUM_RETRIES}
        if self._place:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._place)
        return ray.remote(max_calls=1 if ends else 0)(_call).options(**options), num_gpus

    def _write_results(self, results: list[Any]) -> list[Any]:
        """Return the results, after writing the files that came with them into the working folder."""
        if self._folder is None:
            return results
        for _, files in results:
            remote.write_results(self._folder, files)
        return [result for result, _ in results]

    def run(self, function: Callable, *arguments: Any, ends: bool = False) -> Any:
        """Return the function's result; for `ends` see `map`."""
        return self.map(function, [arguments], ends=ends)[0]


@contextmanager
def open_task_runner(config: SearchConfig, patients: Sequence[Patient], *, training: bool) -> Iterator[TaskRunner]:
    """Yield a runner: on Ray if RAY_ADDRESS names a cluster or `training` is set, else in this process.

    A cluster whose nodes have another program, or cannot read the patients' files, is not used. On a busy cluster,
    training waits for resources, perhaps for days; scoring and export then run in this process.
    """
    if not (training or names_cluster()):
        yield TaskRunner(None)
        return
    with ray_session():
        folder = config.folder.resolve()
        lanes, working_folder = plan_on_cluster(config), folder if bucket_uri(folder.parent) else None
        if training:
            yield run_here_if_unfit(TaskRunner(lanes, folder=working_folder), patients, folder)
            return
        with reserve_place(lanes.worker_resources()) as place:
            tasks = TaskRunner(lanes, place, folder=working_folder)
            yield run_here_if_unfit(tasks, patients, folder) if place else TaskRunner(None)


@contextmanager
def reserve_place(resources: dict[str, float]) -> Iterator[PlacementGroup | None]:
    """Yield a placement group for one task at a time; None if the cluster has no room for RESERVE_SECONDS."""
    place = placement_group([resources])
    try:
        is_reserved = place.wait(RESERVE_SECONDS)
        if not is_reserved:
            logger.warning("the cluster had no room for %.0f seconds: the promotion runs here", RESERVE_SECONDS)
        yield place if is_reserved else None
    finally:
        remove_placement_group(place)


def run_here_if_unfit(tasks: TaskRunner, patients: Sequence[Patient], folder: Path) -> TaskRunner:
    """Return the runner, or one for this process if a node has another program, or cannot read the patients' or the
    experiment's files."""
    paths = [bucket_uri(folder.parent) or str(folder), *(str(patient.files[0]) for patient in patients)]
    found = ask_machines(_unreadable, paths)
    unreadable = [path for _, unread in found.answers for path in unread]
    if found.others:
        problem = found.describe_others()
    elif unreadable:
        problem = f"a node of the cluster cannot read {unreadable[0]}"
    else:
        return tasks
    logger.warning("%s: the promotion runs here instead", problem)
    return TaskRunner(None)


def _call(num_gpus: float, function: Callable, *arguments: Any) -> Any:
    limit_gpu_memory(num_gpus)
    return function(*arguments)


def _unreadable(paths: Sequence[str]) -> list[str]:
    """Return a list of the first path that cannot be read on this machine; [] if all can."""
    return [path for path in paths if not _can_read(path)][:1]


def _can_read(path: str) -> bool:
    if "://" not in path:
        return os.access(path, os.R_OK)
    try:
        return open_bucket(path).is_bucket
    except UserError:
        return False
