"""Where trials can be watched besides the table: Weights & Biases, TensorBoard, or nowhere.

A tracker is a listener of the coordinator (tracker.py). It is told what the table is told, in the driver, and never
holds up a trial. For W&B (wandb_tracker.py), a trial is a `TrackedRun` (runs.py): all that its run should hold by now.
A thread passes such runs to a process of its own (connection.py, process.py), in which W&B's client
(client.py) opens the run, logs what is missing, and closes it. `search.sync` and promotion use the same connection.
"""
