"""Where an experiment is kept: a folder, or a bucket with a working folder on this machine.

Commands read and write the working folder (`working_folder`). First `download` copies what the bucket has and the
folder lacks; then `uploader` uploads what changes, every few seconds. `writer` makes sure that only one process writes,
by a `lock` on the folder and a `lease` in the bucket. Checkpoints go straight to the bucket, through `storage_path`.
`remote` lets other machines of a cluster work on an experiment.
"""
