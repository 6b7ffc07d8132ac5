"""A site whose hosts have packages of several formats: what is asked of which host, by the hosts' recorded facts."""

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import install
from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.engine.target import Target
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.fan_out import FanOut
from airavata_runbook.hosts.host import Host
from airavata_runbook.resources import RepositoryKey
from tests.unit.sessions import open_session
from tests.unit.test_facts_host import snapshot

DEBIAN, ROCKY = "lab-debian-12", "rocky-9"


@pytest.fixture
def hosts(monkeypatch):
    """Makes the hosts of a site, of these recordings, in this order; their targets by name. None: one that does not answer."""

    def make(**recordings: str | None) -> dict[str, Target]:
        def lost(*_):
            raise HostUnreachable("it does not answer", where="host")

        node = Site.load("lab").master.model_dump(mode="json", exclude_unset=True)
        roles = ("master", *["worker"] * (len(recordings) - 1))
        nodes = [
            node | {"name": name, "address": f"10.98.0.{number}", "role": role}
            for number, (name, role) in enumerate(zip(recordings, roles, strict=True), start=11)
        ]
        site = Site.load("lab", {"nodes": nodes})
        hosts = {name: Host(site.node(name)) for name in recordings}
        session = open_session(monkeypatch, site, hosts)
        session.facts.update({name: snapshot(one) for name, one in recordings.items() if one})
        monkeypatch.setattr(Host, "run", lost)
        ways = {name: FanOut(host, hosts.values(), 5000) for name, host in hosts.items()}
        return {name: Target(session, host, ways) for name, host in hosts.items()}

    return make


def keys(target: Target) -> list[RepositoryKey]:
    return [one for one in install.repository_key.resources(target) if isinstance(one, RepositoryKey)]


def test_a_key_is_made_for_each_format_of_the_sites_hosts_and_for_no_other(hosts):
    assert keys(hosts(one=DEBIAN, two=DEBIAN, three=DEBIAN)["one"]) == [RepositoryKey(DEB_FORMAT)]
    assert keys(hosts(one=ROCKY, two=ROCKY, three=ROCKY)["one"]) == [RepositoryKey(RPM_FORMAT)]
    assert keys(hosts(one=DEBIAN, two=ROCKY, three=ROCKY)["one"]) == [RepositoryKey(DEB_FORMAT), RepositoryKey(RPM_FORMAT)]


def test_a_host_that_does_not_answer_has_no_format_and_stops_no_other(hosts):
    targets = hosts(one=DEBIAN, two=None, three=DEBIAN)
    assert targets["one"].formats == [DEB_FORMAT]
    assert targets["three"].fan_out.source.name == "one"


def test_hosts_fetch_packages_from_the_first_host_that_has_packages_of_their_format(hosts):
    targets = hosts(one=DEBIAN, two=ROCKY, three=ROCKY)
    assert {name: target.fan_out.source.name for name, target in targets.items()} == {
        "one": "one",
        "two": "two",
        "three": "two",
    }
    targets = hosts(one=None, two=DEBIAN, three=DEBIAN)
    assert {targets[name].fan_out.source.name for name in ("two", "three")} == {"two"}


def test_hosts_that_hear_of_each_other_only_now_and_then_do_not_wait_for_each_other(hosts, monkeypatch):
    targets = hosts(one=DEBIAN, two=DEBIAN)
    answers = iter([None, DEB_FORMAT])  # the first does not answer when it is asked for the first time
    asked = Target.format_of
    monkeypatch.setattr(Target, "format_of", lambda self, host: next(answers) if host.name == "one" else asked(self, host))
    assert {name: target.fan_out.source.name for name, target in targets.items()} == {"one": "two", "two": "two"}
