"""Search for the best configuration: trials, promotion of the winner, and the report.

From Python, without the command line:

    import search

    result = search.run(search.SearchConfig(data="kaggle_3m", trials=20))
    result.trials  # a pandas DataFrame with a row for each trial
    result.study  # the Optuna study
    result.best.predict("a_patient")  # the tumour, by the promoted model; best is None if nothing was promoted

The names are imported when they are first used, so that `import search` is instant and needs neither torch nor Ray.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Python looks for modules in the working directory first, and so do Ray's workers. There may be a data.py or a model.py
# that has nothing to do with this program.
_ROOT = Path(__file__).parents[1]
if any(spec and spec.origin and Path(spec.origin).parents[1] != _ROOT for spec in map(find_spec, ("data", "model"))):
    sys.path.insert(0, str(_ROOT))

if TYPE_CHECKING:
    from search.best import Best
    from search.config import SearchConfig
    from search.presets import from_sweep
    from search.result import Result, load
    from search.tune import resume, run

__all__ = ["Best", "Result", "SearchConfig", "from_sweep", "load", "resume", "run"]

_MODULES = {
    "Best": "search.best",
    "Result": "search.result",
    "SearchConfig": "search.config",
    "from_sweep": "search.presets",
    "load": "search.result",
    "resume": "search.tune",
    "run": "search.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
