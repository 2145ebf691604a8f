"""The web console: a project's stores and its gateway in, pages out; it decides nothing itself.

A process of its own: ``python -m undercroft.console PROJECT_DIR``. Read `router` first (what a page
is), then any file of ``pages/`` with the one of the same subject in ``views/``.
"""
