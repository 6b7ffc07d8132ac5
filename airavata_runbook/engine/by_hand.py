"""What an admin would type in the place of a step: it is shown with the step's report, and never run by the runbook."""

from pydantic import BaseModel, ConfigDict


class Shell(BaseModel):
    """Commands to type into one shell. host: where, as root; "" for this machine. login: the commands that open it.

    likewise: what is shown for this host is typed on the step's other hosts as well, with their own values.
    """

    model_config = ConfigDict(frozen=True)

    host: str = ""
    login: tuple[str, ...] = ()
    commands: tuple[str, ...]
    likewise: bool = False

    @property
    def place(self) -> str:
        """ "on worker, as root (ssh debian@10.0.0.12, then sudo -i), and likewise on the other hosts" """
        if not self.host:
            return "on this machine"
        return f"on {self.host}, as root ({', then '.join(self.login)})" + ", and likewise on the other hosts" * self.likewise


class ByHand(BaseModel):
    """do: what a step does, in short; empty for one that only looks. check: how to see that it is so, which changes nothing."""

    model_config = ConfigDict(frozen=True)

    do: tuple[Shell, ...] = ()
    check: tuple[Shell, ...]

    @property
    def blocks(self) -> list[tuple[str, tuple[str, ...]]]:
        """(heading, the lines to type) of each shell, in order."""
        doing = [(f"To do it, {one.place}", one.commands) for one in self.do]
        return doing + [(f"To check it, {one.place}", one.commands) for one in self.check]
