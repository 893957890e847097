"""The model card: what a person must know before using the model. card.md is its template.

A section appears only if its data exists, so the card states nothing that was not measured.
"""

import math
import shlex
from collections.abc import Collection

from jinja2 import Environment, PackageLoader, StrictUndefined

from data.readers.table import READERS
from model.networks import find_architecture
from model.settings import Settings
from search.config import SearchConfig
from search.record.experiment_record import ExperimentRecord
from search.record.model_metrics import ModelMetrics
from search.record.objectives import OBJECTIVES
from search.record.trials import TrialRow, count_states
from search.storage.working_folder import format_out

FILES = {
    "model.onnx": "the model for ONNX Runtime, in any language; its settings are in the metadata entry `tumour_search`",
    "model.pt2": "the same model as a `torch.export` program; its settings are in the extra file `tumour_search`",
    "weights.safetensors": "the weights, with the configuration of the networks in the metadata",
    "checkpoint.pt": "the winner's training state, from which its training can be continued (tensors only)",
    "metrics.json": "all numbers of this card, and the scores of each patient",
    "overlays": "pictures of test patients with the outlines of prediction and true mask",
    "card.md": "this card",
    "manifest.json": "size and SHA-256 of every file, versions, commit, fingerprint of the data",
}
"""What each file of the folder contains, in the order of the card."""

YOUR_LICENCE = (
    "The licence of your data applies to what is derived from it, this model too; this program cannot know it."
)

INTENSITIES = {
    "auto": "8-bit slices are used as they are. In others, the values between the 0.5th and the 99.5th percentile of "
    "the volume are mapped to 256 grey levels.",
    "full": "All values of the volume, from the lowest to the highest, are mapped to 256 grey levels.",
    "percentile": "The values between the 0.5th and the 99.5th percentile of the volume are mapped to 256 grey levels.",
}
"""What data/preprocess.py does, by the value of the option."""

LABELS = (
    "A region that is part of another one is cut to that one. `model.predict` writes labels: of each pixel, one that "
    "belongs to the regions that it lies in, and to no other if there is such a label."
)
"""The last step of a model of several regions."""

UNITS = {"_mm": " (mm)", "_ms": " (ms)", "_pixels": " (pixels)", "_voxels": " (voxels)", "_seconds": " (s)"}
"""The unit of a metric for people, by the end of its name."""


def write_card(
    experiment: ExperimentRecord,
    config: SearchConfig,
    metrics: ModelMetrics,
    rows: list[TrialRow],
    winner: TrialRow,
    *,
    settings: Settings,
    files: Collection[str],
) -> str:
    """Return the card as Markdown; `files` are the names of the other files in the model's folder."""
    reader = READERS.get(experiment.data.format)
    template = _environment().get_template("card.md")
    return template.render(
        experiment=experiment,
        config=config,
        folder=shlex.quote(f"{format_out(config.out)}/{config.name}/best"),
        data=experiment.data,
        metrics=metrics,
        network=_describe_network(metrics),
        assessment=metrics.assessment,
        diagnosis=_known(metrics.assessment.diagnosis),
        speed=_known(metrics.assessment.speed),
        num_trials=len(rows),
        states=", ".join(f"{count} {state}" for state, count in count_states(rows).items() if count),
        winner=winner,
        rule=_rule(config),
        settings=settings,
        regions=settings.regions,
        steps=_steps(settings),
        code=_code(settings),
        files={name: meaning for name, meaning in FILES.items() if name in {*files, "card.md", "manifest.json"}},
        format=reader.description if reader else experiment.data.format,
        licence=(reader and reader.licence) or YOUR_LICENCE,
        warning=reader.warning if reader else "",
        command=shlex.join(["python", "-m", "search.tune", *experiment.provenance.command[1:]]),
    )


