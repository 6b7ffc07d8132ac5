"""The check `firewall`: rules as nft and iptables print them, and what a packet of the cluster would meet."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from airavata_runbook import Site
from airavata_runbook.checks.firewall import FilterRules, find_firewall, find_firewalld
from airavata_runbook.checks.types import Problem
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.snapshot import HostSnapshot

FIXTURES = Path(__file__).parent / "fixtures" / "firewall"
HOSTS = "tcp 2379, 5001, 6443 from 10.98.0.12"
UDP = "udp 8472 from 10.98.0.12"


def host_with(text: str, site: Site, name: str, system: str = "ID=debian", firewalld: str = "inactive") -> HostSnapshot:
    texts = {"FilterRules": text, "Os": system, "Firewalld": firewalld}
    return HostSnapshot.parse(site.node(name), [FilterRules(), facts.Os(), facts.Firewalld()], texts)


def found(text: str, site: Site | None = None, name: str = "master") -> list[Problem]:
    site = site or Site.load("lab")
    return list(find_firewall(site, host_with(text, site, name)))


def found_of_firewalld(text: str, name: str = "master") -> list[Problem]:
    site = Site.load("lab")
    return list(find_firewalld(site, host_with(text, site, name, firewalld="active")))


def recorded(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["living", "ufw-opened"])
def test_a_living_site_and_a_firewall_that_lets_the_site_through_are_no_finding(name):
    assert found(recorded(name)) == [] and found(recorded(name), name="worker") == []


def test_the_closed_firewall_of_the_lab_is_no_finding_on_its_own_network_and_one_elsewhere():
    three = Site.load("lab-three")
    assert [found(recorded("lab-three-node-a"), three, node.name) for node in three.nodes] == [[], [], []]
    (problem,) = found(recorded("lab-three-node-a"))
    assert problem.found == f"nftables (inet lab_firewall from_outside) drops {HOSTS}; {UDP}" and not problem.note


def test_ufw_is_found_with_the_ports_and_its_commands():
    hosts, pods = found(recorded("ufw"))
    assert hosts.found == f"ufw (filter INPUT) drops {HOSTS}; {UDP}; tcp 6443 from pods"
    assert hosts.needed == f"accepted: {HOSTS}; {UDP}; all from 10.244.0.0/16"
    assert hosts.remedy.split("; ") == [
        "ufw allow proto tcp from 10.98.0.12 to any port 2379,5001,6443",
        "ufw allow proto udp from 10.98.0.12 to any port 8472",
        "ufw allow from 10.244.0.0/16",
    ]
    assert pods.found == "ufw (filter FORWARD) drops packets between pods"
    assert pods.remedy == "ufw route allow from 10.244.0.0/16; ufw route allow to 10.244.0.0/16"
    (worker, _) = found(recorded("ufw"), name="worker")
    assert worker.found == "ufw (filter INPUT) drops tcp 10250 from 10.98.0.11; udp 8472 from 10.98.0.11"


def test_rules_of_iptables_that_end_in_a_reject_are_found_and_its_older_variant_has_its_own_command():
    hosts, pods = found(recorded("iptables-reject"))
    assert hosts.found.startswith("iptables (filter INPUT) drops tcp 2379")
    assert "iptables -I INPUT -s 10.98.0.12 -p tcp -m multiport --dports 2379,5001,6443 -j ACCEPT" in hosts.remedy
    assert pods.found.startswith("iptables (filter FORWARD) drops packets between pods")
    (legacy,) = found(recorded("iptables-legacy"))
    assert legacy.remedy.startswith("iptables-legacy -I FORWARD -s 10.244.0.0/16 -j ACCEPT")


def test_rules_are_kept_for_the_next_boot_as_the_distribution_does_it():
    site = Site.load("lab")
    for system, iptables, nftables in (
        ("ID=ubuntu", "netfilter-persistent save", "the same in /etc/nftables.conf"),
        ("ID=rocky", "service iptables save", "the same in /etc/sysconfig/nftables.conf"),
        ("ID=almalinux\nID_LIKE='rhel centos fedora'", "service iptables save", "the same in /etc/sysconfig/nftables.conf"),
    ):
        for recording, saved in (("iptables-reject", iptables), ("nftables", nftables)):
            (problem, _) = find_firewall(site, host_with(recorded(recording), site, "master", system))
            assert problem.remedy.endswith(f"; {saved}")


def test_firewalld_is_judged_by_its_rules_and_told_by_its_zone_with_the_commands_that_open_it():
    (problem,) = found_of_firewalld(recorded("firewalld"))
    assert problem.found == f"firewalld (zone public) drops {HOSTS}; {UDP}; tcp 6443 from pods; packets between pods"
    assert not problem.note
    rule = (
        "firewall-cmd --permanent --zone=public --add-rich-rule="
        '\'rule family="ipv4" source address="10.98.0.12" port port="{}" protocol="{}" accept\''
    )
    assert problem.remedy.split("; ") == [
        *(rule.format(port, "tcp") for port in (2379, 5001, 6443)),
        rule.format(8472, "udp"),
        "firewall-cmd --permanent --zone=trusted --change-interface=cni0 --change-interface=flannel.1",
        "firewall-cmd --reload",
    ]
    assert found(recorded("firewalld")) == []  # its rules are the finding of its own check


@pytest.mark.parametrize("name", ["firewalld-opened", "firewalld-iptables-opened"])
def test_firewalld_with_both_of_its_backends_is_no_finding_where_its_commands_were_pasted(name):
    assert found_of_firewalld(recorded(name)) == found(recorded(name)) == []
    (worker,) = found_of_firewalld(recorded(name), "worker")
    assert (
        worker.found.startswith("firewalld (zone public) drops tcp 10250 from 10.98.0.11")
        and found(recorded(name), name="worker") == []
    )


def test_a_firewalld_whose_rules_cannot_be_read_fails_with_the_same_commands():
    for text in ("", "unread inet firewalld\n"):
        (problem,) = found_of_firewalld(text)
        assert problem.found == "firewalld is active, and its rules could not be read" and not problem.note
        assert problem.remedy.startswith("firewall-cmd --permanent --add-rich-rule=") and found(text) == []
    assert list(find_firewalld(Site.load("lab"), host_with("", Site.load("lab"), "master"))) == []


def test_what_is_certain_fails_and_what_was_not_judged_is_a_note():
    hosts, pods = found(recorded("nftables"))
    assert hosts.note and "may drop, by conditions that were not judged, tcp 2379, 5001, 6443 from 10.98.0.12" in hosts.found
    assert not pods.note and pods.found == "nftables (inet filter forward) drops packets between pods"
    assert pods.remedy.startswith("nft 'insert rule inet filter forward ip saddr { 10.244.0.0/16 } accept'")
    (unread,) = found("unread inet secret\n")
    assert unread.note and "inet secret could not be read" in unread.found


def nft(*rules: list, policy: str = "drop", hook: str = "input", sets: tuple[dict, ...] = ()) -> str:
    """A table of one base chain as `nft -j` prints it."""
    of = {"family": "inet", "table": "t"}
    chain = of | {"name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}
    entries = [{"table": {"family": "inet", "name": "t"}}, {"chain": chain}, *({"set": of | one} for one in sets)]
    return json.dumps({"nftables": entries + [{"rule": of | {"chain": "c", "expr": list(one)}} for one in rules]})


def match(field: str, right, op: str = "==") -> dict:
    kind, _, name = field.partition(" ")
    left = {"meta": {"key": name}} if kind == "meta" else {"ct": {"key": name}} if kind == "ct" else None
    return {"match": {"op": op, "left": left or {"payload": {"protocol": kind, "field": name}}, "right": right}}


ACCEPT, DROP = {"accept": None}, {"drop": None}
NETWORK = {"prefix": {"addr": "10.98.0.0", "len": 24}}


@pytest.mark.parametrize(
    "rules",
    [
        [[match("ip saddr", NETWORK), ACCEPT], [match("ip saddr", {"prefix": {"addr": "10.244.0.0", "len": 16}}), ACCEPT]],
        [[match("ip saddr", "@friends"), ACCEPT]],
        [[match("meta iifname", {"set": ["cni*", "host*"]}), ACCEPT]],
        [[match("meta iifname", "eth1", "!="), {"counter": {"packets": 1}}, ACCEPT]],
        [[match("ct state", ["new", "related"], "in"), ACCEPT]],
        [[{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["invalid", DROP], ["new", ACCEPT]]}}}]],
        [[match("tcp dport", {"set": [{"range": [1, 9000]}]}), ACCEPT], [match("udp dport", 8472), ACCEPT]],
        [[match("meta l4proto", {"set": ["tcp", "udp"]}), ACCEPT]],
    ],
)
def test_rules_that_accept_the_hosts_are_understood(rules):
    friends = {"name": "friends", "elem": [{"range": ["10.98.0.1", "10.98.0.99"]}, {"elem": {"val": "10.244.0.2"}}]}
    assert found(nft(*rules, sets=(friends,))) == []


@pytest.mark.parametrize(
    "rules",
    [
        [[match("ip saddr", "10.98.0.12"), match("tcp dport", 22), ACCEPT]],
        [[match("ip6 saddr", "fe80::/10"), ACCEPT], [match("meta nfproto", "ipv6"), ACCEPT]],
        [[match("ct state", "established", "in"), ACCEPT], [match("icmp type", "echo-request"), ACCEPT]],
        [[match("meta iif", "lo"), ACCEPT], [{"limit": {"rate": 5}}, {"log": None}], [{"reject": {"type": "icmpx"}}]],
    ],
)
def test_rules_that_do_not_accept_the_hosts_are_certain_findings(rules):
    (problem,) = found(nft(*rules))
    assert not problem.note and problem.found.startswith(f"nftables (inet t c) drops {HOSTS}; {UDP}")


def test_a_drop_under_a_condition_that_is_not_judged_is_no_finding():
    strange = {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 1]}, "right": 1}}
    assert found(nft([strange, DROP], [{"limit": {"rate": 5}}, DROP], [match("ip saddr", "@gone"), DROP], policy="accept")) == []
    (problem,) = found(nft([strange, ACCEPT]))
    assert problem.note


@pytest.mark.parametrize("hook", ["output", "forward", "prerouting"])
def test_every_hook_that_the_cluster_s_packets_pass_is_judged(hook):
    (problem,) = found(nft(hook=hook))
    assert "nftables (inet t c) drops" in problem.found and "insert rule inet t c" in problem.remedy
    nat = nft(hook=hook).replace('"type": "filter"', '"type": "nat"')
    assert found(nat) == []


def test_firewalld_s_own_table_is_left_to_its_check():
    assert found(nft().replace('"table": "t"', '"table": "firewalld"').replace('"name": "t"', '"name": "firewalld"')) == []


@pytest.mark.parametrize(
    "text",
    [
        "Welcome!\n",
        '{"nftables": 7}\n',
        '{"nftables": [{"rule": []}]}\n',
        "[" * 100_000,
        "-A INPUT -j DROP\n",
        "*filter\n:INPUT\n",
        '*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment "never ends -j ACCEPT\n',
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 999.1.1.1/8 -j ACCEPT\n",
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s\n",
    ],
)
def test_what_are_no_rules_is_refused(text):
    with pytest.raises(StepFailed, match="unexpected probe output"):
        found(text)


def test_chains_that_lead_to_each_other_end():
    loop = "*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n:B - [0:0]\n-A INPUT -j A\n-A A -j B\n-A B -j A\n"
    (problem,) = found(loop)
    assert problem.note  # no kernel has such rules


def in_namespace(script: str) -> str:
    """What a script prints in a network namespace of its own, which has no rules before."""
    return subprocess.run(["unshare", "--net", "sh"], input=script.encode(), capture_output=True, check=True).stdout.decode()


OWN_NAMESPACE = os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not OWN_NAMESPACE, reason="needs a network namespace of its own")
@pytest.mark.parametrize(
    ("tool", "setup"),
    [
        ("iptables", "iptables -P INPUT DROP; iptables -P FORWARD DROP; iptables -P OUTPUT DROP"),
        ("iptables", "iptables -A INPUT -j REJECT; iptables -N own; iptables -A FORWARD -j own; iptables -A own -j DROP"),
        ("iptables", "iptables -t raw -A PREROUTING -d 10.98.0.11 -j DROP"),
        ("iptables-legacy", "iptables-legacy -P INPUT DROP"),
        *(
            ("nft", f"nft 'add table inet f; add chain inet f c {{ type filter hook {hook} priority 0; policy drop; }}'")
            for hook in ("input", "forward", "output", "prerouting")
        ),
    ],
)
def test_the_commands_of_a_finding_mend_it(tool, setup):
    """Judged by the firewall's own tool: it takes the commands, and what it prints then is no finding."""
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    assert found(in_namespace(FilterRules.command)) == []
    before = found(in_namespace(f"{setup}\n{FilterRules.command}"))
    assert before and not any(one.note for one in before)
    commands = [command for one in before for command in one.remedy.split("; ") if command.startswith(f"{tool} ")]
    assert found(in_namespace("\n".join([setup, *commands, FilterRules.command]))) == []
