"""A reset, after which the hosts are bare again except for a short list. By its file name it runs last."""

from airavata_runbook.run.touches import REMOVED, WITH_DATA, Touches
from tests.full_picture import left_by_reset, over_ssh, pictures
from tests.site.conftest import in_database, report, runbook
from tests.site.test_kept_data import MAKE, ROW
from tests.touched import unlisted


def test_a_reset_asks_before_it_starts(first, site_file, site):
    done = runbook("reset", site_file)
    assert done.returncode == 1 and "--yes" in done.stderr and "no terminal" in done.stderr
    assert over_ssh(site, site.master.name, "systemctl is-active kube-apiserver").strip() == "active"


def test_a_reset_without_data_keeps_images_databases_and_their_secrets_for_the_next_run(bare, first, site_file, site):
    def kept() -> dict[str, str]:
        places = f"{site.registry.root}/data {site.airavata.storage_path} /etc/airavata-runbook/secrets"
        return {
            node.name: over_ssh(site, node.name, f"find {places} -mindepth 1 -maxdepth 2 2>/dev/null | sort")
            for node in site.nodes
        }

    in_database(site, MAKE)
    before = kept()
    assert "mariadb" in before[site.storage_node.name] and "docker" in before[site.registry_node.name]
    done = runbook("reset", site_file, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept: the registry's images" in done.stdout and report(site, "latest-reset")["outcome"] == "ok"
    assert kept() == before
    touches = Touches(site)  # what docs/touches.md says that it stays
    assert unlisted(touches, bare, pictures(site), lambda host, one: touches.after_reset(host, one) != REMOVED) == []
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert in_database(site, ROW) == "4711"


def test_a_reset_with_data_leaves_bare_hosts(bare, first, site_file, site):
    done = runbook("reset", site_file, "--yes", "--data")
    assert done.returncode == 0, done.stdout + done.stderr
    touches, after = Touches(site), pictures(site)
    assert left_by_reset(bare, after) == []
    assert unlisted(touches, bare, after, lambda host, one: touches.after_reset(host, one) not in (REMOVED, WITH_DATA)) == []
    done = runbook("reset", site_file, "--yes", "--data")
    assert done.returncode == 0 and "nothing was changed" in done.stdout
