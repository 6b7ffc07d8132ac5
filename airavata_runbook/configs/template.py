"""The templates of configuration files, one a file on the hosts; the ending of a template's name says how values are written."""

from pathlib import Path

from airavata_runbook.serialise import environment_value, json_value, shell_value, templates, yaml_value

FOLDER = Path(__file__).parent / "templates"
FORMATS = {".yaml": yaml_value, ".toml": json_value, ".conf": environment_value, ".sh": shell_value}


def render(name: str, **values: object) -> str:
    """The text of a configuration file. values: the template's names. Raises jinja2.TemplateError for one that is not given."""
    return templates(FOLDER, FORMATS[Path(name).suffix]).get_template(name).render(values)
