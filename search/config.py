"""The options of a search, as the command line takes them and an experiment records them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data.errors import UserError
from data.legal import Range, check_legal
from data.preprocess import Preprocessing
from data.regions import parse_regions
from data.source import ReadingOptions
from data.splitting.options import SplitOptions
from search.planning.budget import check_budget
from search.promotion.options import Promotion
from search.record.epochs import METRIC
from search.record.objectives import LATENCY, check_kind, check_objectives, listed
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.space.choice import SpaceChoice
from search.space.configs import SharedSettings, check_architectures, check_batch_size
from search.space.make import Changes, make_space
from search.space.named import SPACES
from search.space.space import Space
from search.storage.working_folder import Out, check_name
from search.suggestion.samplers import SAMPLERS, check_conditions, check_prior


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search: its data, its budget, its machines, and where it writes.

    Raises:
        UserError: An option has a value that is not legal, or two options exclude each other.
    """

    data: str = "phantom"
    """Patients: a folder in one of the layouts of `--data-format`, or `phantom` for synthetic patients (`phantom:40`
    for forty of them)."""

    out: Out = Path("runs")
    """Folder for all experiments, which every machine must be able to reach, or a bucket: s3://bucket/prefix, gs://...,
    abfs://..."""

    name: str = ""
    """Name of this experiment: its folder, its study and its W&B group. Empty: made from the data and the time."""

    resume: str = ""
    """Name of an experiment in `--out` to continue, however it ended. It keeps its own options unless they are given
    again; patients, search space, schedule and seed cannot be changed."""

    budget: str | None = None
    """What to spend in all: a time such as `90s`, `30m`, `8h` or `2d`, from the start of the command to the end of the
    promotion, or a number of epochs such as `"500 epochs"`. An epoch is measured on these machines, and the trials, the
    epochs, the rungs and the final seeds follow from it. Those of them that you give stay as you gave them."""

    epoch_seconds: Annotated[float | None, tyro.conf.Suppress] = None
    """Seconds of an epoch of the default configuration, as measured for a budget of time; None without one."""

    given: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Options that a budget does not change although they may have their default value, because you gave them."""

    trials: Annotated[int, Range(at_least=1)] = 8
    """Number of configurations to try."""

    max_epochs: Annotated[int, Range(at_least=1)] = 9
    """Epochs of a trial that is never stopped early."""

    time_budget_seconds: Annotated[float | None, Range(at_least=1)] = None
    """Seconds after which the search stops; the best trial so far is then promoted. None: no limit. With a budget of
    time, they count from the start of the command, also if the search is resumed, and are planned."""

    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    cache: bool = True
    """Whether decoded slices are kept in the user's cache folder for the next search on the same files."""

    preprocessing: Annotated[Preprocessing, tyro.conf.arg(name="")] = field(default_factory=Preprocessing)

    batch_size: Annotated[int, Range(at_least=1)] = 16
    """Slices in a global batch, which is split among the workers of a trial."""

    width: Annotated[int | None, Range(at_least=1)] = None
    """Feature channels of the network at full resolution, if the search space has no such axis. None: the network's own
    default, which is 16 for the U-Net."""

    objective: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (METRIC,)
    """Objective by which trials are compared; repeat the option for several. `val_dice` is always the first; the others
    are `latency_ms` (per slice, on the training device) and `million_parameters`. `--objective latency_ms` searches
    for networks that are both accurate and fast."""

    dice_tolerance: Annotated[float, Range(at_least=0)] = 0.01
    """With several objectives only. Among the trials whose validation Dice is at most this far below the best, the one
    with the best second objective is promoted."""

    space: SpaceChoice = "core"
    """Search space: `core` (learning rate, depth, dropout, BCE weight), `wide` (also width, batch size, weight decay,
    norm and augmentation), or a YAML or JSON file in the words of a W&B sweep, whose other words are followed too.
    `python -m search.space show` lists what can be an axis."""

    fixed: Annotated[tuple[str, ...], tyro.conf.arg(name="set"), tyro.conf.UseAppendAction] = ()
    """Hyperparameter that all trials have in common, such as `width=24`; repeat the option for several."""

    ranges: Annotated[tuple[str, ...], tyro.conf.arg(name="range"), tyro.conf.UseAppendAction] = ()
    """Axis with other ends or choices, such as `learning_rate=1e-4..3e-3:log` or `norm=instance,group`; repeat the
    option for several."""

    network: str = ""
    """Network of all trials: `unet` (this program's own; so is an empty name), one of MONAI's (`monai:SegResNet`), one
    of segmentation_models_pytorch's (`smp:Unet`), or your own function as `my_package.my_module:build`."""

    searcher: Annotated[str, tyro.conf.arg(help=f"How configurations are chosen: {listed(SAMPLERS)}.")] = "prior_gp"

    prior: tuple[str, ...] = ()
    """Where you expect the best, for `prior_gp`: an axis and its value, such as `learning_rate=0.003`, or with a width,
    such as `depth=5:0.1` if you expect it within a tenth of the axis. Otherwise it is the default."""

    warm_start: tuple[str, ...] = ()
    """Names of earlier experiments in `--out`. The searcher learns from those of their trials that lie in this search
    space."""

    try_first: Annotated[Path | None, tyro.conf.arg(name="try")] = None
    """JSON file with a list of configurations to try before any other, such as `[{"learning_rate": 0.001}]`. Axes that
    a configuration leaves out are sampled."""

    begin_with_default: bool = True
    """Whether the first trial has the default configuration and is trained to its end, and the next ones have that of
    each other network of the space. Another than the first is promoted only if it is clearly better: p < 0.2 in a
    paired t-test over patients, corrected for the number of trials."""

    scheduler: Annotated[str, tyro.conf.arg(help=f"How weak trials are stopped: {listed(SCHEDULERS)}.")] = "asha"

    grace_period: Annotated[int | None, Range(at_least=1)] = None
    """Epochs before a trial may be stopped early; the first rung is there. None: a third of max_epochs, because before
    that a trial's rank says little about its final rank (tests/benchmarks/LOG.md)."""

    reduction_factor: Annotated[int, Range(at_least=2)] = 2
    """Eta in ASHA: with 2, one in two trials continues at each rung, and each rung is at twice the epochs of the rung
    below."""

    patience: Annotated[int, Range(at_least=0)] = 0
    """Epochs without a better validation Dice after which a trial ends as COMPLETE. 0: never."""

    workers_per_trial: Annotated[int, Range(at_least=1)] = 1
    """Ray Train workers that train one trial data-parallel."""

    gpus_per_worker: Annotated[float | None, Range(at_least=0)] = None
    """GPUs of a worker; 0 for none. None: one if the cluster has any."""

    cpus_per_worker: Annotated[int | None, Range(at_least=1)] = None
    """CPU cores of a worker. None: with a GPU, its share of the machine's cores, up to 8. Without a GPU, half of the
    machine's cores, up to 4, because two trials at a time with a core each take less time than one after another with
    both; with a budget, all cores, up to 4."""

    max_concurrent: Annotated[int | None, Range(at_least=1)] = None
    """The most trials that run at a time; with 1, a search can be repeated exactly. None: all there is room for."""

    max_failures: Annotated[int, Range(at_least=0)] = 3
    """How often a trial may lose its workers and continue from its checkpoint before it is FAILED."""

    checkpoints_gb: Annotated[float | None, Range(at_least=0)] = None
    """GB that the checkpoints of paused and ended trials may take. Beyond that, the least promising paused trials are
    ended. None: no limit."""

    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Precision of training. auto: the fastest that the device supports in hardware."""

    promotion: Annotated[Promotion, tyro.conf.arg(name="")] = field(default_factory=Promotion)

    tracking: Literal["offline", "online", "tensorboard", "off"] = "offline"
    """Where trials are logged: in Weights & Biases files in the experiment's folder (offline), on its server (online),
    in TensorBoard files, or nowhere."""

    project: str = "tumour-search"
    """W&B project of the runs."""

    splitting: Annotated[SplitOptions, tyro.conf.arg(name="")] = field(default_factory=SplitOptions)

    seed: int = 0
    """Seed of the split, the searcher, the weights, the order of slices, augmentation and dropout."""

    dry_run: bool = False
    """Read the data, print the plan, and stop."""

    def __post_init__(self) -> None:
        # On the command line, each --objective is added to the default; one that is named twice counts once.
        object.__setattr__(self, "objective", tuple(dict.fromkeys(self.objective)))
        check_legal(self)
        check_objectives(self.objective)
        if not self.budget and self.grace_period is not None and self.grace_period > self.max_epochs:
            raise UserError(f"grace_period is {self.grace_period}, but must be at most max_epochs ({self.max_epochs})")
        check_kind("searcher", self.searcher, SAMPLERS, self.objective)
        check_kind("scheduler", self.scheduler, SCHEDULERS, self.objective)
        self._make_space()
        check_prior(self.prior, self.search_space, self.searcher)
        check_conditions(self.search_space, self.searcher)
        check_budget(self.budget, begin_with_default=self.begin_with_default)
        self.promotion.check_objectives(self.objective)
        for option in ("name", "resume"):
            check_name(option, getattr(self, option))
        check_batch_size(self.search_space, self.batch_size, self.workers_per_trial)

    def _make_space(self) -> None:
        """Replace what names the space by the space itself, so that an experiment records what was searched."""
        before, changes = self.space, Changes(network=self.network, fixed=self.fixed, ranges=self.ranges)
        is_named = isinstance(self.space, str) and self.space in SPACES
        if not (is_named or isinstance(self.space, Space)) or changes != Changes():
            object.__setattr__(self, "space", make_space(self.space, changes))
            for name in ("network", "fixed", "ranges"):
                object.__setattr__(self, name, type(self).__dataclass_fields__[name].default)
        if is_named or not isinstance(before, Space):  # reading a record must not load the code of its networks
            self.check_networks()

    @property
    def search_space(self) -> Space:
        """The search space."""
        space = SPACES[self.space] if isinstance(self.space, str) else self.space
        assert isinstance(space, Space), "a config holds no other form of a space"
        return space

    def check_networks(self) -> None:
        """Raise UserError if a network of the space is not installed, or cannot take slices of this size."""
        shared = self.shared_settings(self.preprocessing.num_slices_seen)
        check_architectures(self.search_space, self.preprocessing.size, shared)

    @property
    def folder(self) -> Path:
        """The experiment's folder."""
        return self.out / self.name

    def scheduler_request(self) -> SchedulerRequest:
        """Return what the scheduler needs to know about this search."""
        return SchedulerRequest(
            num_trials=self.trials,
            max_epochs=self.max_epochs,
            grace_period=self.grace_period or max(1, self.max_epochs // 3),
            reduction_factor=self.reduction_factor,
            default_trial=self.default_trial,
        )

    @property
    def default_trial(self) -> int | None:
        """Number of the trial with the default configuration; None if there is none."""
        return 0 if self.begin_with_default else None

    def shared_settings(self, in_channels: int) -> SharedSettings:
        """Return what all trials of this search have in common."""
        return SharedSettings(
            in_channels=in_channels,
            num_regions=len(parse_regions(self.reading.regions, self.reading.labels)),
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            width=self.width,
            patience=self.patience,
            precision=self.precision,
            seed=self.seed,
            measure_latency=LATENCY in self.objective,
            packed_context=self.preprocessing.context_slices,
            constants=self.search_space.constants,
        )
