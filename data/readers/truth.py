"""What words about a segmentation say: whether it may be one of a tumour, and how much it is to be trusted."""

import re

_NOT_TUMOUR = re.compile(
    r"(?<![a-z])(brain|skull|bet|head|tissue|parenchyma|(white|gr[ae]y)[_-]?matter|wm|gm|csf|vessels?|ventricles?)"
    r"(?![a-z])|brainmask",
    re.IGNORECASE,
)
_MANUAL = re.compile(r"manual|corrected|expert|final|consensus|truth|gt(?![a-z])", re.IGNORECASE)
_AUTOMATIC = re.compile(r"auto|approx|pred|glistrboost", re.IGNORECASE)


def is_tumour(role: str) -> bool:
    """Return whether a segmentation may be one of a tumour: it does not say that it is one of the brain."""
    return _NOT_TUMOUR.search(role) is None


def trust(place: str) -> int:
    """Return how much a segmentation is to be trusted, by its name and folder: 2 by hand, 1 not said, 0 automatic."""
    return 2 if _MANUAL.search(place) else 0 if _AUTOMATIC.search(place) else 1
