"""An alarm on what the environment costs."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    """`usd` a month, of everything that carries the environment's tag; `email` is told."""

    usd: int
    email: str
    tags: Tags


class Budget(pulumi.ComponentResource):
    """Alarms at 80 % spent and at a forecast of 100 %."""

    def __init__(
        self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Budget", name, {}, opts)
        notifications = [
            aws.budgets.BudgetNotificationArgs(
                comparison_operator="GREATER_THAN",
                threshold_type="PERCENTAGE",
                threshold=threshold,
                notification_type=kind,
                subscriber_email_addresses=[args.email],
            )
            for threshold, kind in ((80, "ACTUAL"), (100, "FORECASTED"))
        ]
        budget = aws.budgets.Budget(
            name,
            name=name,
            budget_type="COST",
            limit_amount=str(args.usd),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[
                {"name": "TagKeyValue", "values": [f"user:Environment${args.tags.environment}"]}
            ],
            notifications=notifications,
            tags=args.tags.of(name),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"name": budget.name})
