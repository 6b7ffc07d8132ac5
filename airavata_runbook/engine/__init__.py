"""A step: look, compare, change, look again; and the report of it."""