def _environment() -> Environment:
    """Return the template engine, which refuses names that have no value."""
    environment = Environment(
        loader=PackageLoader("search.promotion", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "value": _value, "label": _label}
    return environment


def _known(record: object | None) -> dict[str, object]:
    """Return the fields of a record that are not None."""
    return {name: value for name, value in vars(record).items() if value is not None} if record else {}


def _describe_network(metrics: ModelMetrics) -> str:
    """Return what kind of model it is, as the start of a sentence: `A U-Net`, `An ensemble of 3 U-Nets`."""
    titles = [find_architecture(name).title for name in metrics.architectures]
    count = metrics.num_networks
    if count == 1:
        return f"{'An' if titles[0][0] in 'AEIO' else 'A'} {titles[0]}"
    if len(titles) == 1:
        return f"An ensemble of {count} {titles[0]}s"
    return f"An ensemble of {count} networks ({', '.join(titles)})"


def _rule(config: SearchConfig) -> str:
    """Return the rule by which the winner was chosen."""
    if config.promotion.folds and len(config.objective) == 1:
        return _rule_for(config, f"the patients of {config.promotion.folds} folds")
    return _rule_for(config, "the validation patients")


def _rule_for(config: SearchConfig, patients: str) -> str:
    if len(config.objective) > 1:
        return (
            f"Of the trials whose validation Dice was at most {config.dice_tolerance:g} below the best, it is the one "
            f"with the best {OBJECTIVES[config.objective[1]].label}."
        )
    if config.promotion.ties == "best":
        return f"The candidate with the best mean Dice on {patients} wins."
    return (
        f"Of the candidates whose mean Dice on {patients} is less than one standard error of the "
        "difference below the best, the network with the fewest parameters wins. An ensemble wins only if it is better "
        "than every candidate by more than one standard error"
        + (
            ", and a configuration other than the default only if it is clearly better (a paired t-test over "
            "patients, with p < 0.2 for all compared configurations together)."
            if config.begin_with_default
            else "."
        )
    )


def _steps(settings: Settings) -> list[str]:
    """Return the steps from a patient's files to a mask, in sentences."""
    preprocessing = settings.preprocessing
    size, context = preprocessing.size, preprocessing.context_slices
    neighbours = f"{context} neighbouring slice{'s' if context > 1 else ''}"
    steps = (
        (
            settings.grayscale,
            "The colours of a slice are combined into one channel with the weights 0.299, 0.587 and 0.114.",
        ),
        (
            bool(settings.channel_indices),
            f"Channels {', '.join(map(str, settings.channel_indices))} of each file are used, counted from 0.",
        ),
        (True, INTENSITIES[preprocessing.intensities]),
        (preprocessing.crop == "head", "Slices are cropped to the bounding box of the head in the whole volume."),
        (True, f"Slices are padded to squares and resized to {size} x {size} pixels."),
        (
            context > 0,
            f"Each slice is given to the network with {neighbours} on either side, which makes "
            f"{preprocessing.num_slices_seen} x {settings.num_channels} channels. At the ends of a volume, the last "
            "slice is repeated.",
        ),
        (
            preprocessing.normalisation == "zscore",
            "Each channel has its mean subtracted and is divided by its standard deviation, both computed over the "
            "head in the patient's whole volume. The model's file does this; `mean` and `std` are its inputs.",
        ),
        (
            preprocessing.normalisation == "unit",
            "Grey levels are divided by 255. The model's file does this, with `mean` 0 and `std` 255.",
        ),
        (True, _thresholds(settings)),
        (settings.component_share > 0, f"Components below {settings.component_share:g} of the largest are removed."),
        (len(settings.regions) > 1, LABELS),
    )
    return [sentence for is_done, sentence in steps if is_done]


def _thresholds(settings: Settings) -> str:
    """Return the step from probabilities to masks, as a sentence or two."""
    of, inside = "tumour", f"is tumour where it is at least {settings.threshold:g}"
    if by_region := settings.threshold_by_region:
        texts = ", ".join(f"{value:g} for {name}" for name, value in by_region.items())
        of, inside = "each region", f"belongs to a region where it is at least {texts}"
    return f"The probability of {of} is resized to the slice's original size. A pixel {inside}."


def _code(settings: Settings) -> str:
    """Return Python code that runs the exported model on slices of the network's size."""
    preprocessing, channels = settings.preprocessing, settings.num_channels
    size, context, num_seen = preprocessing.size, preprocessing.context_slices, preprocessing.num_slices_seen
    lines = [
        "import numpy as np, onnxruntime",
        f"# slices x {channels} x {size} x {size}, grey levels 0 to 255: all slices of one patient, in order",
        'slices = np.load("slices.npy").astype(np.float32)',
    ]
    if preprocessing.normalisation == "zscore":
        lines += [
            'bright = np.percentile(slices, 99, (0, 2, 3), keepdims=True, method="inverted_cdf")',
            "head = slices.swapaxes(0, 1)[:, (slices > 0.1 * bright).any(1)].astype(np.float64)",
            "mean, std = head.mean(1).astype(np.float32), head.std(1).clip(1).astype(np.float32)",
        ]
    else:
        lines += [f"mean, std = np.zeros({channels}, np.float32), np.full({channels}, 255, np.float32)"]
    if context:
        lines += [
            f"near = np.arange(len(slices))[:, None] + np.arange({-context}, {context + 1})",
            "slices = np.concatenate(slices[near.clip(0, len(slices) - 1)].swapaxes(0, 1), 1)",
            f"mean, std = np.tile(mean, {num_seen}), np.tile(std, {num_seen})",
        ]
    return "\n".join(
        [
            *lines,
            'model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])',
            'inputs = {"slices": slices, "mean": mean, "std": std}',
            'probability, mask = model.run(["probability", "mask"], inputs)',
        ]
    )


def _cell(value: object) -> str:
    """Return a value as text that cannot break a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _value(value: object) -> str:
    """Return a value as text: four decimals for a number, a dash where it is undefined."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else _cell(value)


def _label(name: str) -> str:
    """Return the name of a metric with its unit in parentheses."""
    for end, unit in UNITS.items():
        if name.endswith(end):
            return name.removesuffix(end) + unit
    return name
