"""Where trials are seen besides the table: Weights & Biases, or nowhere. The only room that knows W&B.

Tracking must never harm a search: whatever W&B raises is said once and tracking goes on offline, or stops.
"""
