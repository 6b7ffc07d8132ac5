"""Kernel modules and settings (sysctl) as they are now; files under /etc/modules-load.d and /etc/sysctl.d keep them."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.footprint import UNTIL_RESTART, Footprint, Touch

# What the kernel sets with a setting (its documentation, networking/ip-sysctl); tried in a network namespace of its own.
FOLLOWS = {"net.ipv4.ip_forward = 1": ("net.ipv4.conf.*.forwarding = 1", "net.ipv4.conf.all.accept_redirects = 0")}
# What a module makes in /proc, as the check `kernel` asks.
SIGNS = {"nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max"}


@dataclass(frozen=True)
class Sysctls:
    """values: name ("net.ipv4.ip_forward") → value. modules: kernel modules that define the names."""

    values: Mapping[str, int]
    modules: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return "kernel settings " + " ".join(sorted(self.values))

    def footprint(self) -> Footprint:
        own = [f"{name} = {value}" for name, value in self.values.items()]
        settings = [*own, *(one for setting in own for one in FOLLOWS.get(setting, ()))]
        touched = [Touch("setting", name) for name in settings] + [Touch("module", name) for name in self.modules]
        return [one._replace(stays=UNTIL_RESTART) for one in touched]

    def probe(self) -> str:
        return "".join(f"echo {name}=$(cat /proc/sys/{name.replace('.', '/')} 2>/dev/null)\n" for name in sorted(self.values))

    def change(self, found: Found, context: Context) -> Change | None:
        present = dict(line.split("=", 1) for line in found.text.splitlines())
        wrong = {name: value for name, value in sorted(self.values.items()) if present.get(name) != str(value)}
        if not wrong:
            return None
        undefined = any(not present.get(name) for name in wrong)
        load = "".join(f"modprobe {quote(module)}\n" for module in self.modules) if undefined else ""
        detail = "".join(f"{name} {present.get(name) or 'absent'} → {value}\n" for name, value in wrong.items())
        return Change(
            f"set {len(wrong)}",
            detail,
            touches=frozenset(wrong),
            script=load + "".join(f"sysctl -q -w {name}={value}\n" for name, value in wrong.items()),
        )


@dataclass(frozen=True)
class Modules:
    """Kernel modules that are loaded, or built in."""

    names: tuple[str, ...]

    @property
    def label(self) -> str:
        return "kernel modules " + " ".join(self.names)

    def footprint(self) -> Footprint:
        return [Touch("module", name, stays=UNTIL_RESTART) for name in self.names]

    def probe(self) -> str:
        # Some that are built in are only in the list of those. A container has neither.
        built_in = "/lib/modules/$(uname -r)/modules.builtin"
        looks = (
            f"test -d /sys/module/{name} || test -e {SIGNS.get(name, '/nowhere')} || grep -qs '/{name}[.]ko' {built_in} || "
            f"echo {name}\n"
            for name in self.names
        )
        return "".join(looks)

    def change(self, found: Found, context: Context) -> Change | None:
        missing = found.text.split()
        if not missing:
            return None
        return Change(f"load {len(missing)}", script="".join(f"modprobe {quote(name)}\n" for name in missing))
