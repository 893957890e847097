"""What a network is worth: metrics, and what they say of patients it has not seen."""
