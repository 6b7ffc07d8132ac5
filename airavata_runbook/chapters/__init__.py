"""The six chapters, one for each notebook: each a plain list of steps."""
