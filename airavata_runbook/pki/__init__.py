"""Certificates, keys and password files of a site: bytes in, bytes out; no host is asked."""
