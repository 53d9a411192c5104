"""Judging a scoring job against known categories, as figures and as a page."""
