"""Airavata stacks: each a folder with stack.yaml and one folder a component; load.py reads them."""

from airavata_runbook.stacks.load import (
    Component,
    LeftOut,
    Stack,
    image_names,
    images_of,
    load,
    node_ports,
    secrets_of,
)

__all__ = ["Component", "LeftOut", "Stack", "image_names", "images_of", "load", "node_ports", "secrets_of"]
