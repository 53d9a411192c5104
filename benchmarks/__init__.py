"""Measurements of Shelver against what others reach with the same bytes on the same machine."""
