"""The mirror: components, packages and images of a site, built on this machine from pinned sources, kept in the cache."""
