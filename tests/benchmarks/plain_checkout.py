"""Import this before the program where only torch, NumPy, OpenCV and albumentations are: it stands for jaxtyping.

The program imports jaxtyping for annotations alone.
"""

import sys
import types
from typing import Any


class _Shapes(types.ModuleType):
    """Stands for jaxtyping where that is missing: its annotations say shapes, and nothing more."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__class_getitem__": classmethod(lambda cls, shape: Any)})


try:
    import jaxtyping  # noqa: F401
except ImportError:
    sys.modules["jaxtyping"] = _Shapes("jaxtyping")
