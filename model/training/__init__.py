"""How a network is trained: the loop (train), its losses, validation after every epoch, and checkpoints."""
