"""Which trials continue: schedulers, which know trials by number only."""
