"""IAM, KMS and Secrets Manager."""

from __future__ import annotations

from policies.documents import any_principal, condition, listed, statements
from policies.rule import Context, Found, Props, Resource, Subjects, rule

ROLE = "aws:iam/role:Role"
POLICIES = (
    "aws:iam/policy:Policy",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/userPolicy:UserPolicy",
    "aws:iam/groupPolicy:GroupPolicy",
    ROLE,
)
KEY = "aws:kms/key:Key"
GITHUB = "token.actions.githubusercontent.com"
DECRYPTING = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:*", "*")


def documents(resource: Resource) -> Subjects:
    """(place, props that hold a policy): the resource itself, or the inline policies of a role."""
    if resource.type != ROLE:
        yield "", resource.props
        return
    for inline in resource.props.get("inlinePolicies") or ():
        yield f"inline policy {inline.get('name')}", inline


def _allowed(policy: Props) -> list[Props]:
    return [
        statement
        for statement in statements(policy.get("policy"))
        if statement["Effect"] == "Allow"
    ]


@rule(
    *POLICIES,
    each=documents,
    message="it allows every action on everything: list the actions and resources that the workload needs",
    fix="Write the policy from what the workload calls; IAM Access Analyzer can propose it.",
    severity="critical",
    standard="AWS FSBP IAM.1",
)
def iam_no_admin(policy: Props, _: Context) -> Found:
    """No policy allows everything."""
    return any(
        "*" in listed(each.get("Action")) and "*" in listed(each.get("Resource"))
        for each in _allowed(policy)
    )


@rule(
    *POLICIES,
    each=documents,
    message="{} allows every action of a service: list the actions",
    fix="Replace service:* by the actions that are called.",
    severity="high",
    standard="AWS FSBP IAM.21",
)
def iam_no_service_wildcard(policy: Props, _: Context) -> Found:
    """No policy allows all actions of a service."""
    actions = [action for each in _allowed(policy) for action in listed(each.get("Action"))]
    return ", ".join(sorted({action for action in actions if action.endswith(":*")}))


@rule(
    *POLICIES,
    each=documents,
    message="{} is allowed on every resource: name the ARNs, or add a condition",
    fix="Restrict Resource to the buckets, streams and keys of this stack.",
    severity="high",
    params={
        "readers": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["Describe", "List", "Get", "BatchGet"],
            "description": "verbs that may be allowed on every resource, of services in `open`",
        },
        "open": {
            "type": "array",
            "items": {"type": "string"},
            "default": [
                *[
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
                ]
            ],
            "description": "services in which those verbs have no narrower resource, or show no data",
        },
    },
)
def iam_no_data_wildcard(policy: Props, context: Context) -> Found:
    """No policy allows reading data, or changing anything, everywhere."""
    readers, services = tuple(context.params["readers"]), list(context.params["open"])
    wrong = set()
    for each in _allowed(policy):
        if "*" not in listed(each.get("Resource")) or each.get("Condition"):
            continue
        for action in listed(each.get("Action")):
            service, _, verb = action.partition(":")
            if action != "*" and not (service in services and verb.startswith(readers)):
                wrong.add(action)
    return ", ".join(sorted(wrong))


@rule(
    *POLICIES,
    each=documents,
    message="it may decrypt with every key: name the key's ARN",
    fix="Put the ARN of the key into Resource.",
    severity="high",
    standard=("AWS FSBP KMS.1", "AWS FSBP KMS.2"),
)
def iam_no_decrypt_everywhere(policy: Props, _: Context) -> Found:
    """No policy decrypts with every key of the account."""
    return any(
        any(action in DECRYPTING for action in listed(each.get("Action")))
        and any(
            resource == "*" or resource.endswith(":key/*")
            for resource in listed(each.get("Resource"))
        )
        and not each.get("Condition")
        for each in _allowed(policy)
    )


@rule(
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/policyAttachment:PolicyAttachment",
    message="{} is attached: write a policy with the actions that are needed, or set the role's permissionsBoundary",
    fix="Replace the managed policy by one of your own; a role that provisions gets a permissions boundary.",
    severity="high",
    standard="AWS FSBP IAM.1",
    stack=True,
    params={
        "endings": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["AdministratorAccess", "PowerUserAccess", "FullAccess", "IAMFullAccess"],
            "description": "endings of names of managed policies that are too wide",
        }
    },
)
def iam_no_wide_managed_policy(attachment: Props, context: Context) -> Found:
    """No managed policy with full access is attached to a role without a boundary."""
    name = str(attachment.get("policyArn")).rsplit("/", 1)[-1]
    if not name.endswith(tuple(context.params["endings"])):
        return None
    roles = [role for role in context.stack.of(ROLE) if context.resource.refers("role", role)]
    bounded = any(
        role.links.get("permissionsBoundary") or role.props.get("permissionsBoundary")
        for role in roles
    )
    return None if bounded else name


