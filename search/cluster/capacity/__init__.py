"""How many trials the machines of a cluster can run at a time: a plan at the start, then an update every second.

`lane_plan` computes what a lane books and how many fit; `autoscaler` adds the machines that could still be started.
While the search runs, `lane_capacity` looks once a second at `node_usage` (what is free, what other jobs hold), lets
the search start as many lanes as have room, and asks for more machines through `placement_groups`. `draining` knows
the nodes whose machines will be reclaimed.
"""
