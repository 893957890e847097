"""All that knows Ray: lanes, their workers, and Tune."""
