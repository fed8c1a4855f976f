"""VPCs, security groups, and what Kubernetes opens to the outside."""

from __future__ import annotations

from collections.abc import Iterator

from policies.pods import namespace_of
from policies.rule import Context, Found, Props, Resource, Stack, Subjects, rule

WORLD = ("0.0.0.0/0", "::/0")
GROUPS = (
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
)
SERVICE = "kubernetes:core/*:Service"
INGRESS = "kubernetes:networking.k8s.io/*:Ingress"
SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"


def ingress_rules(resource: Resource) -> Subjects:
    """Every rule that lets traffic in, whichever of the three resources states it."""
    props = resource.props
    if resource.kind == "SecurityGroup":
        for number, each in enumerate(props.get("ingress") or ()):
            yield f"ingress {number}", each
    elif resource.kind == "SecurityGroupIngressRule" or props.get("type") == "ingress":
        yield "", props


def _open(each: Props) -> bool:
    cidrs = [
        *(each.get("cidrBlocks") or ()),
        *(each.get("ipv6CidrBlocks") or ()),
        each.get("cidrIpv4"),
        each.get("cidrIpv6"),
    ]
    return any(cidr in WORLD for cidr in cidrs)


@rule(
    *GROUPS,
    each=ingress_rules,
    message="the whole internet may reach port {}: name the networks or security groups that need it",
    fix="Replace 0.0.0.0/0 and ::/0 by a source security group or the office networks.",
    severity="critical",
    standard=(
        "AWS FSBP EC2.19",
        "AWS Security Hub EC2.13",
        "AWS Security Hub EC2.53",
        "AWS Security Hub EC2.54",
    ),
    params={
        "ports": {
            "type": "array",
            "items": {"type": "integer"},
            "default": [22, 3389, 3306, 5432, 5000, 6379, 8265, 8404, 10001],
            "description": "ports that are never open to the world: remote login, databases, MLflow, Ray",
        }
    },
)
def sg_ports_not_open(each: Props, context: Context) -> Found:
    """Remote login, databases, MLflow and Ray's own ports are never open to the world."""
    if not _open(each):
        return None
    if str(each.get("protocol") or each.get("ipProtocol")) in ("-1", "all"):
        return "0-65535"
    first, last = int(each.get("fromPort", 0)), int(each.get("toPort", 65535))
    return ", ".join(str(int(port)) for port in context.params["ports"] if first <= port <= last)


@rule(
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    message="the default security group has rules: remove ingress and egress",
    fix="Manage it with aws.ec2.DefaultSecurityGroup and no rules.",
    severity="medium",
    standard="AWS FSBP EC2.2",
)
def default_sg_closed(group: Props, _: Context) -> Found:
    """Whoever forgets to name a security group gets one that allows nothing."""
    return bool(group.get("ingress") or group.get("egress"))


@rule(
    "aws:ec2/vpc:Vpc",
    message="traffic is not logged: add an aws.ec2.FlowLog for the VPC",
    fix="Add aws.ec2.FlowLog with traffic_type ALL, to S3 or CloudWatch.",
    severity="medium",
    standard="AWS FSBP EC2.6",
    stack=True,
)
def vpc_flow_logged(_: Props, context: Context) -> Found:
    """A VPC logs its traffic."""
    return not context.stack.referring("vpcId", context.resource, "aws:ec2/flowLog:FlowLog")


@rule(
    "aws:ec2/vpc:Vpc",
    message="the default security group is left as AWS makes it: add an aws.ec2.DefaultSecurityGroup without rules",
    fix="Take over the default group of the VPC and empty it.",
    severity="medium",
    standard="AWS FSBP EC2.2",
    stack=True,
)
def vpc_default_sg_managed(_: Props, context: Context) -> Found:
    """The default security group of a VPC is under control."""
    return not context.stack.referring(
        "vpcId", context.resource, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
    )


@rule(
    "aws:ec2/subnet:Subnet",
    message="machines get public addresses by themselves: set mapPublicIpOnLaunch to false",
    fix="Leave map_public_ip_on_launch off; load balancers and NAT gateways bring their own addresses.",
    severity="medium",
    standard="AWS FSBP EC2.15",
)
def subnet_no_public_addresses(subnet: Props, _: Context) -> Found:
    """No machine gets a public address by default."""
    return subnet.get("mapPublicIpOnLaunch") is True


def _annotations(props: Props) -> Props:
    return (props.get("metadata") or {}).get("annotations") or {}


