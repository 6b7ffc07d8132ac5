"""Results as JSON in results/DATE.json, and as a table."""

import json
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def keep(measured: dict) -> Path:
    """Add what was measured to the day's file; returns its path."""
    path = FOLDER / f"{measured['date']}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | measured, indent=1) + "\n", encoding="utf-8")
    return path


def conditions(measured: dict) -> str:
    """Under which conditions it was measured, in two lines: the machine, and the versions."""
    return (
        f"{measured['date']}, commit {measured['commit']}, {measured['cores']} cores ({measured['processor']}), "
        f"{measured['memory_gib']} GiB, kernel {measured['kernel']}, Python {measured['python']}\n"
        + ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    )


def table(name: str, medians: dict[str, float]) -> str:
    """Medians in seconds, and how many times this runbook's time each is, as Markdown."""
    ours = medians["airavata_runbook"]
    rows = [f"| {tool} | {seconds:.2f} s | {seconds / ours:.1f} |" for tool, seconds in medians.items()]
    return "\n".join([f"| {name} | median | times ours |", "|---|---|---|", *rows])
