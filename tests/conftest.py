"""What holds for all tests."""

from hypothesis import settings

# How long one example takes says more of the machine and its caches than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
