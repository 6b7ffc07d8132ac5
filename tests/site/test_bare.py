"""A plan on bare hosts: it changes nothing, and the run then makes the changes that it listed."""

import pytest

from tests.full_picture import difference, pictures
from tests.site.conftest import actions, report, runbook


@pytest.fixture(scope="module")
def planned(bare, site_file, site):
    """The report of a plan before the first run."""
    done = runbook("plan", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    return report(site, "latest-plan")


def test_a_plan_leaves_bare_hosts_as_they_were(planned, bare, site):
    assert (planned["changed"], planned["failed"]) == (0, 0) and planned["would_change"] > 100
    after = pictures(site)
    assert {name: difference(bare[name], after[name]) for name in bare} == {name: [] for name in bare}


def test_the_run_makes_the_changes_that_the_plan_listed(planned, first):
    named, done = actions(planned, "would change"), actions(first, "changed")
    exact = {action: summary for action, summary in named.items() if not summary.startswith("known after")}
    later = set(named) - set(exact)
    assert len(exact) > len(later) and len(exact) > 80
    assert {action: summary for action, summary in exact.items() if done.get(action) != summary} == {}
    # A label, or a whole step of a host, that cannot be compared before an earlier step has run: the plan says so.
    assert [
        action for action in done if action not in exact and action not in later and (*action[:3], "resources") not in later
    ] == []
