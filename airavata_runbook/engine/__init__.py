"""A step: probe, compare, change, probe again; and its report."""
