"""Text in, findings out: personal data, secrets, orders to the model, harmful code, language, ….

`find` runs the detectors of `DETECTORS` and gives `Finding`s: kind, span, score and rule, never
the value. `mask` replaces what was found by typed placeholders, and `StreamScreen` does the same
to text that is still being written, giving exactly what `mask` would give at the end. Read
`units.py` first: it says why that works. Importing this package loads nothing heavy.
"""

from undercroft.detect.detectors import DETECTORS, SCREENED, Detector, find
from undercroft.detect.language import identify, language
from undercroft.detect.masking import Span, label_of, mask, spans
from undercroft.detect.patterns import score
from undercroft.detect.stream import StreamScreen

__all__ = [
    "DETECTORS",
    "SCREENED",
    "Detector",
    "Span",
    "StreamScreen",
    "find",
    "identify",
    "label_of",
    "language",
    "mask",
    "score",
    "spans",
]
