"""All that knows Ray: lanes, their workers, and Tune. README.md in this folder says how it works."""

from data.machine.user import provide_user

provide_user()  # before Ray is imported
