"""From a table of trials to the folder `best/`."""
