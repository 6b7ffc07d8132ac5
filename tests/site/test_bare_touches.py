"""What a run has changed on bare hosts is what docs/touches.md says, and nothing else. By its file name it runs right after the
first run, before other tests change the site."""

import pytest

from airavata_runbook.run.touches import Touches
from tests.full_picture import pictures
from tests.touched import not_there, unlisted

# Tens of thousands of files of containers; each is in a folder that the list has.
CONTAINERS = ("/run/containerd/*", "/var/lib/containerd/*", "/var/lib/kubelet/pods/*")


@pytest.fixture(scope="module")
def after(bare, first, site):
    return pictures(site, CONTAINERS)


def test_only_what_is_listed_has_changed(bare, after, site):
    assert unlisted(Touches(site), bare, after) == []


def test_everything_that_is_listed_is_there(after, site):
    assert not_there(Touches(site), after) == []
