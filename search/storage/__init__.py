"""Where an experiment lies: a folder of this machine, or a bucket with a working folder beside it."""
