"""What crosses the wire: bodies -> `asks.Ask`, `pieces.Piece` -> frames, and errors.

In come HTTP exchanges; out go asks that were checked. Nothing here knows models, routes or money.
"""
