"""Cases of the rules of policies/alerting.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

NOBODY = "Alertmanager's receiver {} tells nobody: set alertReceiver, and its secret"
CONFIG = "values.alertmanager.config"

ALERTING_CASES = [
    Case(
        "alerts-reach-somebody",
        ("monitoring", CONFIG),
        [
            Break("monitoring", CONFIG, REMOVED, NOBODY.replace("{}", "null")),
            Break("monitoring", f"{CONFIG}.route.receiver", "null", NOBODY.replace("{}", "null")),
            Break(
                "monitoring",
                f"{CONFIG}.receivers.1.slack_configs",
                [],
                NOBODY.replace("{}", "people"),
            ),
        ],
    ),
    Case(
        "incidents-reach-somebody",
        ("room-secrets", "stringData"),
        [
            Break(
                "room-secrets",
                path,
                value,
                "nobody is told of incidents: set alertReceiver, or the secret vigil:notify",
                on="serve",
            )
            for path, value in (("", REMOVED), ("stringData.VIGIL_DRIFT_NOTIFY", REMOVED))
        ],
    ),
]
