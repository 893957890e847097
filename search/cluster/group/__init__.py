"""A lane and its workers, which stay alive from trial to trial.

`lane` is the Tune actor. It owns a `worker_group`: one Ray Train run whose workers (`worker`) serve requests for as
long as the lane lives. With one worker the run shares the lane's process; with several, the lane talks to them over
`channel`, and they average gradients in a `process_group`.
"""
