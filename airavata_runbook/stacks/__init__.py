"""Airavata stacks: each a folder with stack.yaml and one folder a component; load.py reads them."""

from airavata_runbook.stacks.load import image_names, load
from airavata_runbook.stacks.stack import Component, LeftOut, Stack, images_of, node_ports, secrets_of

__all__ = ["Component", "LeftOut", "Stack", "image_names", "images_of", "load", "node_ports", "secrets_of"]
