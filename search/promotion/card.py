"""The model card (card.md is its page): what a person must know before using the model.

A section is there only where its data is: a card says nothing that was not measured, and nothing of another data set.
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
    "model.onnx": "the model for ONNX Runtime, in any language; its settings are in its metadata (`tumour_search`)",
    "model.pt2": "the same as a `torch.export` program; its settings are the extra file `tumour_search`",
    "weights.safetensors": "the weights, with the networks' configuration in the metadata",
    "checkpoint.pt": "the winner's training state, for a training that goes on (tensors only)",
    "metrics.json": "all numbers of this card, and a row a patient",
    "overlays": "pictures of test patients, outlines drawn in",
    "card.md": "this card",
    "manifest.json": "size and SHA-256 of every file, versions, commit, fingerprint of the data",
}
"""What each file of the folder is, in the order of the card."""

YOUR_LICENCE = (
    "The licence of your data applies to what is derived from it, this model too; this program cannot know it."
)

INTENSITIES = {
    "auto": "8-bit slices are taken as they are; of others the values between the 0.5th and the 99.5th percentile of "
    "the volume become 256 grey levels",
    "full": "all values of the volume, from the lowest to the highest, become 256 grey levels",
    "percentile": "the values between the 0.5th and the 99.5th percentile of the volume become 256 grey levels",
}
"""What data.preprocess does, by the setting's value."""

UNITS = {"_mm": " (mm)", "_ms": " (ms)", "_pixels": " (pixels)", "_voxels": " (voxels)", "_seconds": " (s)"}
"""By the end of a metric's name."""


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
    """Return the card's Markdown, from the experiment's record, the model's metrics and the table of trials.

    Args:
        files: Names of what else is in the model's folder.
    """
    environment = Environment(
        loader=PackageLoader("search.promotion", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "value": _value, "label": _label}
    present = {*files, "card.md", "manifest.json"}
    reader = READERS.get(experiment.data.format)
    return environment.get_template("card.md").render(
        experiment=experiment,
        config=config,
        folder=f"{format_out(config.out)}/{config.name}/best",
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
        steps=_steps(settings),
        code=_code(settings),
        files={name: meaning for name, meaning in FILES.items() if name in present},
        format=reader.description if reader else experiment.data.format,
        licence=(reader and reader.licence) or YOUR_LICENCE,
        warning=reader.warning if reader else "",
        command=shlex.join(["python", "-m", "search.tune", *experiment.provenance.command[1:]]),
    )


def _known(record: object | None) -> dict[str, object]:
    """Return the fields of a record that have a value."""
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
    """Return how the winner was chosen, in a sentence."""
    if len(config.objective) == 1:
        if config.promotion.ties == "best":
            return "The best mean Dice of the validation patients wins."
        return (
            "The best mean Dice of the validation patients wins; of those that are not worse by the standard error of "
            "the difference or more, the network with the fewest parameters. An ensemble must be better by more than "
            "that."
        )
    return (
        f"Of the trials whose validation Dice was at most {config.dice_tolerance:g} below the best one's, it is "
        f"the best by {OBJECTIVES[config.objective[1]].label}."
    )


def _steps(settings: Settings) -> list[str]:
    """Return what is done to a patient's slices, in sentences and in order."""
    preprocessing = settings.preprocessing
    size, num_seen = preprocessing.size, preprocessing.num_slices_seen
    of_file = {
        "the colours of a slice become one channel, by the weights 0.299, 0.587 and 0.114": settings.grayscale,
        f"channels {', '.join(map(str, settings.channel_indices))} of each file are taken, counted from 0": bool(
            settings.channel_indices
        ),
        INTENSITIES[preprocessing.intensities]: True,
        "slices are cut to the box around the head in the whole volume": preprocessing.crop == "head",
        f"they are padded to squares and resized to {size} x {size} pixels": True,
        f"each slice brings {preprocessing.context_slices} neighbour(s) on either side along, so that the network sees "
        f"{num_seen} x {settings.num_channels} channels; at the ends of a volume the last slice is repeated": num_seen
        > 1,
        "each channel has its mean subtracted and is divided by its standard deviation, both over the head in the "
        "patient's whole volume (in the model's file; `mean` and `std` are inputs)": preprocessing.normalisation
        == "zscore",
        "grey levels are divided by 255 (in the model's file, with `mean` 0 and `std` 255)": preprocessing.normalisation
        == "unit",
        "the probability of tumour is resized back to the slice's own size, and from "
        f"{settings.threshold:g} on a pixel is tumour": True,
        "of a patient's mask only the largest connected part is kept": settings.largest_component,
    }
    return [step for step, is_done in of_file.items() if is_done]


def _code(settings: Settings) -> str:
    """Return the lines of Python that run the exported model on slices of the network's size."""
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
    """Return a value as text that cannot leave its place in a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _value(value: object) -> str:
    """Return a number for people."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else _cell(value)


def _label(name: str) -> str:
    """Return a metric's name with its unit behind."""
    for end, unit in UNITS.items():
        if name.endswith(end):
            return name.removesuffix(end) + unit
    return name
