"""`secret SITE NAME`: a generated password is shown after a question, on a terminal only."""

import pytest

from airavata_runbook import cli
from airavata_runbook.hosts.host import Result
from airavata_runbook.site import Site
from airavata_runbook.wellknown import SECRETS
from tests.unit.sessions import FakeHost, open_session

FILES = {"registry-password": b"canary-one\n", "mariadb-root": b"canary-two\n", "old-one": b"x", "repository.key": b"PRIVATE"}


class Master(FakeHost):
    """Stands in for the master, which has these files."""

    name = "one"
    files = FILES

    def run(self, script: str, **_) -> Result:
        if script.startswith("ls "):
            return Result("".join(f"{name}\n" for name in self.files).encode())
        return Result(self.files[script.removeprefix(f"cat {SECRETS}/")])


@pytest.fixture
def master(project, monkeypatch):
    one = Master()
    open_session(monkeypatch, Site.load("small"), {"one": one})
    return one


def test_without_a_name_the_names_are_listed_with_what_they_are_for_and_no_value(master, capsys):
    assert cli.main(["secret", "small"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert list(lines) == ["name", "mariadb-root", "old-one", "registry-password"]  # no key that signs packages
    assert "user admin of the registry" in lines["registry-password"]
    assert "nothing in this site file" in lines["mariadb-root"], "the site gives its own: env:CANARY"
    assert "canary" not in said


def test_a_site_that_was_never_run_has_none(master, capsys):
    master.files = {}
    assert cli.main(["secret", "small"]) == 0
    assert "nothing was generated yet" in capsys.readouterr().out


def test_a_value_is_shown_after_yes_and_only_then(master, monkeypatch, capsys):
    typed, asked = ["n", "", "yes"], []
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or typed.pop(0))
    assert cli.main(["secret", "small", "registry-password"]) == 1
    assert cli.main(["secret", "small", "registry-password"]) == 1
    refused = capsys.readouterr()
    assert "canary" not in refused.out + refused.err and "nothing was shown" in refused.err
    assert cli.main(["secret", "small", "registry-password"]) == 0
    assert capsys.readouterr().out == "canary-one\n"
    assert all("registry-password of site small" in question for question in asked) and len(asked) == 3


def test_nothing_goes_into_a_pipe_unless_the_user_says_so(master, capsys):
    assert cli.main(["secret", "small", "registry-password"]) == 1
    refused = capsys.readouterr()
    assert refused.out == "" and "--yes" in refused.err and "canary" not in refused.err
    assert cli.main(["secret", "small", "registry-password", "--yes"]) == 0
    assert capsys.readouterr().out == "canary-one\n"


@pytest.mark.parametrize("name", ["registry-pasword", "repository.key", "../../kubernetes/pki/ca.key"])
def test_an_unknown_name_is_refused_and_never_read(master, capsys, name):
    assert cli.main(["secret", "small", name, "--yes"]) == 1
    said = capsys.readouterr()
    assert "no generated secret" in said.err and "PRIVATE" not in said.out + said.err
    if name == "registry-pasword":
        assert "did you mean 'registry-password'?" in said.err
