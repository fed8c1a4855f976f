"""The IAM roles of the workloads, each for the pods of one service account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pulumi

from infra.cluster import Cluster
from infra.database import Database
from infra.grants import Document
from infra.identity import PodRole, PodRoleArgs
from infra.keys import Keys
from infra.kinesis import Stream
from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE
from infra.settings import PlatformSettings
from infra.workload_rights import WorkloadRights


@dataclass(frozen=True)
class Workload:
    """A service account that acts on AWS, and what it may do there."""

    namespace: str
    service_account: str
    document: pulumi.Input[Document]

    @property
    def label(self) -> str:
        """What the role is called, after the name of the stack."""
        return self.service_account.removeprefix("vigil-")


@dataclass(frozen=True)
class WorkloadRoles:
    """The roles of a stack, from the resources that its workloads touch."""

    settings: PlatformSettings
    keys: Keys
    stream: Stream
    database: Database
    cluster: Cluster

    def create(self, opts: pulumi.ResourceOptions) -> list[PodRole]:
        """One role per workload, and its association, which needs the cluster to exist."""
        after_cluster = pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(depends_on=[self.cluster.eks])
        )
        return [self._role(workload, after_cluster) for workload in self._workloads()]

    def _role(self, workload: Workload, opts: pulumi.ResourceOptions) -> PodRole:
        settings = self.settings
        args = PodRoleArgs(
            place=settings.place,
            cluster=settings.name,
            namespace=workload.namespace,
            service_account=workload.service_account,
            tags=settings.tags,
            document=workload.document,
        )
        return PodRole(f"{settings.name}-{workload.label}", args, opts)

    @property
    def _rights(self) -> WorkloadRights:
        return WorkloadRights(self.settings)

    def _workloads(self) -> Iterator[Workload]:
        key = self.keys.data.arn
        yield Workload(RAY_NAMESPACE, "vigil-serve", key.apply(self._rights.serve))
        yield Workload(RAY_NAMESPACE, "vigil-train", key.apply(self._rights.train))
        yield Workload(RAY_NAMESPACE, "vigil-drift", self._drift())
        yield Workload(TRACKING_NAMESPACE, "mlflow", self._mlflow())
        if self.settings.serve.stream_source:
            yield Workload(RAY_NAMESPACE, "vigil-stream", self._stream())
        if self.settings.needs_balancer_controller:
            controller = pulumi.Output.from_input(self._rights.load_balancers())
            yield Workload("kube-system", "aws-load-balancer-controller", controller)

    def _drift(self) -> pulumi.Output[Document]:
        return _apply(self._rights.drift, self.keys.data.arn, self.database.secret_arn)

    def _mlflow(self) -> pulumi.Output[Document]:
        return _apply(self._rights.mlflow, self.keys.data.arn, self.database.secret_arn)

    def _stream(self) -> pulumi.Output[Document]:
        return _apply(self._rights.stream, self.keys.data.arn, self.stream.stream.arn)


def _apply(
    rights: Callable[..., Document],
    *arns: pulumi.Input[str],
) -> pulumi.Output[Document]:
    """The document of rights on resources whose names are known later."""
    return pulumi.Output.all(*arns).apply(lambda values: rights(*values))
