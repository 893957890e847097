"""Take the first step of a training and validate one patient, to learn before a search what they need."""

import math
from dataclasses import dataclass, replace

from data.errors import UserError, first_line
from data.packing.pack import Pack
from model.device import find_device
from model.memory import as_out_of_memory, limit_memory, peak_memory_mb, reset_peak_memory
from model.segmentation_network import NetworkConfig
from model.training.train import Halted, train
from model.training.train_config import TrainConfig
from model.training.validate import validate


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """What the first step of a training needed."""

    peak_mb: float
    """The most memory held, in 2**20 bytes; of the GPU if there is one, else of the process."""

    out_of_memory: str | None = None
    """What was asked for beyond the limit; None if it fitted."""

    failure: str | None = None
    """Why the network cannot be trained; None if it can."""


def take_first_step(
    network: NetworkConfig, config: TrainConfig, train_pack: Pack, val_pack: Pack, *, limit_mb: float = math.inf
) -> FirstStep:
    """Return what one training step and the validation of one patient need, in the precision of the training.

    Args:
        limit_mb: Memory that the process may hold in all; on a GPU, its share is limited elsewhere.
    """
    reset_peak_memory()
    config = replace(config, max_epochs=1, patience=0, measure_latency=False, loader_processes=0)
    try:
        with limit_memory(limit_mb):
            _step_and_validate(network, config, train_pack, val_pack)
    except Exception as error:  # the networks are anybody's
        problem = as_out_of_memory(error)
        failure = None if problem else _describe(error)
        return FirstStep(peak_mb=peak_memory_mb(), out_of_memory=problem, failure=failure)
    return FirstStep(peak_mb=peak_memory_mb())


def _describe(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _step_and_validate(network: NetworkConfig, config: TrainConfig, train_pack: Pack, val_pack: Pack) -> None:
    one_patient = val_pack.select(val_pack.patient_ids[:1])
    asked = iter((False, True))
    try:
        next(train(network, config, train_pack, one_patient, halt=lambda: next(asked)))
    except Halted as halted:
        device = find_device(config.precision, channels_last_on_cpu=network.channels_last_on_cpu)
        validate(halted.state.network, one_patient, device, config.batch_size)
