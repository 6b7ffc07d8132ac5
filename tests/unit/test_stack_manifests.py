"""A site's manifests as files: what is applied, with the comments of the stack, and no secret's value."""

import pytest
import yaml

from airavata_runbook import Site, cli, stacks
from airavata_runbook.chapters import airavata, registry
from airavata_runbook.chapters.site_stack import write_manifests
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts.host import Host
from airavata_runbook.kernel_env import REPORT_FILE
from airavata_runbook.stacks.manifests import file_text
from airavata_runbook.stacks.render import ONCE, SECRETS_STAMP
from tests.unit.small_stack import references, site_with, small_stack


def texts(site: Site) -> dict[str, str]:
    stack = stacks.load(site, references(site))
    return {
        f"{one.name}/{file.name}": file_text(stack, one, file.objects, file.text)
        for one in stack.components
        for file in one.files
    }


def documents(text: str) -> list[dict]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", ["lab", "lab-three", "poc-2017"])
def test_a_file_holds_exactly_the_objects_that_are_applied(name):
    site = Site.load(name)
    for which in (None, "system"):
        known = {one: f"{site.registry_address}/{one}:1" for one in (*stacks.image_names(site), "coredns", "toolbox", "pause")}
        stack = stacks.load(site, known, which)
        for component in stack.components:
            for file in component.files:
                text = file_text(stack, component, file.objects, file.text)
                assert documents(text) == list(file.objects)
                comments = [line.strip() for line in file.text.splitlines() if line.lstrip().startswith("#")]
                assert all(comment in text for comment in comments)
                assert max(map(len, text.splitlines())) <= 140


def test_comments_stand_where_the_stack_has_them(tmp_path):
    found = texts(site_with(small_stack(tmp_path)))
    deploy = found["store/deploy.yaml"].splitlines()
    assert deploy[deploy.index("  # The one that is called.") + 1] == "  serviceName: store"
    assert deploy.index("# The database.") < deploy.index("apiVersion: v1")
    server = found["server/deploy.yaml"].splitlines()
    above = server.index("        # The one that answers.")
    assert server[above + 1] == "        - name: server"
    # A # in a file of a ConfigMap is part of that file.
    assert found["store/deploy.yaml"].count("# This is part of the file") == 1
    assert "    # This is part of the file, and no comment of the manifest.\n    port = 3306\n" in found["store/deploy.yaml"]


def test_a_file_says_where_secrets_come_from_and_which_image_has_no_digest_yet(tmp_path):
    site = site_with(small_stack(tmp_path), secrets={"store-password": "env:STORE_PASSWORD"})
    text = texts(site)["store/deploy.yaml"]
    assert text.startswith("# airavata-runbook: store of the stack gateway for the site own")
    assert "# Secret store: password from env:STORE_PASSWORD\n" in text
    assert "# registry.internal:5000/mariadb:sha-1: not known by its digest yet" in text
    assert "STAND-IN" in texts(site)["server/deploy.yaml"].splitlines()[0]
    assert "# Secret server-tls: a certificate of the services' authority" in texts(site)["server/deploy.yaml"]


def test_overrides_are_in_the_files(tmp_path):
    site = site_with(small_stack(tmp_path), components={"server": {"env": {"LEVEL": "debug"}, "replicas": 2}})
    (deployment,) = documents(texts(site)["server/deploy.yaml"])
    assert deployment["spec"]["replicas"] == 2
    assert {"name": "LEVEL", "value": "debug"} in deployment["spec"]["template"]["spec"]["containers"][0]["env"]


def test_the_command_writes_them_without_a_host_and_removes_those_of_other_components(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Host, "run", lambda *_: pytest.fail("a host was asked"))
    monkeypatch.setattr(Host, "connect_in_background", lambda *_: pytest.fail("a host was asked"))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "manifests"
    (out / "gone").mkdir(parents=True)
    (out / "gone" / "deploy.yaml").write_text("# airavata-runbook: gone of the stack classic\n")
    (out / "mine").mkdir()
    (out / "mine" / "deploy.yaml").write_text("# my own\n")
    assert cli.main(["manifests", "lab", "--set", "airavata.gateway=other", "-o", str(out)]) == 0
    assert not (out / "gone").exists() and (out / "mine" / "deploy.yaml").exists()
    assert {path.parent.name for path in out.glob("*/service.yaml")} >= {"coredns", "toolbox", "mariadb", "portal"}
    text = (out / "portal" / "deploy.yaml").read_text()
    assert "value: other" in text and f"A run adds the annotation {SECRETS_STAMP}" in text
    assert "by tag, as this machine does not know their digests: " in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SiteError, match="a manifest could not be written"):
        write_manifests(Site.load("lab"), tmp_path / "file")


def test_the_command_says_what_is_wrong_with_a_stack(tmp_path, capsys):
    stack = small_stack(tmp_path, ("server/service.yaml", "nodePort: 31000", "nodePort: 80"))
    file = tmp_path / "site.yaml"
    site = site_with(stack).model_dump(mode="json", exclude_unset=True)
    file.write_text(yaml.safe_dump({"site": site}))
    assert cli.main(["manifests", str(file), "-o", str(tmp_path / "out")]) == 1
    assert "nodePort: found 80; needed: 30000 to 32767" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_writes_what_it_applies_into_its_folder(tmp_path, monkeypatch):
    """The manifests of the resources that a step has, stamps and all."""
    site = Site.load("lab")
    digest = "sha256:" + "a" * 64
    known = {name: f"{site.registry_address}/{name}:1@{digest}" for name in (*stacks.image_names(site), "coredns", "toolbox")}
    monkeypatch.setenv(REPORT_FILE, str(tmp_path / "05-deploy-airavata.jsonl"))
    stack = stacks.load(site, known)
    secrets = {name: {key: b"canary" for key in keys} for name, keys in stack.secrets.items()}
    vault = type("Vault", (), {"authority": lambda self, name: type("Pair", (), {"key": b"key"})()})()

    def resource(manifest: dict):
        return registry.KubeObject(airavata._stamped(manifest, secrets, vault))

    made = [one for one in registry.deploy(type("S", (), {})(), stack, stack.components, resource) if hasattr(one, "manifest")]
    written = [one for path in tmp_path.glob("manifests/*/*.yaml") for one in documents(path.read_text())]
    key = lambda one: (one["kind"], one["metadata"]["name"])  # noqa: E731
    assert sorted(written, key=key) == sorted((one.manifest for one in made), key=key) and len(written) >= 10
    text = (tmp_path / "manifests" / "mariadb" / "deploy.yaml").read_text()
    assert SECRETS_STAMP in text and digest in text and "A run adds" not in text and "not known by its digest" not in text
    assert not any("canary" in path.read_text() for path in tmp_path.rglob("*.yaml"))


def test_outside_of_a_run_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv(REPORT_FILE, raising=False)
    monkeypatch.chdir(tmp_path)
    site = site_with(small_stack(tmp_path / "stacks"))
    stack = stacks.load(site, references(site))
    before = sorted(tmp_path.rglob("*"))
    assert list(registry.deploy(type("S", (), {})(), stack, stack.components))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_is_not_stamped(tmp_path):
    """Its pods run once: a changed template would be refused by the API server."""
    site = site_with(small_stack(tmp_path))
    stack = stacks.load(site, references(site))
    (job,) = [one for component in stack.components for one in component.objects if one["kind"] == ONCE]
    assert airavata._stamped(job, {"store": {"password": b"x"}}, None) is job
    assert "annotations" not in job["spec"]["template"]["metadata"]
