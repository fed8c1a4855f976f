"""The cases of all topics, by rule."""

from __future__ import annotations

from tests.policies.cases.alerting import ALERTING_CASES
from tests.policies.cases.capacity import CAPACITY_CASES
from tests.policies.cases.cluster import CLUSTER_CASES
from tests.policies.cases.cost import COST_CASES
from tests.policies.cases.database import DATABASE_CASES
from tests.policies.cases.delivery import DELIVERY_CASES
from tests.policies.cases.identity import IDENTITY_CASES
from tests.policies.cases.images import IMAGES_CASES
from tests.policies.cases.network import NETWORK_CASES
from tests.policies.cases.ray_cluster import RAY_CLUSTER_CASES
from tests.policies.cases.serve_config import SERVE_CONFIG_CASES
from tests.policies.cases.static_keys import STATIC_KEYS_CASES
from tests.policies.cases.storage import STORAGE_CASES
from tests.policies.cases.stream import STREAM_CASES
from tests.policies.cases.tagging import TAGGING_CASES
from tests.policies.cases.tracking import TRACKING_CASES
from tests.policies.cases.workload import WORKLOAD_CASES
from tests.policies.table import Case

_TOPICS = (
    ALERTING_CASES,
    CAPACITY_CASES,
    CLUSTER_CASES,
    COST_CASES,
    DATABASE_CASES,
    DELIVERY_CASES,
    IDENTITY_CASES,
    IMAGES_CASES,
    NETWORK_CASES,
    RAY_CLUSTER_CASES,
    SERVE_CONFIG_CASES,
    STATIC_KEYS_CASES,
    STORAGE_CASES,
    STREAM_CASES,
    TAGGING_CASES,
    TRACKING_CASES,
    WORKLOAD_CASES,
)
CASES: dict[str, Case] = {case.rule: case for topic in _TOPICS for case in topic}
