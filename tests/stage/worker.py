"""``python -m tests.stage.worker``: the ordinary command line, with the toy stages known."""

import tests.stage.toy  # noqa: F401
from undercroft.cli import main

if __name__ == "__main__":
    main()
