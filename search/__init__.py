"""Which configuration is best: the search, its trials, promotion, and the report."""
