"""Programs for developers: installing, and writing the generated reference."""
