"""What a search is asked to do."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data.preprocess import Preprocessing
from data.source import Reading
from search.promotion_options import Promotion
from search.record.objectives import LATENCY, OBJECTIVES
from search.record.trials import METRIC
from search.scheduling import schedulers
from search.scheduling.scheduler import Budget
from search.space import SPACES, SharedSettings, batch_sizes, largest_depth
from search.storage.address import Out
from search.suggestion import samplers


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search: its data, its budget, its machines, and where it writes."""

    data: str = "phantom"
    """Patients: a folder in one of the layouts of `data_format`, or `phantom` for synthetic ones (`phantom:40` for
    forty of them)."""

    out: Out = Path("runs")
    """Folder of all experiments, which all machines reach, or a bucket: s3://bucket/prefix, gs://..., abfs://..."""

    name: str = ""
    """Name of this experiment: its folder, its study, its W&B group. Empty: the data and the time."""

    resume: str = ""
    """Name of an experiment in `out` to go on with, however it ended. Its own options hold, but for those given now;
    patients, space, schedule and seed cannot change."""

    trials: int = 12
    """Configurations to try."""

    max_epochs: int = 9
    """Epochs of a trial that is never stopped early."""

    time_budget_seconds: float | None = None
    """Seconds after which no epoch is started any more; the best so far is promoted. None: no limit."""

    reading: Annotated[Reading, tyro.conf.arg(name="")] = field(default_factory=Reading)
    cache: bool = True
    """Whether decoded slices are kept in the user's cache, for the next search on the same files."""

    preprocessing: Annotated[Preprocessing, tyro.conf.arg(name="")] = field(default_factory=Preprocessing)

    batch_size: int = 16
    """Slices in a global batch, shared among a trial's workers."""

    width: int = 16
    """Features of the U-Net at full resolution, where the space has no such axis."""

    objective: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (METRIC,)
    """What trials are compared by; give it once for each. `val_dice` always is the first; others are `latency_ms` (of a
    slice, where it trains) and `million_parameters`: `--objective latency_ms` searches for what is good and fast."""

    dice_tolerance: float = 0.01
    """With several objectives: of the trials whose validation Dice is at most this much below the best one's, the one
    that is best by the second objective is promoted."""

    space: str = "core"
    """Search space: `core` (learning rate, depth, dropout, BCE weight) or `wide` (also width, batch size, weight
    decay, norm and augmentation)."""

    searcher: str = "tpe"
    """How configurations are chosen: `tpe`, `forest` (a regression of learning curves), `gp`, `cmaes`, `random`, `qmc`
    (a scrambled Sobol sequence) or `grid`."""

    warm_start: tuple[str, ...] = ()
    """Names of earlier experiments in `out` whose trials the searcher learns from, as far as they lie in the space."""

    try_first: Annotated[Path | None, tyro.conf.arg(name="try")] = None
    """JSON file with a list of configurations to try before any other, such as `[{"learning_rate": 0.001}]`; axes that
    one leaves out are sampled."""

    scheduler: str = "asha"
    """How weak trials are stopped early: `asha`, `hyperband`, `median`, or `none` of them is."""

    grace_period: int | None = None
    """Epochs before a trial may be stopped early, the first rung. None: a ninth of max_epochs; before, a trial's place
    says little of its end (LOG.md)."""

    reduction_factor: int = 3
    """One in so many trials goes on at each rung; the rungs are so many times apart."""

    patience: int = 0
    """Epochs without a better validation Dice after which a trial ends as COMPLETE; 0: never."""

    workers_per_trial: int = 1
    """Ray Train workers that train one trial data-parallel."""

    gpus_per_worker: float | None = None
    """GPUs of a worker, 0 for none. None: one where the cluster has any."""

    cpus_per_worker: int | None = None
    """CPU cores of a worker. None: on a GPU its share of the host's, up to 8; else all that the host has, up to 4, for
    one trial on 2 cores is nearly as fast as two on one each (LOG.md), and then nothing depends on which is first."""

    max_concurrent: int | None = None
    """Most trials at a time. None: as many as the cluster has room for."""

    max_failures: int = 3
    """Times that a trial may lose its workers, and go on from its checkpoint, before it is FAILED."""

    checkpoints_gb: float | None = None
    """GB that the checkpoints of paused and ended trials may take; beyond, the least promising paused trials end.
    None: no limit."""

    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Precision of training; auto is the fastest that the device has units for."""

    promotion: Annotated[Promotion, tyro.conf.arg(name="")] = field(default_factory=Promotion)

    tracking: Literal["offline", "online", "tensorboard", "off"] = "offline"
    """Where trials are seen: Weights & Biases' files in the experiment's folder, its server, TensorBoard, nowhere."""

    project: str = "tumour-search"
    """Project of the W&B runs."""

    val_fraction: float = 0.2
    """Share of the patients on which trials are compared."""

    test_fraction: float = 0.2
    """Share of the patients that the search never sees and the promoted model is scored on, once."""

    seed: int = 0
    """Seeds the split, the searcher, weights, order, augmentation and dropout."""

    dry_run: bool = False
    """Read the data, print the plan, and stop."""

    def __post_init__(self) -> None:
        # The option adds to the default; what is named twice counts once.
        object.__setattr__(self, "objective", tuple(dict.fromkeys(self.objective)))
        for name, low in (
            ("trials", 1),
            ("max_epochs", 1),
            ("batch_size", 1),
            ("width", 1),
            ("reduction_factor", 2),
            ("workers_per_trial", 1),
            ("max_failures", 0),
            ("patience", 0),
            ("dice_tolerance", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {low}")
        for name, low in (
            ("grace_period", 1),
            ("time_budget_seconds", 1),
            ("gpus_per_worker", 0),
            ("cpus_per_worker", 1),
            ("max_concurrent", 1),
            ("checkpoints_gb", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} is {value}, but must be at least {low}, or left out")
        if self.grace_period is not None and self.grace_period > self.max_epochs:
            raise ValueError(f"grace_period is {self.grace_period}, but must be at most max_epochs ({self.max_epochs})")
        for name, legal in (("space", SPACES), ("searcher", samplers.SAMPLERS), ("scheduler", schedulers.SCHEDULERS)):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(legal)}")
        if self.searcher == "grid" and self.try_first:
            raise ValueError("try is of no use with the searcher grid, which tries its own points: leave one out")
        self._check_objectives()
        for option in ("name", "resume"):
            self._check_name(option)
        self._check_size()
        self._check_batch()

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.out / self.name

    def named(self) -> "SearchConfig":
        """Return this config with a name: the given one, or the data and the time."""
        if self.name:
            return self
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.data).name).strip("-").lower()[:80] or "search"
        return replace(self, name=f"{stem}-{datetime.now():%Y%m%d-%H%M%S}")

    def budget(self) -> Budget:
        """Return what the scheduler divides."""
        return Budget(
            num_trials=self.trials,
            max_epochs=self.max_epochs,
            grace_period=self.grace_period or max(1, self.max_epochs // 9),
            reduction_factor=self.reduction_factor,
        )

    def fixed(self, in_channels: int) -> SharedSettings:
        """Return what all trials of this search have in common."""
        return SharedSettings(
            in_channels=in_channels,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            width=self.width,
            patience=self.patience,
            precision=self.precision,
            seed=self.seed,
            measure_latency=LATENCY in self.objective,
        )

    def _check_objectives(self) -> None:
        if unknown := [name for name in self.objective if name not in OBJECTIVES]:
            raise ValueError(f"objective is {unknown[0]!r}, but must be one of {', '.join(OBJECTIVES)}")
        if self.objective[:1] != (METRIC,):
            raise ValueError(f"objective is {', '.join(self.objective)}, but must begin with {METRIC}")
        if len(self.objective) == 1:
            return
        if self.promotion.ensemble > 1:
            raise ValueError(
                f"ensemble is {self.promotion.ensemble}, but with several objectives ({', '.join(self.objective)}) one "
                "network is promoted: leave it out"
            )
        for name, one_objective, all_names in (
            ("searcher", samplers.ONE_OBJECTIVE, samplers.SAMPLERS),
            ("scheduler", schedulers.ONE_OBJECTIVE, schedulers.SCHEDULERS),
        ):
            if getattr(self, name) in one_objective:
                legal = ", ".join(other for other in all_names if other not in one_objective)
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, which knows one objective only, not "
                    f"{', '.join(self.objective)}: choose one of {legal}"
                )

    def _check_name(self, option: str) -> None:
        name = getattr(self, option)
        if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError(
                f"{option} is {name!r}, but it becomes a folder and a W&B group: use letters, digits, dots, dashes "
                "and underscores, at most 100, and begin with a letter or digit"
            )

    def _check_size(self) -> None:
        depth, size = largest_depth(SPACES[self.space]), self.preprocessing.size
        # One pixel at the bottom of the U has no spread to normalise by, so it must be two at least.
        if size < 2 * 2**depth or size % 2**depth:
            raise ValueError(
                f"size is {size}, but the space {self.space!r} has U-Nets of depth {depth}, which need a multiple "
                f"of {2**depth} pixels, from {2 * 2**depth} to 1024: 128 or 256 are usual"
            )

    def _check_batch(self) -> None:
        for batch_size in batch_sizes(SPACES[self.space], self.batch_size):
            if batch_size % self.workers_per_trial:
                raise ValueError(
                    f"batch_size is {batch_size}, but must be divisible by workers_per_trial ({self.workers_per_trial})"
                )
