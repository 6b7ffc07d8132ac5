"""Files of settings: what a template may use, what is refused and where, and that each value is read back as it was."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airavata_runbook.errors import SiteError
from airavata_runbook.serialise import properties_value
from airavata_runbook.site.stack_file import FOLDER
from airavata_runbook.stacks import load
from tests.unit.test_stacks import images, lab

FILE = "server.properties"
TEMPLATE = """# For {{ site.name | line }}.
database.url={{ "jdbc:mariadb://mariadb:" ~ port("mariadb") ~ "/app_catalog" }}
database.password={{ secret("mariadb", "airavata-password") }}
broker.url={{ "amqps://airavata:" ~ (secret("rabbitmq", "password") | urlquote) ~ "@rabbitmq:" ~ port("rabbitmq", "amqps") }}
gateway={{ site.airavata.gateway }}
{% if "gfac-of-old" in components %}
gfac.host=gfac-of-old
{% endif %}
"""


def stack(tmp_path: Path, template: str = TEMPLATE, file: str = FILE, own: str = "", **airavata):
    """The classic stack with one file of settings, which the portal's Secret portal-settings has as the key KEY."""
    root = tmp_path / "stacks"
    shutil.copytree(FOLDER, root, dirs_exist_ok=True)
    contents = yaml.safe_load((root / "classic/stack.yaml").read_text())
    contents["settings"] = {**contents.get("settings", {}), "portal-settings": {"KEY": file}}
    (root / "classic/stack.yaml").write_text(yaml.safe_dump(contents))
    (root / "classic" / file).write_text(template)
    deploy = root / "classic/portal/deploy.yaml"
    deploy.write_text(
        deploy.read_text() + "        - {name: settings, secret: {secretName: portal-settings, items: [{key: KEY, path: x}]}}\n"
    )
    site = lab(**airavata)
    secrets = {"server": own} if own else {}  # a name that the runbook's own stacks do not have
    site = site.model_copy(update={"airavata": site.airavata.model_copy(update={"secrets": secrets})})
    return load(site, images(site), folder=root)


def secret(name: str, key: str) -> str:
    return {("mariadb", "airavata-password"): " pass\\word=ü\n", ("rabbitmq", "password"): "a/b@c:d e"}[name, key]


def properties(text: str) -> dict[str, str]:
    """A file of properties as java.util.Properties reads it, of what `properties_value` writes."""
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    return {key: re.sub(r"^\\ ", " ", value).encode().decode("unicode_escape") for key, _, value in lines}


def test_a_file_has_the_sites_values_its_passwords_and_the_ports_of_services(tmp_path):
    made = stack(tmp_path, gateway="seismic")
    assert properties(made.settings["portal-settings"]["KEY"].text(secret)) == {
        "database.url": "jdbc:mariadb://mariadb:3306/app_catalog",
        "database.password": " pass\\word=ü\n",
        "broker.url": "amqps://airavata:a%2Fb%40c%3Ad%20e@rabbitmq:5671",
        "gateway": "seismic",
    }


def test_secrets_that_only_a_file_of_settings_uses_are_asked_for(tmp_path):
    made = stack(tmp_path, 'x={{ secret("stand-in", "api-token") }}\n', images={"portal": {"archive": "portal.tar"}})
    assert "api-token" in made.secrets["stand-in"]


