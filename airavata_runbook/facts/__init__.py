"""What is true on a host now: shell fragments and pure parsers of their output. No SSH in here."""
