"""Results: saved as JSON in results/DATE.json, printed as a table."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def save(measured: dict) -> Path:
    """Merge the measurements into the file of their date; returns its path."""
    path = FOLDER / f"{measured['date']}.json"
    saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(saved | measured, indent=1) + "\n", encoding="utf-8")
    return path


def conditions(measured: dict) -> str:
    """The conditions of the measurement in two lines: the machine, and the versions."""
    return (
        f"{measured['date']}, commit {measured['commit']}, {measured['cores']} cores ({measured['processor']}), "
        f"{measured['memory_gib']} GiB, kernel {measured['kernel']}, Python {measured['python']}\n"
        + ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    )


def table(name: str, medians: dict[str, float]) -> str:
    """A Markdown table of the medians in seconds, and their ratio to this runbook's."""
    ours = medians["airavata_runbook"]
    rows = [f"| {tool} | {seconds:.2f} s | {seconds / ours:.1f} |" for tool, seconds in medians.items()]
    return "\n".join([f"| {name} | median | times ours |", "|---|---|---|", *rows])
