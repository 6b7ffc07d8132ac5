"""What a site has otherwise than its stack, component by component."""

from collections.abc import Iterator, Mapping
from typing import Annotated

from airavata_runbook.site.fields import Cpu, EnvName, Line, Memory, Model, Name, Port, YesNo, whole
from airavata_runbook.site.marks import Free
from airavata_runbook.site.secret_text import is_secret

PODS = Free("the next run replaces the component's pods")


class Amounts(Model):
    """Of a container: CPUs ("500m") and memory ("512Mi")."""

    cpu: Annotated[Cpu | None, PODS] = None
    memory: Annotated[Memory | None, PODS] = None


class Resources(Model):
    """requests: what the scheduler reserves. limits: what a container can take at most."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


class ComponentSettings(Model):
    """What a site has otherwise than its stack in one component; what is not set here stays as the stack has it.

    enabled: whether an optional component runs; all others do. image: the name of an image in airavata.images, which several
    components may share. resources, env: of the container that is named as the component, or of its only one. env: plain
    values, never a secret's. ports: name of a Service's port → the port at which clients reach it: on each host for a Service
    of type NodePort (30000 to 32767), else in the cluster.
    """

    enabled: Annotated[YesNo | None, Free("the next run starts the component, or removes it and keeps its folder")] = None
    image: Annotated[Name | None, PODS] = None
    replicas: Annotated[Annotated[int, whole(1, 50)] | None, Free("the next run applies it")] = None
    resources: Resources = Resources()
    env: Annotated[dict[EnvName, Line], PODS] = {}
    ports: Annotated[dict[Name, Port], Free("the next run serves at the new port, and no longer at the old one")] = {}


def secret_values(components: Mapping[str, ComponentSettings]) -> Iterator[str]:
    """A line for each environment variable that holds a secret's value. It is not repeated there."""
    for name, own in components.items():
        for variable, value in own.env.items():
            if is_secret(variable, value):
                yield (
                    f"airavata.components.{name}.env.{variable}: needs no secret's value (not repeated here): a site file is "
                    "copied into notebooks; a stack takes it from a Secret, and a site gives it as airavata.secrets.NAME"
                )
