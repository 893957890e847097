"""What can be an axis: every field of the networks' and of the training's configuration, but those the program sets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data.errors import UserError
from data.legal import Rule, rules
from model.networks import find_architecture
from model.training.train_config import TrainConfig
from search.space.space import Condition

ARCHITECTURE = "architecture"
"""The axis whose values are the names of networks."""

SET_BY_THE_SEARCH = frozenset(
    {"in_channels", "num_regions", "packed_context", "max_epochs", "seed", "measure_latency", "loader_processes"}
)
"""Fields that follow from the data, the options and the machines of a search."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """A field that can be an axis, a constant, or conditional on another."""

    rules: dict[str, Rule]
    """The rule in each network that has the field; the rule of a field of the training has the key ""."""

    condition: Condition
    """Where it has an effect: beside these values of other fields."""

    @property
    def rule(self) -> Rule:
        """The rule in the first of the networks."""
        return next(iter(self.rules.values()))

    def rules_in(self, architectures: Iterable[str]) -> dict[str, Rule]:
        """Return the rule of each of some networks that have the field, or that of the training."""
        return {name: rule for name, rule in self.rules.items() if not name or name in set(architectures)}


def find_hyperparameters(architectures: Sequence[str]) -> dict[str, Hyperparameter]:
    """Return what can be an axis of a search over these networks, by name.

    Raises:
        UserError: There is no such network, its package is not installed, or a field of it has the name of a setting
            of the training.
    """
    found = {name: Hyperparameter(rules={"": rule}, condition=rule.when or {}) for name, rule in _training().items()}
    by_network = {one: find_architecture(one).rules() for one in architectures}
    for network, own in by_network.items():
        if taken := sorted(own.keys() & found.keys()):
            raise UserError(f"parameter {taken[0]} of {network} has the name of a setting of the training: rename it")
    for name in dict.fromkeys(name for own in by_network.values() for name in own):
        own = {one: found_rules[name] for one, found_rules in by_network.items() if name in found_rules}
        condition = dict(next(iter(own.values())).when or {})
        if len(own) < len(architectures):
            condition[ARCHITECTURE] = tuple(own)
        found[name] = Hyperparameter(rules=own, condition=condition)
    return {name: one for name, one in found.items() if name not in SET_BY_THE_SEARCH}


def _training() -> dict[str, Rule]:
    return rules(TrainConfig)
