"""Models: where they come from, how they are made, adapted, and how they attend."""
