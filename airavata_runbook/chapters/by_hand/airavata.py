"""Chapter 05 by hand: as in the POC, kubectl for the two files of each component."""

from shlex import quote

from airavata_runbook.chapters.by_hand.shell import here, kubectl, on
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.site import Site
from airavata_runbook.stacks import Component
from airavata_runbook.wellknown import PKI, SECRETS

SHOWN = 3  # components whose files are named; the others likewise


def components(site: Site) -> ByHand:
    """The manifests are written as files, which the following steps name."""
    folder = site.airavata.stack if "/" in site.airavata.stack else f"airavata_runbook/stacks/{site.airavata.stack}"
    do = here(f"airavata-runbook manifests {site.name} -o manifests")
    return ByHand(do=(do,), check=(here(f"ls {quote(folder)}  # a folder for each component"),))


def secrets(site: Site) -> ByHand:
    generated = [one for keys in stack_of(site).secrets.values() for one in keys.values() if one.startswith("generated:")]
    name = generated[0].partition(":")[2] if generated else "password"
    do = (
        "umask 077",
        f"openssl rand -base64 24 | tr -d '\\n' > {SECRETS}/{quote(name)}  # and so on, a file for each",
        f"mkdir -p {PKI}/services  # a certificate for each server with TLS, as in 02",
    )
    return ByHand(do=(on(site, site.master, *do),), check=(on(site, site.master, f"ls -l {SECRETS} {PKI}/services"),))


def storage(site: Site) -> ByHand:
    folders = stack_of(site).folders
    do = [f"install -d -m 2770 -o {user} -g {user} {quote(path)}" for path, user in folders]
    looks = f"ls -ldn {' '.join(quote(path) for path, _ in folders)}"
    return ByHand(do=(on(site, site.storage_node, *do),), check=(on(site, site.storage_node, looks),))


def namespace(site: Site) -> ByHand:
    stack = stack_of(site)
    do = [f"kubectl create namespace {stack.namespace}"]
    for secret, keys in list(stack.secrets.items())[:1]:
        made = {key: one.removeprefix("generated:") for key, one in keys.items() if one.startswith("generated:")}
        files = " ".join(f"--from-file={key}={SECRETS}/{name}" for key, name in made.items())
        do.append(f"kubectl -n {stack.namespace} create secret generic {secret} {files}  # and so on")
    looks = (f"kubectl -n {stack.namespace} get secrets  # names and sizes, no values",)
    return ByHand(do=(kubectl(site, *do),), check=(kubectl(site, *looks),))


def backing(site: Site) -> ByHand:
    return _deployed(site, airavata=False)


def servers(site: Site) -> ByHand:
    return _deployed(site, airavata=True)


def _deployed(site: Site, airavata: bool) -> ByHand:
    """The files of the first components, in the order in which they start, and how to see that their pods run."""
    stack = stack_of(site)
    chosen = [one for one in stack.components if one.airavata == airavata]
    do = [f"export KUBECONFIG=$(airavata-runbook kubeconfig {site.name})"]
    do += [f"kubectl apply -n {stack.namespace} {_files(one)}" for one in chosen[:SHOWN]]
    do += [f"# and so on: {', '.join(one.name for one in chosen[SHOWN:])}"] if chosen[SHOWN:] else []
    waits = [f"{kind.lower()}/{name}" for one in chosen for kind, name in one.waits_for if kind != "Job"]
    looks = [f"kubectl -n {stack.namespace} rollout status {name} --timeout=60s" for name in waits[-2:]]
    looks += [f"kubectl -n {stack.namespace} get pods,services -o wide"]
    return ByHand(do=(here(*do),), check=(kubectl(site, *looks),))


def _files(component: Component) -> str:
    return " ".join(f"-f manifests/{component.name}/{one.name}" for one in component.files)
