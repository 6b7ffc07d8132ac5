"""The HTTP proxy through which the hosts reach package repositories."""

from typing import Annotated

from airavata_runbook.site.fields import HOST_PORT, ExternalSecret, Model, text
from airavata_runbook.site.marks import Free, Outside

PROXY = Free("the next run gives it to the package managers")
ProxyUrl = Annotated[
    str,
    text(
        f"^http://{HOST_PORT}$",
        "http://HOST:PORT of a proxy, without a login, which belongs in auth",
    ),
]
Direct = Annotated[str, text(r"^[A-Za-z0-9.:/_-]+$", "a host, domain or network, such as .example.org or 10.0.0.0/8")]


class Proxy(Model):
    """For the package managers of the hosts, when the runbook runs them, where their own settings name none: http for http://
    repositories, https for https:// ones. no: hosts, domains and networks without it; those of the site itself are added. auth:
    `user:password` for both.

    Nothing else needs one: containerd pulls from the site's own registry only, and the cluster's networks never go through it.
    This machine has its own settings (http_proxy, https_proxy, no_proxy).
    """

    http: Annotated[ProxyUrl | None, PROXY] = None
    https: Annotated[ProxyUrl | None, PROXY] = None
    no: Annotated[list[Direct], PROXY] = []
    auth: Annotated[ExternalSecret | None, Outside("a login at the proxy")] = None
