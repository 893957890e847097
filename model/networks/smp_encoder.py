"""The encoders of segmentation_models_pytorch by name, and the pretrained weights that one can start from."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from data.errors import UserError, first_line

HUB = "imagenet"
"""The name of the weights that the package fetches from Hugging Face's hub."""

TIMM = "tu-"
"""What the package puts before the name of an encoder that timm brings."""


def import_smp() -> ModuleType:
    """Return the package.

    Raises:
        UserError: It cannot be imported, although it is installed.
    """
    try:
        import segmentation_models_pytorch  # imported late, because it takes seconds and is not always installed
    except (ImportError, RuntimeError) as error:  # torchvision's operators are missing beside another build of torch
        raise UserError(
            f"segmentation_models_pytorch cannot be imported ({error}); install a torchvision of the same build as "
            f"torch {torch.__version__}: from the same package index"
        ) from error
    return segmentation_models_pytorch


def check_encoder(name: str) -> None:
    """Raise UserError if the package has no encoder of this name; the message lists similar ones."""
    known = import_smp().encoders.get_encoder_names()
    if name.startswith(TIMM):
        import timm

        architecture = name.removeprefix(TIMM).partition(".")[0]
        if timm.is_model(architecture):
            return
        known = [TIMM + one for one in timm.list_models()]
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.4)) or "resnet34, efficientnet-b0"
        raise UserError(
            f"encoder is {name!r}, but must be one of segmentation_models_pytorch's, such as {near}, "
            f"or {TIMM} and the name of one of timm's"
        )


def start_encoder(encoder: nn.Module, *, name: str, depth: int, source: str) -> None:
    """Load pretrained weights into a new encoder.

    Weights for three colours are spread over other numbers of channels, so that the sum over the channels stays.

    Args:
        source: HUB, or the path of a file that holds the weights of this encoder, or of a whole network with it.

    Raises:
        UserError: The weights cannot be fetched or read, or belong to another encoder.
    """
    weights = _from_hub(name, depth) if source == HUB else _from_file(Path(source))
    expected = encoder.state_dict()
    fitting = {key: _spread(value, expected[key]) if key in expected else value for key, value in weights.items()}
    try:
        encoder.load_state_dict(fitting)
    except (RuntimeError, KeyError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(f"pretrained is {source!r}, but its weights are not those of {name}: {told}") from error


def _from_hub(name: str, depth: int) -> Mapping[str, Tensor]:
    get_encoder = import_smp().encoders.get_encoder
    try:
        encoder = get_encoder(name, in_channels=3, depth=depth, weights=True if name.startswith(TIMM) else HUB)
    except KeyError as error:
        raise UserError(f"pretrained is {HUB!r}, but {name} has no such weights; name a file: {error}") from error
    except Exception as error:  # the hub's client raises its own classes, httpx's and OSErrors
        raise UserError(
            f"pretrained is {HUB!r}, but the weights of {name} cannot be fetched from Hugging Face's hub "
            f"({type(error).__name__}: {first_line(error)}); check the network, or name a file of weights"
        ) from error
    return encoder.state_dict()


def _from_file(path: Path) -> dict[str, Tensor]:
    """Return the weights of an encoder from a file, which runs nothing while it is read."""
    if not path.is_file():
        raise UserError(f"pretrained is {str(path)!r}, and no such file exists; name a file of weights, {HUB!r} or ''")
    try:
        if path.suffix == ".safetensors":
            import safetensors.torch  # imported late: training alone needs torch and little else

            weights = safetensors.torch.load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler and the readers raise many classes
        raise UserError(
            f"pretrained weights {path} cannot be read: they must be safetensors, or a state_dict that torch.save "
            f"wrote ({first_line(error)})"
        ) from error
    weights = weights.get("state_dict", weights) if isinstance(weights, dict) else weights
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"pretrained weights {path} hold a {type(weights).__name__}, but must hold tensors by name")
    within = {key.removeprefix("encoder."): value for key, value in weights.items() if key.startswith("encoder.")}
    return within or weights


def _spread(weight: Tensor, expected: Tensor) -> Tensor:
    """Return the weight of a first convolution for three colours for as many channels as are expected."""
    colours, channels = (one.shape[1] if one.ndim == 4 else 0 for one in (weight, expected))
    if colours != 3 or channels == colours or weight.shape[0] != expected.shape[0]:
        return weight
    return weight[:, [channel % colours for channel in range(channels)]] * (colours / channels)
