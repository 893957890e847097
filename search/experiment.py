"""Open the folder of a search, new or resumed, for one writer at a time, and read its options from config.json."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from data.errors import MachineError, UserError
from data.machine.disk_errors import explain_disk_error, is_disk_error
from data.preprocess import Preprocessing
from data.source import ReadingOptions
from data.splitting.options import SplitOptions
from search.cluster.capacity.lane_plan import LanePlan
from search.cohort import Cohort
from search.config import SearchConfig
from search.promotion.options import Promotion
from search.record.codec import JsonObject
from search.record.events import check_log
from search.record.experiment_record import (
    DataRecord,
    ExperimentRecord,
    LanesRecord,
    WarmStart,
    read_experiment,
    write_experiment,
)
from search.record.files import CONFIG_FILE
from search.record.provenance import provenance
from search.space.space import Space, describe
from search.storage.working_folder import format_command, format_out
from search.storage.writer import check_bucket_writable, exclusive_writer

CHANGEABLE = (
    "data",  # it may have moved; its fingerprint must be the same
    "trials",
    "time_budget_seconds",
    "max_concurrent",
    "max_failures",
    "checkpoints_gb",
    "workers_per_trial",
    "gpus_per_worker",
    "cpus_per_worker",
    "tracking",
    "cache",
    "dry_run",
    *(field.name for field in fields(Promotion)),
)
"""Options that may change when a search is resumed. After any other change, its trials could not be compared."""

GROUPS = {
    "preprocessing": Preprocessing,
    "reading": ReadingOptions,
    "splitting": SplitOptions,
    "promotion": Promotion,
}
"""Groups of options, by the field of SearchConfig that holds them."""


def check_folder(config: SearchConfig) -> None:
    """Check, before anything else is done, that the experiment can make its folder and write to its bucket.

    Raises:
        UserError: The experiment exists already, or its parent cannot be written; one that is resumed lacks its log.
    """
    in_bucket = check_bucket_writable(config.folder)
    if config.resume:
        return check_log(config.folder)
    if in_bucket or config.folder.exists():
        raise UserError(
            f"{in_bucket or config.folder} exists already: resume it with --resume {config.name}, choose another "
            "--name, or remove it"
        )
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.out) as file:
            file.write(bytes(1 << 20))  # a full disk creates files, but has no room in them
            file.flush()
    except OSError as error:
        raise UserError(f"--out {config.out} cannot be written ({error}): choose another folder") from error


@contextmanager
def open_experiment(
    config: SearchConfig, cohort: Cohort, lanes: LanePlan, known: WarmStart
) -> Iterator[ExperimentRecord]:
    """Lock the experiment's folder, write config.json for a search that begins or is resumed, and yield its content.

    Args:
        known: What a new search knows before its first trial (search/warm_start.py).

    Raises:
        UserError: Another search writes there, or the patients' pixels differ from those that the search began with.
    """
    if not config.resume:
        config.folder.mkdir(parents=True)
    with exclusive_writer(config.folder):
        yield resume_experiment(config, cohort) if config.resume else create_experiment(config, cohort, lanes, known)


@contextmanager
def resumable_errors(folder: Path) -> Iterator[None]:
    """Say how to go on with the experiment in a folder after something is wrong with a machine in the block.

    Raises:
        UserError: The disk is full or read-only, the folder was removed, or a machine cannot take part in the search.
    """
    try:
        yield
    except (OSError, MachineError) as error:
        if isinstance(error, OSError) and not is_disk_error(error):
            raise
        said = explain_disk_error(error) if isinstance(error, OSError) else str(error)
        command = format_command("search.tune", folder)
        raise UserError(f"{said}. To continue the search then: {command}") from error


def create_experiment(config: SearchConfig, cohort: Cohort, lanes: LanePlan, known: WarmStart) -> ExperimentRecord:
    """Write config.json for a new search, and return its content."""
    experiment = ExperimentRecord(
        started=_now(),
        config=config_record(config),
        space=describe(config.search_space),
        lanes=LanesRecord(**asdict(lanes)),
        data=DataRecord(
            source=config.data,
            format=cohort.format,
            skipped=tuple(str(problem) for problem in cohort.skipped),
            fingerprint=cohort.fingerprint,
            num_channels=cohort.train_pack.num_channels,
            num_slices=cohort.num_slices,
            num_tumour_slices=cohort.num_tumour_slices,
            num_persons=cohort.num_persons,
            split=cohort.split,
        ),
        provenance=provenance(),
        known=known,
    )
    write_experiment(config.folder, experiment)
    return experiment


def recorded_config(folder: Path) -> SearchConfig:
    """Return the config of an experiment, with the folder's present place and name.

    Raises:
        UserError: There is no experiment, or this version cannot read its config.
    """
    recorded = read_experiment(folder).config
    try:
        values = with_groups(recorded)
        legal = {field.name for field in fields(SearchConfig)}
        if unknown := sorted(set(values) - legal):
            raise UserError(f"{folder / CONFIG_FILE} has options that this version does not know: {', '.join(unknown)}")
        # The folder may be a copy, so its present name and place count, not those in the file.
        return _as_config(values | {"out": folder.parent, "name": folder.name})
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:  # by what takes a value of another type
        raise UserError(f"{folder / CONFIG_FILE} has a value of the wrong type: {error}") from error


def _as_config(values: JsonObject) -> SearchConfig:
    if values.get("searcher") == "forest":  # it was removed; a search that is resumed goes on with another searcher
        values["searcher"] = "tpe"
    if isinstance(values.get("space"), dict):
        values["space"] = Space.from_json(values["space"])
    if values.get("try_first"):
        values["try_first"] = Path(values["try_first"])
    if "begin_with_default" not in values:  # it is from before searches began with the default
        max_epochs = values.get("max_epochs", SearchConfig.max_epochs)
        values |= {"begin_with_default": False, "grace_period": values.get("grace_period") or max(1, max_epochs // 9)}
    groups = {name: group(**_tuples(values.get(name, {}))) for name, group in GROUPS.items()}
    return SearchConfig(**_tuples(values) | groups)


def check_changes(config: SearchConfig, recorded: SearchConfig) -> None:
    """Check that the trials of a resumed search can be compared with those before.

    Raises:
        UserError: An option has changed that must stay the same.
    """
    options_before = _options(recorded)
    if config.search_space != recorded.search_space:
        raise UserError(f"the search space is another one than when {config.name} began; begin a new search for it")
    for name, now in _options(config).items():
        before = options_before[name]
        if now != before and name not in (*CHANGEABLE, "out", "resume", "given"):
            raise UserError(
                f"{name} is {now!r}, but was {before!r} when {config.name} began; a search that is resumed "
                f"can change only {', '.join(CHANGEABLE)}"
            )


def _tuples(values: JsonObject) -> JsonObject:
    """Return the values with tuples in place of the lists that JSON made of them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def with_groups(values: Mapping[str, Any]) -> JsonObject:
    """Return the options with those of the split in their group, and with later options of reading at their defaults,
    where older experiments did not have them yet."""
    shares = {name: values[name] for name in ("val_fraction", "test_fraction") if name in values}
    splitting = vars(SplitOptions()) | dict(values.get("splitting", {})) | shares
    reading = {
        name: list(value) if isinstance(value, tuple) else value for name, value in vars(ReadingOptions()).items()
    }
    groups = {"splitting": splitting, "reading": reading | dict(values.get("reading", {}))}
    return {name: value for name, value in values.items() if name not in shares} | groups


