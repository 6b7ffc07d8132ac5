"""Container images: archives and layouts on this machine, and registries."""
