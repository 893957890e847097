"""Let the networks of a search see slices at half their size where a budget would else hold hardly any training."""

from dataclasses import replace

from data.errors import UserError
from search.config import SearchConfig
from search.space.configs import SHRINKING

FEWEST_STEPS = 200
"""If a budget holds fewer optimisation steps of the default than this, its networks see slices at half their size. A
step then takes about a quarter of the time. On 20 LGG patients, 220 steps lost 0.02 against 670, half the size 0.00 to
0.03, and 100 steps lost 0.3 (tests/benchmarks/LOG.md)."""


def at_half_size(config: SearchConfig) -> SearchConfig | None:
    """Return the config with networks that see slices at half their size; None if the space itself says at which size
    they see them, or if a network cannot take slices so small."""
    if SHRINKING in config.search_space or SHRINKING in config.search_space.constants:
        return None
    try:
        return replace(config, fixed=(f"{SHRINKING}=2",))
    except UserError:
        return None
