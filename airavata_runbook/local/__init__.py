"""This machine: its folders, its terminal, its signals, and Debian file systems made on it."""
