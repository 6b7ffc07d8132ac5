"""What runs in Java: Airavata's official client of 0.16, a second one, independent of the Python SDK; and Java's own readers."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from airavata_runbook.local import paths
from airavata_runbook.local.files import digest

SOURCES = Path(__file__).parent / "java"
# Maven Central's name of a jar, which is taken alone (the parent of the stubs' pom is not served) → its SHA-256.
CLIENT = {
    "org.apache.airavata:airavata-api-stubs:0.16": "4e51c5a4d7bdc25f92062825af64a6a290eb731e95e19063204034da41849f77",
    "org.apache.airavata:airavata-data-models:0.17": "5a60de00ca8d95d471854b0f4a17c7d7e5766a7bee85664de7a995b9747a8741",
    "org.apache.thrift:libthrift:0.9.3": "bca5e8cdee1e0fbf563de7d41c452385e7bed69723fa28225a9ce718a8ee3419",
    "org.slf4j:slf4j-api:1.7.36": "d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0",
}
DRIVER = {"org.mariadb.jdbc:mariadb-java-client:2.7.12": "ccf16f38a7bc5bd55e59aa5e3590d74faebb2fb92d111ed5641d5175c4a3624a"}
# What the client says when all of its calls are answered as they should be.
EXPECTED = {
    "addGateway": "java-client",
    "getGateway": "Changed in Java",
    "getProject": "Faults",
    "getUserProjects": "1",
    "deleteProject": "true",
    "getProject of none": "InvalidRequestException",
    "deleteGateway": "true",
    "isGatewayExist": "false",
    "getAllGateways with a wrong token": "AuthorizationException",
}


def answers(port: int, name: str, authority: Path, token: str) -> dict[str, str]:
    """Call → answer of an API server at this machine's port. name: in its certificate. Skips the test without Java."""
    return dict(
        line.split("\t", 1) for line in java("Client.java", CLIENT, port, name, authority, text=f"{token}\n").splitlines()
    )


def java(
    source: str,
    jars: Mapping[str, str],
    *arguments: object,
    text: str = "",
    options: tuple[str, ...] = (),
    within: tuple[str, ...] = (),
) -> str:
    """The output of one of the programs beside this file. Skips the test where Java or a jar is not to be had.

    options: of Java. within: the command that runs Java, of a namespace for example.
    """
    if missing := [program for program in ("java", "javac", "mvn") if not shutil.which(program)]:
        pytest.skip(f"{', '.join(missing)} not installed (make java)")
    classes = ":".join(str(_jar(artifact, wanted)) for artifact, wanted in jars.items())
    command = [*within, "java", "-XX:TieredStopAtLevel=1", *options, "-cp", classes, SOURCES / source, *map(str, arguments)]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _jar(artifact: str, wanted: str) -> Path:
    """The jar, fetched once by Maven as this machine's settings have it."""
    folder = paths.cache_dir() / "maven"
    _, name, version = artifact.split(":")
    file = folder / f"{name}-{version}.jar"
    if not file.exists():
        command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}:jar", f"-DoutputDirectory={folder}"]
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if fetched.returncode or not file.exists():
            pytest.skip(f"Maven does not serve {artifact}: {(fetched.stdout or fetched.stderr).strip()[:300]}")
    assert digest(file) == wanted, f"{file} is not the jar that was tried"
    return file