@rule(
    "aws:iam/user:User",
    "aws:iam/accessKey:AccessKey",
    message="it makes long-lived credentials: use a role (Pod Identity for pods, OIDC for CI, Identity Center for people)",
    fix="Delete the user; let the program assume a role.",
    severity="high",
)
def iam_no_users(_: Props, __: Context) -> Found:
    """No IAM users and no access keys are made."""
    return True


@rule(
    ROLE,
    message="anyone may assume the role: name the principals in assumeRolePolicy",
    fix="Name the service or the ARNs that assume the role.",
    severity="critical",
)
def iam_trust_named(role: Props, _: Context) -> Found:
    """A role says who may assume it."""
    return any(
        each["Effect"] == "Allow" and any_principal(each)
        for each in statements(role.get("assumeRolePolicy"))
    )


@rule(
    ROLE,
    message="{}: pin aud and sub with StringEquals to the repository and its environment or branch",
    fix=f'Set StringEquals {GITHUB}:aud "sts.amazonaws.com" and {GITHUB}:sub "repo:OWNER/NAME:environment:ENV".',
    severity="critical",
)
def oidc_trust_pinned(role: Props, _: Context) -> Found:
    """A role for GitHub Actions is bound to one repository and one environment."""
    for each in statements(role.get("assumeRolePolicy")):
        federated = (
            listed((each.get("Principal") or {}).get("Federated"))
            if not any_principal(each)
            else []
        )
        if not any(GITHUB in str(provider) for provider in federated):
            continue
        subjects = condition(each, "StringEquals", f"{GITHUB}:sub")
        if condition(each, "StringEquals", f"{GITHUB}:aud") != ["sts.amazonaws.com"]:
            return "the audience is not pinned"
        if not subjects or any("*" in subject or subject.count(":") < 2 for subject in subjects):
            return "the subject is not pinned"
    return None


@rule(
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    message="{} uses the same role: give each workload a role of its own",
    fix="Make one least-privilege role per service account.",
    severity="medium",
    standard="CIS EKS 1.7.0 5.2.1",
    stack=True,
)
def pod_role_not_shared(association: Props, context: Context) -> Found:
    """Each workload has an IAM role of its own."""
    mine = context.resource
    links = set(mine.links.get("roleArn") or ())
    arn = None if links else association.get("roleArn")
    for other in context.stack.of("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        if other.urn == mine.urn:
            continue
        theirs = set(other.links.get("roleArn") or ())
        if (links & theirs) if links else (not theirs and other.props["roleArn"] == arn):
            return f"{other.props['namespace']}/{other.props['serviceAccount']}"
    return None


@rule(
    KEY,
    message="the key never changes: set enableKeyRotation to true",
    fix="Set enable_key_rotation=True.",
    severity="medium",
    standard="AWS Security Hub KMS.4",
)
def kms_rotated(key: Props, _: Context) -> Found:
    """A key is rotated every year."""
    symmetric = (key.get("customerMasterKeySpec") or "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT"
    encrypts = (key.get("keyUsage") or "ENCRYPT_DECRYPT") == "ENCRYPT_DECRYPT"
    return symmetric and encrypts and key.get("enableKeyRotation") is not True


@rule(
    KEY,
    message="the key policy lets everyone use the key: name the principals, or add a condition on the account",
    fix="Replace Principal * by the account's root or the roles that need the key.",
    severity="critical",
    standard="AWS FSBP KMS.5",
)
def kms_not_public(key: Props, _: Context) -> Found:
    """Nobody outside the account may use a key."""
    document = key.get("policy")
    return any(
        each["Effect"] == "Allow" and any_principal(each) and not each.get("Condition")
        for each in statements(document)
    )


@rule(
    KEY,
    message="the key, and all that it encrypts, is gone after {} days: set deletionWindowInDays to the required number or more",
    fix="Set deletion_window_in_days to 30.",
    severity="medium",
    standard="AWS FSBP KMS.3",
    params={
        "days": {
            "type": "integer",
            "minimum": 7,
            "maximum": 30,
            "default": 30,
            "description": "days before a key is gone",
        }
    },
)
def kms_deleted_slowly(key: Props, context: Context) -> Found:
    """The deletion of a key can be stopped for long enough."""
    days = int(key.get("deletionWindowInDays") or 30)
    return str(days) if days < context.params["days"] else None


@rule(
    "aws:secretsmanager/secret:Secret",
    message="a deleted secret is gone at once: set recoveryWindowInDays to 7 or more",
    fix="Leave recovery_window_in_days at its default of 30.",
    severity="medium",
)
def secret_recoverable(secret: Props, _: Context) -> Found:
    """A deleted secret can be brought back."""
    days = secret.get("recoveryWindowInDays")
    return days is not None and int(days) < 7
