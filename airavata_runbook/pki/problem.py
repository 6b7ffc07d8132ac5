"""What can be wrong with a certificate file, for people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a certificate file: what, what was found, what is needed, how to fix it."""

    message: str
    found: str = ""
    needed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = (("found", self.found), ("needed", self.needed), ("remedy", self.remedy))
        return "; ".join([self.message, *(f"{name}: {text}" for name, text in parts if text)])
