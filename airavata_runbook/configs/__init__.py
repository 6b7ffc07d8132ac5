"""The text of every configuration file, as pure functions of the site, the node and its settings.

The rendered comments are part of the text: changing one restarts a service on every existing site.
"""
