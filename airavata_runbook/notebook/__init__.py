"""What a notebook in JupyterLab or VS Code has beyond a headless one. `from airavata_runbook import Site` loads it there."""

from airavata_runbook.local.live import set_live_notebook
from airavata_runbook.notebook.live import Live

set_live_notebook(Live())
