"""What a site gives to the stack unified, and what it need not: the jar has the tables, the STAND-IN has its own."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from airavata_runbook.chapters.site_inputs import site_input
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.checks import table
from airavata_runbook.checks.references import check_references
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.pki import issue as pki
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import FOLDER, Keystore
from airavata_runbook.stacks import keystores

LAB = Path(__file__).parents[2] / "parameters/lab-unified.yaml"
JAR = "airavata.unified.server"


def site(**fields):
    return Site.load(LAB, {f"airavata.unified.{name}": value for name, value in fields.items()})


def jar(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return {"jar": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_the_tables_are_those_of_the_jar_by_their_versions(tmp_path):
    folder = "BOOT-INF/classes/db/migration/airavata/"
    names = {"V10__last.sql": "ten", "V2__more.sql": "two", "V1__Baseline_schema.sql": "one", "V1_1__fix.sql": "one and a bit"}
    server = jar(tmp_path / "server.jar", **{folder + name: text for name, text in names.items()}, **{f"{folder}read.me": "no"})
    assert site_input(site(server=server), "schema_sql") == b"one\none and a bit\ntwo\nten"


def test_a_file_of_the_site_comes_before_the_jars(tmp_path):
    (tmp_path / "tables.sql").write_text("mine")
    server = jar(tmp_path / "server.jar", **{"db/migration/V1__a.sql": "one"})
    assert site_input(site(server=server, schema_sql=str(tmp_path / "tables.sql")), "schema_sql") == b"mine"


def test_a_jar_without_tables_is_refused_with_the_field_that_gives_them(tmp_path):
    with pytest.raises(SiteError) as caught:
        site_input(site(server=jar(tmp_path / "server.jar", **{"a.txt": ""})), "schema_sql")
    assert caught.value.where == "airavata.unified.schema_sql" and "in the jar" in caught.value.found


def test_the_stand_in_has_tables_of_its_own_and_a_seed_is_not_needed():
    text = site_input(site(), "schema_sql").decode()
    assert "STAND-IN" in text and "CREATE TABLE stand_in_gateway" in text
    assert site_input(site(), "seed_sql") == b""


def test_a_file_that_no_secret_can_hold_is_refused(tmp_path):
    (tmp_path / "big.sql").write_bytes(bytes(1_000_001))
    with pytest.raises(SiteError) as caught:
        site_input(site(seed_sql=str(tmp_path / "big.sql")), "seed_sql")
    assert caught.value.where == "airavata.unified.seed_sql" and "1000001 bytes" in caught.value.found


@pytest.mark.parametrize("field", ["schema_sql", "seed_sql", "realm"])
def test_the_preflight_check_finds_a_file_that_is_too_large_or_missing(tmp_path, field):
    (tmp_path / "big").write_bytes(bytes(1_000_001))
    for path, words in ((tmp_path / "big", "too large for a Secret"), (tmp_path / "none", "unreadable")):
        (bad,) = [one for one in check_references(site(**{field: str(path)})) if one.problem]
        assert bad.field == f"airavata.unified.{field}" and words in bad.problem, bad


def test_tables_and_first_rows_are_loaded_in_this_order_out_of_a_secret_each():
    """Each may be as large as a Secret; mariadb-load takes the files by their names."""
    stack = stack_of(site())
    assert stack.inputs["airavata-schema"] == {"10-schema.sql": "schema_sql"}
    assert stack.inputs["airavata-seed"] == {"20-seed.sql": "seed_sql"}
    (job,) = next(one for one in stack.components if one.name == "airavata-schema").objects
    mounts = {one["mountPath"]: one["name"] for one in job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in job["spec"]["template"]["spec"]["volumes"]}
    sources = volumes[mounts["/etc/airavata/schema"]]["projected"]["sources"]
    assert [one["secret"]["name"] for one in sources] == ["airavata-schema", "airavata-seed"]
    server = next(one for one in stack.components if one.name == "airavata-server")
    assert "airavata-schema" in server.needs


def test_a_realm_that_cannot_be_imported_is_refused_before_it_is_sent(tmp_path):
    (tmp_path / "realm.json").write_text('{"realm": "another"}')
    with pytest.raises(SiteError) as caught:
        site_input(site(realm=str(tmp_path / "realm.json")), "realm")
    assert "needed: default" in caught.value.found and "no realm role admin-ro" in caught.value.found


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"realm": None}, "airavata.unified.realm: needs the path"),
        ({"stand_in": False}, "airavata.unified.server: needs the server's jar"),
        ({"stack": "classic"}, "airavata.unified.realm: the stack classic does not use it"),
    ],
)
def test_a_site_without_what_the_stack_needs_is_refused(fields, line):
    names = {name: f"airavata.{'unified.' if name == 'realm' else ''}{name}" for name in fields}
    with pytest.raises(SiteError) as caught:
        Site.load(LAB, {names[name]: value for name, value in fields.items()})
    assert line in str(caught.value)


def test_with_a_jar_nothing_is_a_stand_in(tmp_path):
    parts = stack_of(site(server=jar(tmp_path / "server.jar", **{"db/migration/V1__a.sql": "one"}))).components
    assert "airavata-server" in [part.name for part in parts] and not [part.name for part in parts if part.stand_in]
    assert [part.name for part in stack_of(site()).components if part.stand_in] == ["airavata-server"]


def test_the_preflight_check_takes_the_jar_for_the_servers_image(tmp_path):
    own = site(server=jar(tmp_path / "server.jar", **{"db/migration/V1__a.sql": "one"}))
    assert list(table._stack(own, False)) == []


def test_no_password_of_the_servers_sources_is_in_the_stack():
    """Those that everybody knows are overridden with generated ones."""
    text = (FOLDER / "unified/airavata-server.properties").read_text()
    for name in ("default.registry.password", "default.registry.oauth.client.secret", "credential.store.keystore.password"):
        (line,) = [one for one in text.splitlines() if one.startswith(f"{name}=")]
        assert 'secret("' in line, line


def test_a_damaged_key_is_never_replaced():
    store = Keystore(secret_key="credential-store-key", password="keystore/password")
    arguments = (lambda *_: "a-password", lambda name: pki.new_ca(name))
    for value in ("c2hvcnQ=", "not base64!"):
        with pytest.raises(StepFailed) as caught:
            keystores.content(store, lambda reference, value=value: value, *arguments)
        assert "restore it" in caught.value.remedy and value not in str(caught.value)
