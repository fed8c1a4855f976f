"""IAM, KMS and Secrets Manager."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from policies.checks import below
from policies.documents import PolicyStatement, as_list, statements
from policies.params import integer, strings
from policies.resource_types import AWS_SECRETS, IAM_POLICY, IAM_ROLE, KMS_KEY
from policies.rule import Violation, rule
from policies.subjects import Context, Props, Resource, Subjects, is_default, list_at

_POLICY_TYPES = (
    IAM_POLICY,
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    IAM_ROLE,
)
_POD_IDENTITY = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
_GITHUB_ISSUER = "token.actions.githubusercontent.com"
_DECRYPTING = frozenset({"kms:Decrypt", "kms:ReEncryptFrom", "kms:*", "*"})


def each_policy(resource: Resource) -> Subjects:
    """Yield (place, props that hold a policy): the resource, or the inline policies of a role."""
    if resource.type != IAM_ROLE:
        yield "", resource.props
        return
    for inline in list_at(resource.props, "inlinePolicies"):
        yield f"inline policy {inline.get('name')}", inline


def _allowed_actions(policy: Props) -> Iterator[str]:
    return chain.from_iterable(statement.actions for statement in _allowing(policy))


def _allowing(policy: Props) -> list[PolicyStatement]:
    return [statement for statement in statements(policy.get("policy")) if statement.allows]


@rule(
    *_POLICY_TYPES,
    each=each_policy,
    message="it allows every action on everything: list the actions and resources that the workload"
    " needs",
    fix="Write the policy from what the workload calls; IAM Access Analyzer can propose it.",
    severity="critical",
    standard="AWS FSBP IAM.1",
)
def iam_no_admin(policy: Props, _: Context) -> Violation:
    """No policy allows everything."""
    return any("*" in each.actions and "*" in each.resources for each in _allowing(policy))


@rule(
    *_POLICY_TYPES,
    each=each_policy,
    message="{} allows every action of a service: list the actions",
    fix="Replace service:* by the actions that are called.",
    severity="high",
    standard="AWS FSBP IAM.21",
)
def iam_no_service_wildcard(policy: Props, _: Context) -> Violation:
    """No policy allows all actions of a service."""
    wildcards = {action for action in _allowed_actions(policy) if action.endswith(":*")}
    return ", ".join(sorted(wildcards))


@rule(
    *_POLICY_TYPES,
    each=each_policy,
    message="{} is allowed on every resource: name the ARNs, or add a condition",
    fix="Restrict Resource to the buckets, streams and keys of this stack.",
    severity="high",
    params={
        "readers": strings(
            "verbs that may be allowed on every resource, of services in `open`",
            ["Describe", "List", "Get", "BatchGet"],
        ),
        "open": strings(
            "services in which those verbs have no narrower resource, or show no data",
            [
                "ec2",
                "eks",
                "ecr",
                "elasticfilesystem",
                "elasticloadbalancing",
                "acm",
                "cloudwatch",
                "pricing",
                "sts",
                "iam",
            ],
        ),
    },
)
def iam_no_data_wildcard(policy: Props, context: Context) -> Violation:
    """No policy allows reading data, or changing anything, everywhere."""
    actions: set[str] = set()
    for statement in _allowing(policy):
        if "*" in statement.resources and not statement.has_condition:
            actions.update(statement.actions)
    wrong = {action for action in actions if not _may_be_open(action, context.params)}
    return ", ".join(sorted(wrong))


def _may_be_open(action: str, params: Props) -> bool:
    if action == "*":  # iam-no-admin speaks of it
        return True
    service, _, verb = action.partition(":")
    return service in list(params["open"]) and verb.startswith(tuple(params["readers"]))


@rule(
    *_POLICY_TYPES,
    each=each_policy,
    message="it may decrypt with every key: name the key's ARN",
    fix="Put the ARN of the key into Resource.",
    severity="high",
    standard=("AWS FSBP KMS.1", "AWS FSBP KMS.2"),
)
def iam_no_decrypt_everywhere(policy: Props, _: Context) -> Violation:
    """No policy decrypts with every key of the account."""
    return any(map(_decrypts_with_every_key, _allowing(policy)))


def _decrypts_with_every_key(statement: PolicyStatement) -> bool:
    decrypts = not _DECRYPTING.isdisjoint(statement.actions)
    names_every_key = any(x == "*" or x.endswith(":key/*") for x in statement.resources)
    return decrypts and names_every_key and not statement.has_condition


@rule(
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/policyAttachment:PolicyAttachment",
    message="{} is attached: write a policy with the actions that are needed, or set the role's"
    " permissionsBoundary",
    fix="Replace the managed policy by one of your own; a role that provisions gets a permissions"
    " boundary.",
    severity="high",
    standard="AWS FSBP IAM.1",
    stack=True,
    params={
        "endings": strings(
            "endings of names of managed policies that are too wide",
            ["AdministratorAccess", "PowerUserAccess", "FullAccess", "IAMFullAccess"],
        )
    },
)
def iam_no_wide_managed_policy(attachment: Props, context: Context) -> Violation:
    """No managed policy with full access is attached to a role without a boundary."""
    name = str(attachment.get("policyArn")).rsplit("/", 1)[-1]
    if not name.endswith(tuple(context.params["endings"])):
        return None
    roles = [role for role in context.stack.of(IAM_ROLE) if context.resource.refers("role", role)]
    return None if any(role.sets("permissionsBoundary") for role in roles) else name


@rule(
    "aws:iam/user:User",
    "aws:iam/accessKey:AccessKey",
    message="it makes long-lived credentials: use a role (Pod Identity for pods, OIDC for CI,"
    " Identity Center for people)",
    fix="Delete the user; let the program assume a role.",
    severity="high",
)
def iam_no_users(_: Props, __: Context) -> Violation:
    """No IAM users and no access keys are made."""
    return True


@rule(
    IAM_ROLE,
    message="anyone may assume the role: name the principals in assumeRolePolicy",
    fix="Name the service or the ARNs that assume the role.",
    severity="critical",
)
def iam_trust_named(role: Props, _: Context) -> Violation:
    """A role says who may assume it."""
    return any(each.allows_everyone for each in statements(role.get("assumeRolePolicy")))


@rule(
    IAM_ROLE,
    message="{}: pin aud and sub with StringEquals to the repository and its environment or branch",
    fix=f'Set StringEquals {_GITHUB_ISSUER}:aud "sts.amazonaws.com" and {_GITHUB_ISSUER}:sub'
    ' "repo:OWNER/NAME:environment:ENV".',
    severity="critical",
)
def oidc_trust_pinned(role: Props, _: Context) -> Violation:
    """A role for GitHub Actions is bound to one repository and one environment."""
    trusting = statements(role.get("assumeRolePolicy"))
    loose = (_loose_claim(statement) for statement in trusting if _trusts_github(statement))
    return next((f"the {claim} is not pinned" for claim in loose if claim), None)


def _trusts_github(statement: PolicyStatement) -> bool:
    if statement.is_for_everyone:  # iam-trust-named speaks of it
        return False
    providers = as_list((statement.props.get("Principal") or {}).get("Federated"))
    return any(_GITHUB_ISSUER in str(provider) for provider in providers)


def _loose_claim(statement: PolicyStatement) -> str | None:
    """Return the claim of GitHub's token that the trust does not pin."""
    subjects = statement.condition("StringEquals", f"{_GITHUB_ISSUER}:sub")
    audience = statement.condition("StringEquals", f"{_GITHUB_ISSUER}:aud")
    if audience != ["sts.amazonaws.com"]:
        return "audience"
    return None if subjects and all(map(_is_exact, subjects)) else "subject"


