"""The page of all messages is what the source says, so that a change of a message is seen when it is reviewed."""

from tests.messages import COMMAND, PROJECT, page

PAGE = PROJECT / "tests" / "messages.md"


def test_the_page_of_messages_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), f"write the page anew and read the difference: {COMMAND}"


def test_the_page_has_the_messages_of_every_part():
    for part in (
        "chapters",
        "checks",
        "cluster",
        "engine",
        "hosts",
        "images",
        "lab",
        "mirror",
        "pki",
        "resources",
        "run",
        "site",
    ):
        assert f"## airavata_runbook/{part}/" in page()
    assert "HostUnreachable: the SSH connection was lost" in page() and "remedy:" in page()
