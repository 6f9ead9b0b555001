"""Programs for another interpreter are no tests."""

collect_ignore = ["peer_gammapy_profiles.py"]
