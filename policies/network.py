"""VPCs, security groups, and what Kubernetes opens to the outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.cel import Cel, as_cel
from policies.params import integers, strings
from policies.pods import namespace_of
from policies.resource_types import (
    KUBE_INGRESS,
    KUBE_NAMESPACE,
    KUBE_SERVICE,
    SECURITY_GROUP,
    SUBNET,
    VPC,
)
from policies.rule import Violation, forbids, rule
from policies.subjects import (
    Context,
    Props,
    Resource,
    Stack,
    Subjects,
    list_at,
    props_at,
    value_at,
)

OPEN_CIDRS = ("0.0.0.0/0", "::/0")
_DEFAULT_SECURITY_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
_BALANCER_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
_BALANCER_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
_INGRESS_SCHEME = "alb.ingress.kubernetes.io/scheme"
_INGRESS_CERTIFICATE = "alb.ingress.kubernetes.io/certificate-arn"


def each_ingress_rule(resource: Resource) -> Subjects:
    """Yield every rule that lets traffic in, whichever of the three resources states it."""
    props = resource.props
    if resource.kind == "SecurityGroup":
        for number, ingress in enumerate(list_at(props, "ingress")):
            yield f"ingress {number}", ingress
    elif resource.kind == "SecurityGroupIngressRule" or props.get("type") == "ingress":
        yield "", props


def _is_open(ingress: Props) -> bool:
    lists = (*list_at(ingress, "cidrBlocks"), *list_at(ingress, "ipv6CidrBlocks"))
    cidrs = (*lists, ingress.get("cidrIpv4"), ingress.get("cidrIpv6"))
    return any(cidr in OPEN_CIDRS for cidr in cidrs)


@rule(
    SECURITY_GROUP,
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    each=each_ingress_rule,
    message="the whole internet may reach port {}: name the networks or security groups that need"
    " it",
    fix="Replace 0.0.0.0/0 and ::/0 by a source security group or the office networks.",
    severity="critical",
    standard=(
        "AWS FSBP EC2.19",
        "AWS Security Hub EC2.13",
        "AWS Security Hub EC2.53",
        "AWS Security Hub EC2.54",
    ),
    params={
        "ports": integers(
            "ports that are never open to the world: remote login, databases, MLflow, Ray",
            [22, 3389, 3306, 5432, 5000, 6379, 8265, 8404, 10001],
        )
    },
)
def sg_ports_not_open(ingress: Props, context: Context) -> Violation:
    """Remote login, databases, MLflow and Ray's own ports are never open to the world."""
    if not _is_open(ingress):
        return None
    if str(ingress.get("protocol") or ingress.get("ipProtocol")) in ("-1", "all"):
        return "0-65535"
    first = int(ingress.get("fromPort", 0))
    last = int(ingress.get("toPort", 65535))
    return ", ".join(str(int(port)) for port in context.params["ports"] if first <= port <= last)


@rule(
    _DEFAULT_SECURITY_GROUP,
    message="the default security group has rules: remove ingress and egress",
    fix="Manage it with aws.ec2.DefaultSecurityGroup and no rules.",
    severity="medium",
    standard="AWS FSBP EC2.2",
)
def default_sg_closed(group: Props, _: Context) -> Violation:
    """Whoever forgets to name a security group gets one that allows nothing."""
    return bool(group.get("ingress") or group.get("egress"))


@rule(
    VPC,
    message="traffic is not logged: add an aws.ec2.FlowLog for the VPC",
    fix="Add aws.ec2.FlowLog with traffic_type ALL, to S3 or CloudWatch.",
    severity="medium",
    standard="AWS FSBP EC2.6",
    stack=True,
)
def vpc_flow_logged(_: Props, context: Context) -> Violation:
    """A VPC logs its traffic."""
    return not context.stack.referring("vpcId", context.resource, "aws:ec2/flowLog:FlowLog")


@rule(
    VPC,
    message="the default security group is left as AWS makes it: add an"
    " aws.ec2.DefaultSecurityGroup without rules",
    fix="Take over the default group of the VPC and empty it.",
    severity="medium",
    standard="AWS FSBP EC2.2",
    stack=True,
)
def vpc_default_sg_managed(_: Props, context: Context) -> Violation:
    """The default security group of a VPC is under control."""
    return not context.stack.referring("vpcId", context.resource, _DEFAULT_SECURITY_GROUP)


subnet_no_public_addresses = forbids(
    SUBNET,
    "mapPublicIpOnLaunch",
    True,
    name="subnet-no-public-addresses",
    description="No machine gets a public address by default.",
    message="machines get public addresses by themselves: set mapPublicIpOnLaunch to false",
    fix="Leave map_public_ip_on_launch off; load balancers and NAT gateways bring their own"
    " addresses.",
    severity="medium",
    standard="AWS FSBP EC2.15",
)


def _annotations(props: Props) -> Props:
    return props_at(props, "metadata.annotations")


def _annotation_cel(name: str) -> str:
    return f"it.props.metadata.?annotations[?{as_cel(name)}].orValue('')"


def is_exposed(resource: Resource) -> bool:
    """Return whether a Service, Ingress or route can be reached from outside the network."""
    annotations = _annotations(resource.props)
    if resource.kind != "Service":
        return annotations.get(_INGRESS_SCHEME) != "internal"
    kind = resource.value("spec.type")
    return kind == "NodePort" or (kind == "LoadBalancer" and not _is_internal(annotations))


