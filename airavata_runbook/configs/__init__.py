"""The text of every configuration file, as pure functions of the site, the node and its settings.

The texts are templates in templates/, where each value is serialised. Their comments are part of the text: changing one restarts
a service on every existing site.
"""
