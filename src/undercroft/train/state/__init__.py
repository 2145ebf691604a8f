"""What a run must not lose: checkpoints, and the state of random numbers."""
