# The proxy of site {{ site.name | line }}, for package managers that the runbook runs; their own settings count before.
{% if http %}
export http_proxy={{ http }}
{% endif %}
{% if https %}
export https_proxy={{ https }}
{% endif %}
export no_proxy={{ no }}
