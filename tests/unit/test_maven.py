"""Where files of Maven Central are fetched: from the mirror that this machine's Maven settings name, with their login."""

import pytest

from airavata_runbook.errors import CannotBuild
from airavata_runbook.mirror import maven

SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
  <servers><server><id>{id}</id><username>{user}</username><password>{password}</password></server></servers>
  <mirrors>
    <mirror><id>blocker</id><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>
    <mirror><id>ours</id><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror>
  </mirrors>
</settings>
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A function that writes the user's settings. There are no others."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MAVEN_HOME", str(tmp_path / "none"))
    fetched = []
    monkeypatch.setattr(maven.download, "fetch", lambda *arguments: fetched.append(arguments))

    def write(**values):
        given = {"id": "other", "user": "ci", "password": "secret", "of": "central", "url": "https://mirror.example.org/m2/"}
        (tmp_path / ".m2").mkdir(exist_ok=True)
        (tmp_path / ".m2/settings.xml").write_text(SETTINGS.format(**given | values))
        maven.fetch("org.keycloak:keycloak-quarkus-dist:26.7.3", "0" * 64)
        return fetched.pop()

    return write, fetched


PATH = "/org/keycloak/keycloak-quarkus-dist/26.7.3/keycloak-quarkus-dist-26.7.3.tar.gz"


def test_without_settings_it_is_maven_central(settings):
    _, fetched = settings
    maven.fetch("org.keycloak:keycloak-quarkus-dist:26.7.3", "0" * 64)
    assert fetched == [(maven.CENTRAL + PATH, "0" * 64, None)]


def test_a_jar_is_fetched_by_its_own_name(settings):
    _, fetched = settings
    maven.fetch("org.apache.kafka:kafka_2.13:3.9.2", "0" * 64, "jar")
    assert fetched[0][0] == maven.CENTRAL + "/org/apache/kafka/kafka_2.13/3.9.2/kafka_2.13-3.9.2.jar"


@pytest.mark.parametrize("of", ["central", "*", "external:*", "*,!internal"])
def test_a_mirror_of_central_is_used(settings, of):
    write, _ = settings
    assert write(of=of)[0] == "https://mirror.example.org/m2" + PATH


@pytest.mark.parametrize("of", ["internal", "*,!central", "external:http:*"])
def test_a_mirror_of_others_is_not(settings, of):
    write, _ = settings
    assert write(of=of)[0] == maven.CENTRAL + PATH


def test_the_login_of_the_mirror_comes_from_the_settings_and_the_environment(settings, monkeypatch):
    write, _ = settings
    monkeypatch.setenv("M2_PASSWORD", "canary")
    assert write(id="ours", password="${env.M2_PASSWORD}")[2] == ("ci", "canary")
    assert write(id="another")[2] is None


def test_settings_that_cannot_be_used_are_named(settings, tmp_path):
    write, _ = settings
    with pytest.raises(CannotBuild, match="no https URL"):
        write(url="http://user:canary@mirror.example.org/m2")
    with pytest.raises(CannotBuild, match="unreadable") as failed:
        write(url="https://mirror.example.org/m2?a&b")
    assert str(tmp_path) in failed.value.where
