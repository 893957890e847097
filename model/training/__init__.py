"""How a network is trained: the loop, its loss, its checkpoints."""
