"""Screens: what may go in and what may come out, safe however a stream is cut."""
