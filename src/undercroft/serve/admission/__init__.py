"""Who may ask now, and for how much."""
