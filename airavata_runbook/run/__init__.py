"""Headless runs of the notebooks, their records, and the reset."""
