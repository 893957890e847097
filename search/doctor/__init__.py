"""What the program finds on a machine: `python -m search.doctor` prints it, with a remedy for whatever is wrong.

`facts/` looks, `checks/` judges: a check is a function that returns findings. `sections` has all of them in the order
in which they run, and `display` prints each finding as it is known. Heavy packages are imported in processes of their
own (facts/probe.py): one that is broken, hangs or crashes becomes a finding, and nothing of the program itself is
needed to say so.
"""
