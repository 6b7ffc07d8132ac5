"""The living site of tests/site: the one that AIRAVATA_RUNBOOK_SITE names, else a lab of this session's own."""

from tests.site.conftest import first, site, site_file  # noqa: F401  # fixtures
