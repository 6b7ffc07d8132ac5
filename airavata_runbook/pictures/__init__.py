"""Pictures as SVG, from plain data: what is drawn is what the caller has just read. Nothing here reads a host or a cluster."""
