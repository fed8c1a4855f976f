"""The Pulumi program: reads the settings, wires AWS (or takes the cluster that exists), applies the Kubernetes part."""

from __future__ import annotations

import pulumi

from infra.settings import read_config, read_secrets

settings = read_config()
secrets = read_secrets(settings)
if settings.on_aws:
    from infra.amazon import provision

    amazon = provision(settings, secrets)
    for key, value in amazon.exports.items():
        pulumi.export(key, value)