def _options(config: SearchConfig) -> dict[str, object]:
    """Return every option by its name on the command line, where the options of a group have no prefix."""
    options = {field.name: getattr(config, field.name) for field in fields(config)}
    for group in GROUPS:
        options |= vars(options.pop(group))
    return options


def resume_experiment(config: SearchConfig, cohort: Cohort) -> ExperimentRecord:
    """Write config.json for a search that is resumed, and return its content.

    Raises:
        UserError: The patients' pixels differ from those that the search began with.
    """
    before = read_experiment(config.folder)
    check_fingerprint(before, config, cohort)
    experiment = replace(before, config=config_record(config), resumed=(*before.resumed, _now()))
    write_experiment(config.folder, experiment)
    return experiment


def check_fingerprint(experiment: ExperimentRecord, config: SearchConfig, cohort: Cohort) -> None:
    """Check that the patients are the same as when the experiment began.

    Raises:
        UserError: Their pixels differ.
    """
    if cohort.fingerprint != experiment.data.fingerprint:
        raise UserError(
            f"the patients in {config.data} are not those that {config.name} began with (fingerprint "
            f"{cohort.fingerprint[:12]}, then {experiment.data.fingerprint[:12]}): put the old ones back, or "
            "begin a new search"
        )


def config_record(config: SearchConfig) -> JsonObject:
    """Return a config's options as they are in config.json."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    values["out"] = format_out(config.out)
    if isinstance(config.space, Space):
        values["space"] = config.space.to_json()
    del values["resume"]
    return values


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
