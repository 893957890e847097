"""The search space: its axes, what they may be, and which network and training a sample of it describes."""