def test_a_sites_own_file_replaces_it_as_a_whole(tmp_path):
    made = stack(tmp_path, own="file:own.properties")
    assert "portal-settings" not in made.settings
    assert made.secrets["portal-settings"] == {"KEY": "file:own.properties"}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('x={{ secret("mariadb", "password") }}', ['secret("mariadb", "password")', "mariadb/airavata-password", "line 2"]),
        ('x={{ secret("maria", "root-password") }}', ['secret("maria", "root-password")', "mariadb/root-password", "line 2"]),
        ('x={{ port("database") }}', ['port("database")', "mariadb/mysql", "line 2"]),
        ('x={{ port("mariadb", "tls") }}', ["port(\"mariadb\", 'tls')", "mariadb/mysql", "line 2"]),
        ("x={{ sight.name }}", ["sight", "line 2"]),
        ("x={{ site.", ["line 2"]),
    ],
)
def test_what_is_not_there_is_refused_with_the_line_before_anything_is_touched(tmp_path, template, said):
    with pytest.raises(SiteError) as refused:
        stack(tmp_path, f"# A file.\n{template}\n")
    message = " ".join(str(refused.value).split())
    assert all(words in message for words in ["stacks/classic/server.properties", *said])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kafka.broker.list=kafka:9092", "found kafka, an unknown name; needed: a Service of the stack, one of"),
        ("database.url=jdbc:mariadb://maria:3306/x", "found maria, an unknown name"),
        ("sharing.registry.server.host=sharing", "found sharing, an unknown name"),
        ("x=https://10.98.0.99:30443", "found the address 10.98.0.99; needed: a Service's name"),
        ("zookeeper.server.connection=zookeeper:2182", "found zookeeper:2182; needed: a port of the Service, one of 2181"),
        ('x={{ port("kafka", "plain") }}', "found: port(\"kafka\", 'plain'); needed: one of"),
    ],
)
def test_an_address_that_nobody_has_is_refused(tmp_path, line, said):
    with pytest.raises(SiteError) as refused:
        stack(tmp_path, f"{line}\n")
    message = " ".join(str(refused.value).split())
    assert said in message and "server.properties" in message


def test_an_external_address_and_one_that_the_site_has_are_not(tmp_path):
    lines = ("iam.server.url=https://iam.example.org/auth", "x.host=mariadb", "y=rabbitmq:5671", "z=https://10.98.0.11:30443")
    assert stack(tmp_path, "\n".join(lines) + "\n")


@pytest.mark.parametrize("file", ["server.ini", "../server.properties", "Server.properties"])
def test_a_file_of_settings_is_in_the_stacks_folder_and_of_a_format_that_is_known(tmp_path, file):
    with pytest.raises(SiteError, match="settings.portal-settings.KEY"):
        stack(tmp_path, file=file)


@pytest.mark.parametrize("file", ["server.yaml", "server.json", "server.crt"])
def test_a_value_is_serialised_for_the_format_of_the_file(tmp_path, file):
    template = '{"password": {{ secret("mariadb", "airavata-password") }}}'
    made = stack(tmp_path, template, file).settings["portal-settings"]["KEY"].text(lambda *_: 'a"b\n2026')
    if file.endswith("crt"):
        assert made == '{"password": a"b\n2026}'
    else:
        assert yaml.safe_load(made) == {"password": 'a"b\n2026'}


READER = """import java.io.*; import java.util.*;
class Read { public static void main(String[] arguments) throws IOException {
    Properties found = new Properties();
    found.load(System.in);
    try (Writer out = new OutputStreamWriter(System.out, "UTF-16BE")) { out.write(found.getProperty("key")); } } }
"""


@given(st.text())
def test_a_text_is_one_line_of_ascii_in_a_file_of_properties(text):
    value = properties_value(text)
    assert value.isascii() and len(value.splitlines()) <= 1 and not value.startswith(" ")


@pytest.mark.skipif(not shutil.which("java") or not shutil.which("javac"), reason="no JDK on this machine")
def test_java_reads_back_any_text(tmp_path):
    (tmp_path / "Read.java").write_text(READER)
    for text in (" a\\b\\u0041=#!:\t\n\r\f\b\"'ü€😀 ", "=x", ":", "#", "\\", ""):
        ran = subprocess.run(
            ["java", "-XX:TieredStopAtLevel=1", str(tmp_path / "Read.java")],
            input=f"key={properties_value(text)}\n".encode(),
            capture_output=True,
        )
        assert ran.stdout.decode("utf-16-be") == text, ran.stderr.decode()
