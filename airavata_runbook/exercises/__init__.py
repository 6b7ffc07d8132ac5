"""Exercises on a lab: something real is broken, a student finds and mends it, and the runbook repairs what is left.

A module for each, with its TASK; MODULES has them in the order in which a course does them. The notebooks are in
notebooks/exercises.
"""

from airavata_runbook.exercises.exercise import Exercise
from airavata_runbook.exercises.names import MODULES

__all__ = ["MODULES", "Exercise"]
