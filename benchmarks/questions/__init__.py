"""Labelled questions: pairs that ask the same or not, and follow-ups with what they lean on."""
