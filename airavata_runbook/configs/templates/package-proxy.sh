# The proxy of site {{ site.name | line }}, for package managers that the runbook runs; their own settings count before.
{% for name, value in variables.items() %}
export {{ name }}={{ value }}
{% endfor %}
