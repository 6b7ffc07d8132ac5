"""The text of every configuration file, as pure functions of the site, the node and what follows from its facts."""
