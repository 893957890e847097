"""All that knows Ray: lanes, their workers, and Tune. README.md in this folder says how it works."""
