"""An alarm on what the environment costs."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws

from infra.component import Component, Options
from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    """`usd` a month, of everything that carries the environment's tag; `email` is alarmed."""

    usd: int
    email: str
    tags: Tags

    def alarm(self, percent: int, kind: str) -> aws.budgets.BudgetNotificationArgs:
        """A message at a share of the budget that is spent or forecast."""
        return aws.budgets.BudgetNotificationArgs(
            comparison_operator="GREATER_THAN",
            threshold_type="PERCENTAGE",
            threshold=percent,
            notification_type=kind,
            subscriber_email_addresses=[self.email],
        )


class Budget(Component):
    """Alarms at 80 % spent and at a forecast of 100 %."""

    def __init__(
        self,
        name: str,
        args: BudgetArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Budget", name, {}, opts)
        environment = f"user:Environment${args.tags.environment}"
        budget = aws.budgets.Budget(
            name,
            name=name,
            budget_type="COST",
            limit_amount=str(args.usd),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[{"name": "TagKeyValue", "values": [environment]}],
            notifications=[args.alarm(80, "ACTUAL"), args.alarm(100, "FORECASTED")],
            tags=args.tags.of(name),
            opts=self.child,
        )
        self.register_outputs({"name": budget.name})
