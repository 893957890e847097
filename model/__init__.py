"""What a network learns: the U-Net, its loss, its training loop, its metrics, and the model that comes out."""
