"""Airavata's official Java client of 0.16, from Maven Central: a second client, independent of the Python SDK."""

import shutil
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.local import paths
from airavata_runbook.local.files import digest

SOURCE = Path(__file__).parent / "java" / "Client.java"
# What it is made of, each jar alone (the parent of the stubs' pom is not served), and its SHA-256.
JARS = {
    "org.apache.airavata:airavata-api-stubs:0.16": "4e51c5a4d7bdc25f92062825af64a6a290eb731e95e19063204034da41849f77",
    "org.apache.airavata:airavata-data-models:0.17": "5a60de00ca8d95d471854b0f4a17c7d7e5766a7bee85664de7a995b9747a8741",
    "org.apache.thrift:libthrift:0.9.3": "bca5e8cdee1e0fbf563de7d41c452385e7bed69723fa28225a9ce718a8ee3419",
    "org.slf4j:slf4j-api:1.7.36": "d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0",
}
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
    """Call → answer, of a server at this machine's port. name: in its certificate. Skips the test where Java is not to be had."""
    if missing := [program for program in ("java", "javac", "mvn") if not shutil.which(program)]:
        pytest.skip(f"{', '.join(missing)} not installed (apt-get install openjdk-17-jdk-headless maven)")
    classes = ":".join(str(_jar(artifact, wanted)) for artifact, wanted in JARS.items())
    ran = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", classes, SOURCE, str(port), name, authority],
        input=f"{token}\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return dict(line.split("\t", 1) for line in ran.stdout.splitlines())


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
