"""Chapter 04 by hand: htpasswd, a certificate chain, docker push, the first pods, and curl to check."""

from shlex import quote

from airavata_runbook.chapters.by_hand.shell import REGISTRY, STATUS, here, kubectl, on, on_each
from airavata_runbook.engine.by_hand import ByHand, Shell
from airavata_runbook.site import Site
from airavata_runbook.wellknown import IMAGES, PULL_PASSWORD, PULL_SERVICE, PULL_USER, SECRETS

PULLS = PULL_PASSWORD.partition(":")[2]  # the file of its password on the master


def password(site: Site) -> ByHand:
    names = [name for kind, _, name in (site.registry.password.partition(":"), ("generated", ":", PULLS)) if kind == "generated"]
    do = (
        "umask 077",
        f"mkdir -p {SECRETS}; cd {SECRETS}",
        *(f"openssl rand -base64 24 | tr -d '\\n' > {quote(name)}" for name in names),
    )
    looks = (f"cd {SECRETS}; ls -l {' '.join(map(quote, names))}",)
    return ByHand(do=(on(site, site.master, *do),), check=(on(site, site.master, *looks),))


def folders(site: Site) -> ByHand:
    """htpasswd asks for the password, so that it is on no command line."""
    root, own = site.registry.root, site.registry.certificate
    chain = " ".join(part for part in (own.certificate, own.chain) if part) if own else "registry.crt ca.crt"
    do = (
        f"mkdir -p {root}/auth {root}/cert {root}/data",
        f"htpasswd -Bn {site.registry.user} > {root}/auth/htpasswd  # of apache2-utils, or httpd-tools; it asks for the password",
        f"htpasswd -Bn {PULL_USER} > {root}/auth/htpasswd-pull",
        f"cat {chain} > {root}/cert/registry-cert.crt",
        f"vi {root}/config.yml {root}/config-pull.yml",
    )
    looks = (
        f"cut -d : -f 1 {root}/auth/htpasswd {root}/auth/htpasswd-pull  # the users, not the hashes",
        f"openssl x509 -noout -subject -enddate -ext subjectAltName -in {root}/cert/registry-cert.crt",
    )
    return ByHand(do=(on(site, site.registry_node, *do),), check=(on(site, site.registry_node, *looks),))


def service(site: Site) -> ByHand:
    do = (
        f"systemctl enable --now docker-distribution {PULL_SERVICE}",
        f"# or, on a host with Docker: docker compose -f {site.registry.root}/docker-compose.yml up -d",
    )
    looks = (f"systemctl is-active docker-distribution {PULL_SERVICE}", f"ss -lntp | grep -E ':({_ports(site)}) '")
    return ByHand(do=(on(site, site.registry_node, *do),), check=(on(site, site.registry_node, *looks),))


def pull_settings(site: Site) -> ByHand:
    folder = f"/etc/containerd/certs.d/{site.registry_address}"
    do = (f"mkdir -p {folder}", f"vi {REGISTRY}  # the authority's certificate, from the master", f"vi {folder}/hosts.toml")
    looks = (
        f"{_status(site, site.registry_pull_port)}  # 401: it asks for a password, and its certificate is valid",
        f"ls -l {folder}/hosts.toml  # -rw-------, root: the password is in it",
    )
    return ByHand(do=(on_each(site, *do),), check=(on_each(site, *looks),))


def images(site: Site) -> ByHand:
    """One image is shown. The registry's list of them needs the password, which curl reads from its standard input."""
    image = f"{site.registry_address}/mariadb:10.11"
    do = (
        f"docker login {site.registry_address} --username {site.registry.user}",
        f"docker tag mariadb {image}",
        f"docker push {image}",
    )
    looks = (f"{_as_puller()} {_url(site, site.registry_pull_port)}_catalog", f"cat {IMAGES}  # the digest of each image")
    return ByHand(do=(here(*do),), check=(on(site, site.master, *looks),))


def system_pods(site: Site) -> ByHand:
    domain = site.network.domain
    do = (
        f"airavata-runbook manifests {site.name} -o manifests",
        f"export KUBECONFIG=$(airavata-runbook kubeconfig {site.name})",
        "kubectl apply -n kube-system -f manifests/coredns -f manifests/toolbox",
    )
    looks = (
        "kubectl -n kube-system get pods -o wide",
        f"kubectl -n kube-system exec daemonset/netcheck -- netcheck ask kubernetes.default.svc.{domain}",
    )
    return ByHand(do=(here(*do),), check=(kubectl(site, *looks),))


def authentication(site: Site) -> ByHand:
    wrong = "--user nobody:wrong"
    looks = [f"{_status(site, port)}  # 401" for port in (site.registry.port, site.registry_pull_port)]
    looks += [
        f"{_status(site, site.registry.port)} {wrong}  # 401",
        f"{_as_puller()} -o /dev/null -w '%{{http_code}}\\n' {_url(site, site.registry_pull_port)}  # 200",
    ]
    return ByHand(check=(_with_chain(site), on(site, site.master, *looks)))


def _with_chain(site: Site) -> Shell:
    return on(site, site.registry_node, f"openssl verify -CAfile {REGISTRY} {site.registry.root}/cert/registry-cert.crt")


def _url(site: Site, port: int) -> str:
    return f"https://{site.registry.name}:{port}/v2/"


def _status(site: Site, port: int) -> str:
    return f"{STATUS} --cacert {REGISTRY} {_url(site, port)}"


def _as_puller() -> str:
    """curl as the user who can only pull, its password read on the master."""
    return f'printf \'user = "{PULL_USER}:%s"\\n\' "$(cat {SECRETS}/{PULLS})" | curl -sf -K - --cacert {REGISTRY}'


def _ports(site: Site) -> str:
    return f"{site.registry.port}|{site.registry_pull_port}"
