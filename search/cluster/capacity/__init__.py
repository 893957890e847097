"""What the machines of a cluster have room for."""
