"""From a budget (`--budget 30m`) to the size of a search: how many trials, how long, and what is left at the end."""