def _is_internal(annotations: Props) -> bool:
    scheme = annotations.get(_BALANCER_SCHEME)
    return scheme == "internal" or annotations.get(_BALANCER_INTERNAL) == "true"


@rule(
    KUBE_SERVICE,
    message="the load balancer faces the internet: use an Ingress with TLS, or annotate the scheme"
    " as internal",
    fix="Make the Service a ClusterIP behind an Ingress, or set the annotation"
    f" {_BALANCER_SCHEME}: internal.",
    severity="high",
    cel=Cel(
        'it.props.?spec.?type.orValue("") == "LoadBalancer"'
        f" && {_annotation_cel(_BALANCER_SCHEME)} != 'internal'"
        f" && {_annotation_cel(_BALANCER_INTERNAL)} != 'true'"
    ),
)
def service_not_public(_: Props, context: Context) -> Violation:
    """No Service opens a load balancer to the internet."""
    service = context.resource
    return service.value("spec.type") == "LoadBalancer" and is_exposed(service)


@rule(
    KUBE_INGRESS,
    message="requests travel in the clear: set spec.tls, or the annotation"
    " alb.ingress.kubernetes.io/certificate-arn",
    fix="Terminate TLS at the load balancer with an ACM certificate and redirect port 80.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.5",
    cel=Cel(
        "it.props.?spec.?tls.orValue([]).size() == 0"
        f" && {_annotation_cel(_INGRESS_CERTIFICATE)} == ''"
    ),
)
def ingress_tls(ingress: Props, _: Context) -> Violation:
    """Requests from outside are encrypted."""
    tls = value_at(ingress, "spec.tls")
    return not (tls or _annotations(ingress).get(_INGRESS_CERTIFICATE))


@rule(
    KUBE_NAMESPACE,
    message="no NetworkPolicy denies by default here: add one with an empty podSelector and"
    " policyTypes Ingress and Egress",
    fix="Add a default-deny NetworkPolicy, then one that allows each flow that is needed.",
    severity="high",
    standard="CIS EKS 1.7.0 4.3.2",
    stack=True,
    params={
        "exempt": strings(
            "namespaces of others' software, whose flows are not ours to state", ["kube-system"]
        )
    },
)
def namespace_denies_by_default(namespace: Props, context: Context) -> Violation:
    """Pods of a namespace talk to nobody unless a policy allows it."""
    name = value_at(namespace, "metadata.name") or context.resource.name
    if name in list(context.params["exempt"]):
        return None
    policies = context.stack.of("kubernetes:networking.k8s.io/*:NetworkPolicy")
    own = (policy for policy in policies if namespace_of(policy.props) == name)
    return not any(_denies_all(props_at(policy.props, "spec")) for policy in own)


def _denies_all(spec: Props) -> bool:
    selector = props_at(spec, "podSelector")
    is_for_everyone = not (selector.get("matchLabels") or selector.get("matchExpressions"))
    rules = (*list_at(spec, "ingress"), *list_at(spec, "egress"))
    is_opened = not all(rules)  # an empty rule allows everything
    types = set(list_at(spec, "policyTypes"))
    return is_for_everyone and types == {"Ingress", "Egress"} and not is_opened


@dataclass(frozen=True)
class Backend:
    """Where a route leads: a Service by name, and its port by number or by name."""

    service: str | None
    port: int | str


def backend_ports(resource: Resource, stack: Stack) -> Iterator[int | str]:
    """Yield every port, by number or by name, that a Service, Ingress or HTTPRoute leads to.

    Those that the stack's own Services forward to are among them.
    """
    if resource.kind == "Service":
        for port in list_at(resource.props, "spec.ports"):
            yield from _port_names(port)
        return
    for backend in _backends(resource):
        yield backend.port
        yield from _forwarded_ports(backend, namespace_of(resource.props), stack)


def _forwarded_ports(
    backend: Backend,
    namespace: str,
    stack: Stack,
) -> Iterator[int | str]:
    for service in stack.of(KUBE_SERVICE):
        is_named = service.value("metadata.name") == backend.service
        if is_named and namespace_of(service.props) == namespace:
            yield from _service_ports(service, backend.port)


def _service_ports(service: Resource, asked: int | str) -> Iterator[int | str]:
    for port in list_at(service.props, "spec.ports"):
        if asked in (port.get("port"), port.get("name")):
            yield from _port_names(port)


def _port_names(port: Props) -> Iterator[int | str]:
    for key in ("port", "targetPort", "name"):
        if port.get(key) is not None:
            yield port[key]


def _backends(resource: Resource) -> Iterator[Backend]:
    spec = props_at(resource.props, "spec")
    return _ingress_backends(spec) if resource.kind == "Ingress" else _route_backends(spec)


def _ingress_backends(spec: Props) -> Iterator[Backend]:
    for backend in (props_at(spec, "defaultBackend"), *_path_backends(spec)):
        service = props_at(backend, "service")
        for port in props_at(service, "port").values():
            yield Backend(service.get("name"), port)


def _path_backends(spec: Props) -> Iterator[Props]:
    for host in list_at(spec, "rules"):
        for path in list_at(host, "http.paths"):
            yield props_at(path, "backend")


def _route_backends(spec: Props) -> Iterator[Backend]:
    for route in list_at(spec, "rules"):
        for reference in list_at(route, "backendRefs"):
            if reference.get("port") is not None:
                yield Backend(reference.get("name"), reference["port"])
