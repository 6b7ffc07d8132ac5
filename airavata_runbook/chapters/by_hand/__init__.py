"""What an admin would type in the place of each step, with the site's own values: a module for each chapter, a function for each
step, by the same names. Nothing here is ever run by the runbook; a test runs the commands that check, on a living site.

The commands for root's shell are plain POSIX shell. No secret stands in them: where one is needed, it is read on the host.
"""
