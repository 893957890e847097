"""Let torchvision be imported beside a build of torch that its compiled operators do not fit, as on a CPU machine.

segmentation_models_pytorch imports torchvision through timm, and calls none of its operators. The wheel on PyPI is
built for CUDA; beside a CPU build of torch its library does not load, and then the import fails, because torchvision
gives shapes to two operators that nobody has declared. Importing this module declares these two, without a body.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_missing_operators() -> "torch.library.Library | None":
    """Return the declarations, which last as long as this object does; None if torchvision brings its own."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _loads(Path(spec.origin).with_name("_C.so")):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)
    return library


def _loads(library: Path) -> bool:
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


_DECLARED = _declare_missing_operators()
