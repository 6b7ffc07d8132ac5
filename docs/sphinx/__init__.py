"""The documentation as a site: `make docs` (docs/sphinx/README.md says how a page is added)."""
