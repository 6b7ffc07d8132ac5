"""The package repository on a real host: what apt takes from it, whoever has changed its folder."""

import pytest

from airavata_runbook.chapters import install, reset
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import StepFailed
from airavata_runbook.site import Site
from airavata_runbook.wellknown import KEYRING, REPOSITORY_KEY
from tests.full_picture import over_ssh
from tests.labs import lab_hosts

FOLDER = "/opt/airavata-runbook/repository"
SOURCE = "/etc/apt/sources.list.d/airavata-runbook.list"
UPDATE = "apt-get -q update 2>&1 | grep -E '^(W|E|N|Err):?' || true"  # of all sources, as an admin does
# The package cri-tools in the folder with one more file, and an index that lists it as it is now.
EXCHANGE = f"""set -e
cd {FOLDER}
rm -rf /tmp/foreign
deb=$(ls cri-tools_*.deb)
dpkg-deb -R $deb /tmp/foreign
echo foreign > /tmp/foreign/usr/bin/foreign
dpkg-deb -b -Zgzip /tmp/foreign $deb > /dev/null
awk -v size=$(stat -c %s $deb) -v sum=$(sha256sum $deb | cut -d' ' -f1) '
    /^Package:/ {{ ours = $2 == "cri-tools" }}
    ours && /^Size:/ {{ $2 = size }}
    ours && /^SHA256:/ {{ $2 = sum }}
    {{ print }}' Packages > /tmp/Packages
cat /tmp/Packages > Packages
sed -i "/ Packages$/c\\ $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages" Release
"""
# The repository as the runbook made it until 2026-11, and what apt then has of it: a link to the index.
EARLIER = f"""set -e
cd {FOLDER}
rm -rf InRelease {KEYRING} {REPOSITORY_KEY}
printf %s "$(cat Packages)" > /tmp/Packages
echo >> /tmp/Packages
cat /tmp/Packages > Packages
sed -i "/^Suite/d; / Packages$/c\\ $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages" Release
rm -f /var/lib/apt/lists/_opt_airavata*
echo 'deb [trusted=yes] file://{FOLDER} ./' > {SOURCE}
apt-get -qq update
test -L /var/lib/apt/lists/_opt_airavata-runbook_repository_._Packages
"""
REMOVE = "apt-get -qq -y purge cri-tools > /dev/null"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    fields = {
        "name": "repository",
        "nodes": [{"name": "one", "address": "10.81.0.11", "interface": "host0", "role": "master"}],
        "lab": {"bridge": "lab12", "network": "10.81.0.0/24"},
    }
    with lab_hosts(fields, tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def site(lab) -> Site:
    """Its host has the repository, and all packages but cri-tools."""
    prepare(lab)
    install.packages(lab)
    over_ssh(lab, "one", REMOVE)
    return lab


def prepare(site: Site) -> None:
    install.repository_key(site)
    install.repository(site)


def installed(site: Site) -> str:
    return over_ssh(
        site, "one", "dpkg-query -W -f='${db:Status-Abbrev}' cri-tools 2>/dev/null; ls /usr/bin/foreign 2>/dev/null; true"
    )


def exchanged_is_refused(site: Site) -> None:
    """Whether the admin installs it, before or after an update of the lists, or the runbook."""
    over_ssh(site, "one", EXCHANGE)
    for update in ("true", "apt-get -qq update"):
        said = over_ssh(site, "one", f"{update} 2>&1; apt-get -q -y install cri-tools 2>&1 || true")
        assert "Hash Sum mismatch" in said, said
    with pytest.raises(StepFailed, match="Hashes of received file"):
        install.packages(site)
    assert "foreign" not in installed(site)


def test_nothing_foreign_is_installed_and_a_run_mends_the_folder(site):
    assert over_ssh(site, "one", UPDATE) == ""
    exchanged_is_refused(site)
    assert {item.status for item in install.repository(site, plan=True).hosts["one"]} == {"ok", "would change"}
    prepare(site)
    assert install.packages(site).count("changed") == 1
    assert installed(site).split() == ["ii"]
    assert over_ssh(site, "one", "ls /var/cache/apt/archives/*.deb 2>/dev/null || true") == "", "packages are kept only once"


@pytest.mark.parametrize(
    "change",
    [
        f"sed -i '/BEGIN PGP SIGNATURE/,$d; /BEGIN PGP SIGNED/,/^$/d' {FOLDER}/InRelease",
        f"rm {FOLDER}/InRelease",
        f"sed -i 's/^Label: .*/Label: foreign/' {FOLDER}/InRelease",
    ],
    ids=["stripped", "removed", "altered"],
)
def test_a_changed_signature_is_refused(site, change):
    over_ssh(site, "one", change)
    with pytest.raises(StepFailed, match="packages .* could not be changed"):
        install.packages(site)
    assert installed(site).split() == []
    prepare(site)
    assert install.packages(site).count("changed") == 1


def test_the_key_stays_on_the_master_and_a_new_one_replaces_it_everywhere(site):
    assert (
        over_ssh(site, "one", f"stat -c '%a %U' {REPOSITORY_KEY} {KEYRING} $(dirname {REPOSITORY_KEY})")
        == "600 root\n644 root\n700 root\n"
    )
    before = over_ssh(site, "one", f"cat {KEYRING} {FOLDER}/InRelease")
    session_of(site).close()  # as from another workstation
    assert install.repository_key(site).count("changed") == install.repository(site).count("changed") == 0
    over_ssh(site, "one", f"rm {REPOSITORY_KEY}")
    prepare(site)
    assert before != over_ssh(site, "one", f"cat {KEYRING} {FOLDER}/InRelease")
    assert over_ssh(site, "one", UPDATE) == ""


def test_a_trusted_source_is_taken_over(site):
    over_ssh(site, "one", EARLIER)
    planned = {item.label for item in install.repository(site, plan=True).hosts["one"] if item.status == "would change"}
    assert {f"file {SOURCE}", f"file {KEYRING}", f"file {FOLDER}/InRelease"} <= planned
    prepare(site)
    assert "trusted" not in over_ssh(site, "one", "cat /etc/apt/sources.list.d/*")
    assert over_ssh(site, "one", UPDATE) == ""
    exchanged_is_refused(site)


def test_a_reset_removes_all_but_the_key_and_with_data_the_key(site):
    there = f"ls -d {KEYRING} {SOURCE} {FOLDER} {REPOSITORY_KEY} 2>/dev/null || true"
    reset.packages(site)
    assert over_ssh(site, "one", there).split() == [REPOSITORY_KEY]
    reset.secrets(site)
    assert over_ssh(site, "one", there) == ""
