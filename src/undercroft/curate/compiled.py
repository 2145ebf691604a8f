"""What numba keeps on disk, dropped when it was compiled from other source.

numba looks at the file of the function it loads, not at the files of the functions which that one
calls: changed helpers would go on in their old form.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_STAMP = "compiled-from.sha256"


def drop_stale(package_file: str) -> None:
    """Remove the compiled functions of the package with this ``__file__`` unless they are of its
    present source. Call it before they are imported."""
    folder = Path(package_file).parent
    source = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    digest = hashlib.sha256(source).hexdigest()
    kept = folder / "__pycache__"
    stamp = kept / _STAMP
    if stamp.exists() and stamp.read_text() == digest:
        return
    try:
        for path in kept.glob("*.nb[ic]"):
            path.unlink(missing_ok=True)
        kept.mkdir(exist_ok=True)
        stamp.write_text(digest)
    except OSError:
        return  # a folder we may not write to: numba keeps its functions elsewhere
