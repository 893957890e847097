"""What the program knows about one kind of network before it builds one."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from data import legal
from data.docstrings import field_docstrings
from data.errors import UserError
from data.legal import Rule
from model.segmentation_network import NetworkConfig, SegmentationNetwork


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One kind of network."""

    config: Callable[..., NetworkConfig]
    """Makes a configuration from keywords; for most networks, the configuration's class."""

    network: Callable[[Any], SegmentationNetwork]
    """Builds a network from one such configuration, with random weights."""

    title: str
    """Its name in a model card."""

    start: Callable[[Any, Any], None] | None = None
    """Loads the weights that a configuration asks for into a new network; None if no configuration asks for any."""

    package: str = ""
    """The package that must be installed to build it; empty if this program brings all that it needs."""

    extra: str = ""
    """The extra of this program that installs the package."""

    fields: Mapping[str, Rule] | None = None
    """The legal values of each field, if `config` is no class that states them."""

    def rules(self) -> dict[str, Rule]:
        """Return what values each field of a configuration may have, by the field's name."""
        if self.fields is not None:
            return dict(self.fields)
        assert isinstance(self.config, type), "only a class states its rules"
        return legal.rules(self.config)

    def meanings(self) -> dict[str, str]:
        """Return what each field means, by its name; only of the fields that say it."""
        return field_docstrings(self.config if isinstance(self.config, type) else NetworkConfig)

    def check_installed(self) -> None:
        """Raise UserError if the package that builds this network is not installed. Nothing is imported."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise UserError(f"{self.title} needs the package {self.package}: pip install -e '.[{self.extra}]'")