def exposed(resource: Resource) -> bool:
    """Whether a Service, Ingress or route can be reached from outside the cluster's network."""
    notes = _annotations(resource.props)
    if resource.kind == "Service":
        kind = (resource.props.get("spec") or {}).get("type")
        internal = (
            notes.get(SCHEME) == "internal"
            or notes.get("service.beta.kubernetes.io/aws-load-balancer-internal") == "true"
        )
        return kind == "NodePort" or (kind == "LoadBalancer" and not internal)
    return notes.get("alb.ingress.kubernetes.io/scheme") != "internal"


@rule(
    SERVICE,
    message="the load balancer faces the internet: use an Ingress with TLS, or annotate the scheme as internal",
    fix=f"Make the Service a ClusterIP behind an Ingress, or set the annotation {SCHEME}: internal.",
    severity="high",
)
def service_not_public(_: Props, context: Context) -> Found:
    """No Service opens a load balancer to the internet."""
    service = context.resource
    return (service.props.get("spec") or {}).get("type") == "LoadBalancer" and exposed(service)


@rule(
    INGRESS,
    message="requests travel in the clear: set spec.tls, or the annotation alb.ingress.kubernetes.io/certificate-arn",
    fix="Terminate TLS at the load balancer with an ACM certificate and redirect port 80.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.5",
)
def ingress_tls(ingress: Props, _: Context) -> Found:
    """Requests from outside are encrypted."""
    tls = (ingress.get("spec") or {}).get("tls")
    return not (tls or _annotations(ingress).get("alb.ingress.kubernetes.io/certificate-arn"))


@rule(
    "kubernetes:core/*:Namespace",
    message="no NetworkPolicy denies by default here: add one with an empty podSelector and policyTypes Ingress and Egress",
    fix="Add a default-deny NetworkPolicy, then one that allows each flow that is needed.",
    severity="high",
    standard="CIS EKS 1.7.0 4.3.2",
    stack=True,
    params={
        "exempt": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["kube-system"],
            "description": "namespaces of others' software, whose flows are not ours to state",
        }
    },
)
def namespace_denies_by_default(namespace: Props, context: Context) -> Found:
    """Pods of a namespace talk to nobody unless a policy allows it."""
    name = (namespace.get("metadata") or {}).get("name") or context.resource.name
    return name not in list(context.params["exempt"]) and not any(
        namespace_of(policy.props) == name and _denies_all(policy.props.get("spec") or {})
        for policy in context.stack.of("kubernetes:networking.k8s.io/*:NetworkPolicy")
    )


def _denies_all(spec: Props) -> bool:
    selector = spec.get("podSelector") or {}
    everyone = not (selector.get("matchLabels") or selector.get("matchExpressions"))
    opened = any(
        not each for key in ("ingress", "egress") for each in spec.get(key) or ()
    )  # an empty rule allows everything
    return everyone and set(spec.get("policyTypes") or ()) == {"Ingress", "Egress"} and not opened


def backend_ports(resource: Resource, stack: Stack) -> Iterator[int | str]:
    """Every port, by number or by name, that a Service, Ingress or HTTPRoute leads to, through the stack's own Services too."""
    spec = resource.props.get("spec") or {}
    if resource.kind == "Service":
        for port in spec.get("ports") or ():
            yield from _names(port)
        return
    for service, port in _backends(resource.kind, spec):
        yield port
        for each in stack.of(SERVICE):
            metadata = each.props.get("metadata") or {}
            if metadata.get("name") == service and namespace_of(each.props) == namespace_of(
                resource.props
            ):
                for entry in (each.props.get("spec") or {}).get("ports") or ():
                    if port in (entry.get("port"), entry.get("name")):
                        yield from _names(entry)


def _names(port: Props) -> Iterator[int | str]:
    yield from (port[key] for key in ("port", "targetPort", "name") if port.get(key) is not None)


def _backends(kind: str, spec: Props) -> Iterator[tuple[str | None, int | str]]:
    """(Service, port number or name) of each backend of an Ingress or HTTPRoute."""
    if kind == "Ingress":
        backends = [spec.get("defaultBackend") or {}]
        for each in spec.get("rules") or ():
            backends += [
                path.get("backend") or {} for path in (each.get("http") or {}).get("paths") or ()
            ]
        for backend in backends:
            service = backend.get("service") or {}
            yield from (
                (service.get("name"), port) for port in (service.get("port") or {}).values()
            )
    else:
        for each in spec.get("rules") or ():
            yield from (
                (ref.get("name"), ref["port"])
                for ref in each.get("backendRefs") or ()
                if ref.get("port") is not None
            )
