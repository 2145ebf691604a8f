"""HTML -> its main content as Markdown."""

from undercroft.curate.page.content import Content, content_of

__all__ = ["Content", "content_of"]