def _is_exact(subject: str) -> bool:
    return "*" not in subject and subject.count(":") >= 2


@rule(
    _POD_IDENTITY,
    message="{} uses the same role: give each workload a role of its own",
    fix="Make one least-privilege role per service account.",
    severity="medium",
    standard="CIS EKS 1.7.0 5.2.1",
    stack=True,
)
def pod_role_not_shared(_: Props, context: Context) -> Violation:
    """Each workload has an IAM role of its own."""
    associations = context.stack.of(_POD_IDENTITY)
    others = [other for other in associations if other.urn != context.resource.urn]
    for other in others:
        if _has_same_role(context.resource, other):
            return f"{other.props['namespace']}/{other.props['serviceAccount']}"
    return None


def _has_same_role(association: Resource, other: Resource) -> bool:
    links = association.links.get("roleArn")
    other_links = other.links.get("roleArn")
    if links or other_links:
        return not set(links or ()).isdisjoint(other_links or ())
    return association.props.get("roleArn") == other.props["roleArn"]


@rule(
    KMS_KEY,
    message="the key never changes: set enableKeyRotation to true",
    fix="Set enable_key_rotation=True.",
    severity="medium",
    standard="AWS Security Hub KMS.4",
)
def kms_rotated(key: Props, _: Context) -> Violation:
    """A key is rotated every year."""
    return (
        is_default(key, "customerMasterKeySpec", "SYMMETRIC_DEFAULT")
        and is_default(key, "keyUsage", "ENCRYPT_DECRYPT")
        and key.get("enableKeyRotation") is not True
    )


@rule(
    KMS_KEY,
    message="the key policy lets everyone use the key: name the principals, or add a condition on"
    " the account",
    fix="Replace Principal * by the account's root or the roles that need the key.",
    severity="critical",
    standard="AWS FSBP KMS.5",
)
def kms_not_public(key: Props, _: Context) -> Violation:
    """Nobody outside the account may use a key."""
    return any(statement.is_public for statement in statements(key.get("policy")))


@rule(
    KMS_KEY,
    message="the key, and all that it encrypts, is gone after {} days: set deletionWindowInDays to"
    " the required number or more",
    fix="Set deletion_window_in_days to 30.",
    severity="medium",
    standard="AWS FSBP KMS.3",
    params={
        "days": integer(
            "days before a key is gone",
            30,
            minimum=7,
            maximum=30,
        )
    },
)
def kms_deleted_slowly(key: Props, context: Context) -> Violation:
    """The deletion of a key can be stopped for long enough."""
    days = int(key.get("deletionWindowInDays") or 30)
    return below(days, context.params["days"])


@rule(
    AWS_SECRETS,
    message="a deleted secret is gone at once: set recoveryWindowInDays to 7 or more",
    fix="Leave recovery_window_in_days at its default of 30.",
    severity="medium",
)
def secret_recoverable(secret: Props, _: Context) -> Violation:
    """A deleted secret can be brought back."""
    days = secret.get("recoveryWindowInDays")
    return days is not None and int(days) < 7
