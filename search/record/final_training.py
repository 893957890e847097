"""The trainings after a search, whose networks are the model, as metrics.json has them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FinalTraining:
    """The trainings of the winning configuration on all training and validation patients."""

    num_patients: int
    epochs: int
    networks: tuple[str, ...]
    """Names of the networks that are the model; empty if all were left out, and the winner's own network is the model.
    """

    left_out: tuple[str, ...] = ()
    """For each network that was left out, a sentence that gives the reason."""

    not_begun: tuple[str, ...] = ()
    """Names of those among them that were not trained, because the budget had no time left for them."""

    @property
    def sentence(self) -> str:
        """What a reader needs to know about it."""
        names = len(self.networks)
        if not names:
            return "No network of the final trainings was used, so the winner's own network is the model"
        networks = "is one network" if names == 1 else f"is the average of {names} networks"
        return (
            f"The model {networks} with the winning configuration, trained for {self.epochs} epochs on all "
            f"{self.num_patients} training and validation patients"
        )
