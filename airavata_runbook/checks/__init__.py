"""Preflight checks: what is wrong with a site, found before anything is changed."""
