"""``python -m undercroft.cli``: the same as the ``undercroft`` command."""

from undercroft.cli.main import main

if __name__ == "__main__":
    main()
