"""Hosts: how they are reached over SSH, what is true there, and what they keep for the site."""
