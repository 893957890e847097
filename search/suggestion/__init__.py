"""Which configuration is tried next: the searcher, Optuna's samplers, and the study."""
