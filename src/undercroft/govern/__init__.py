"""The one thread and the right to be forgotten.

In: the name of anything (an artifact's ref, ``document:ID``, ``answer:ID``). Out: what it was made
from and what came of it (`thread`), and a document's erasure (`forget`). Read `thread` first.
"""

from undercroft.govern.forget import Erasure, forget
from undercroft.govern.thread import thread

__all__ = ["Erasure", "forget", "thread"]
