"""What is known only once AWS has made it, and the names by which objects find each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RAY_NAMESPACE = "vigil"
TRACKING_NAMESPACE = "vigil-tracking"
MONITORING_NAMESPACE = "vigil-monitoring"
OPERATORS_NAMESPACE = "vigil-operators"
ARGOCD_NAMESPACE = "argocd"
# Names of the classes of priority.
PLATFORM_PRIORITY = "vigil-platform"
TRAINING_PRIORITY = "vigil-training"


@dataclass(frozen=True)
class Bindings:
    """Leaves of the manifests: strings, or Outputs while Pulumi runs.

    None leaves out the objects that need them.
    """

    database_host: Any = None
    database_secret: Any = None  # ARN of the secret in which RDS keeps the password
    file_system: Any = None
    redis_address: Any = None
