"""Files of settings in a stack's folder: templates that become keys of Secrets; only the hosts know the passwords in them.

stack.yaml names them, `settings: {SECRET: {KEY: FILE}}`. As in a manifest each `{{ }}` is a whole scalar, which is serialised for
the file's format by the end of FILE. Beside site and namespace there are:

- secret("SECRET", "KEY"): a value of the stack's secrets, or of a certificate's Secret NAME-tls (tls.crt, tls.key, ca.crt)
- port("SERVICE"), port("SERVICE", "PORT"): the number of a Service's port, of its only one or by its name; a Service's host
  name is its own
- components: the names of those that run in this site
- the filter `urlquote`: for user and password in a URL
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError

from airavata_runbook.serialise import json_value, properties_value, shell_value, templates, yaml_value
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import Contents, StackError, replaced_by, shown
from airavata_runbook.stacks.render import failed_line

FORMATS: Mapping[str, Callable[[object], str]] = {
    ".properties": properties_value,
    ".yaml": yaml_value,
    ".json": json_value,
    ".cfg": shell_value,  # HAProxy has the shell's quotes (Configuration Manual, 2.2)
    ".crt": str,
}


class _Unknown(LookupError):
    """What a template asks for is not there. Its text: found and needed."""


@dataclass(frozen=True)
class Settings:
    """One file of settings for a site. root: the stack's folder. ports: Service → name of a port → its number."""

    root: Path
    file: str
    site: Site
    namespace: str
    components: frozenset[str]
    ports: Mapping[str, Mapping[str, int]]

    def text(self, secret: Callable[[str, str], str]) -> str:
        """The file with its secrets. secret: (Secret, key) → value; it may raise. Raises StackError."""
        path = self.root / self.file
        values = {
            "site": self.site,
            "namespace": self.namespace,
            "components": self.components,
            "secret": secret,
            "port": self._port,
        }
        try:
            return templates(self.root, FORMATS[path.suffix]).get_template(self.file).render(values)
        except (TemplateError, _Unknown) as error:
            raise self._refused(error) from None

    def secrets(self, known: Mapping[str, Iterable[str]]) -> set[str]:
        """The Secrets whose values it uses. known: Secret → keys. Raises StackError for others, and whatever `text` would."""
        used = set()

        def note(name: str, key: str) -> str:
            if key not in known.get(name, ()):
                pairs = sorted(f"{name}/{key}" for name, keys in known.items() for key in keys)
                raise _Unknown(f'secret("{name}", "{key}"); needed: one of {", ".join(pairs)}')
            used.add(name)
            return "unknown"

        self.text(note)
        return used

    def _port(self, service: str, name: str = "") -> int:
        ports = self.ports.get(service, {})
        if not name and len(ports) == 1:
            return next(iter(ports.values()))
        if name not in ports:
            pairs = sorted(f"{service}/{port}" for service, ports in self.ports.items() for port in ports)
            raise _Unknown(f'port("{service}"{f", {name!r}" if name else ""}); needed: one of {", ".join(pairs) or "none"}')
        return ports[name]

    def _refused(self, error: Exception) -> StackError:
        path, line = self.root / self.file, failed_line(error, self.root / self.file)
        return StackError(
            "a file of settings could not be rendered",
            where=f"{shown(path, self.root)}{f', line {line}' if line else ''}",
            found=str(error) if isinstance(error, _Unknown) else f"{type(error).__name__}: {error}",
        )


def settings_of(
    contents: Contents, site: Site, root: Path, namespace: str, manifests: Mapping[str, Iterable[dict]]
) -> dict[str, dict[str, Settings]]:
    """Secret → key → file, of those in the stack that the site does not replace. manifests: component → its objects."""
    ports = _service_ports(one for objects in manifests.values() for one in objects)
    made = {
        name: {
            key: Settings(root, file, site, namespace, frozenset(manifests), ports)
            for key, file in keys.items()
            if replaced_by(file) not in site.airavata.secrets
        }
        for name, keys in contents.settings.items()
    }
    return {name: keys for name, keys in made.items() if keys}


def replaced_settings(contents: Contents, site: Site) -> dict[str, dict[str, str]]:
    """Secret → key → the site's reference, of the files that it replaces."""
    given = site.airavata.secrets
    made = {
        name: {key: given[replaced_by(file)] for key, file in keys.items() if replaced_by(file) in given}
        for name, keys in contents.settings.items()
    }
    return {name: keys for name, keys in made.items() if keys}


def _service_ports(manifests: Iterable[dict]) -> dict[str, dict[str, int]]:
    """Service → name of a port ("" where it has none) → its number, of these objects."""
    return {
        one["metadata"]["name"]: {port.get("name", ""): port["port"] for port in one["spec"]["ports"]}
        for one in manifests
        if one["kind"] == "Service"
    }
