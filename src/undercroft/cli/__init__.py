"""The command line: one file per noun; each parses and prints, and decides nothing.

Read `main` first. Commands are imported when they are called, so that ``--help`` stays quick.
"""

from undercroft.cli.main import main

__all__ = ["main"]
