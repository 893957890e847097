"""The spaces that have a name, for `--space`."""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.space.space import Space

CORE = Space(
    {
        # The usual range for AdamW. Some configurations diverge at 1e-2 already; the search finds that out.
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        # At 128 pixels, a U-Net of depth 2 sees the surroundings of a lesion, one of depth 5 the whole head.
        "depth": IntDistribution(2, 5),
        "dropout": FloatDistribution(0.0, 0.5),
        "bce_weight": FloatDistribution(0.0, 1.0),
    }
)

WIDE = Space(
    {
        **CORE.axes,
        "width": CategoricalDistribution([8, 16, 24, 32]),
        "batch_size": CategoricalDistribution([8, 16, 32]),
        "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
        "norm": CategoricalDistribution(["instance", "batch"]),
        "augment": FloatDistribution(0.0, 2.0),
    }
)

SPACES: dict[str, Space] = {"core": CORE, "wide": WIDE}
