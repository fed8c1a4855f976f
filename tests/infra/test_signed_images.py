"""Where a stack asks for it, no image runs but Vigil's own by a digest that a workflow signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from infra.manifests.base import namespace_manifests
from infra.manifests.parts import Manifest, Manifests
from infra.manifests.signed_images import INCLUDED_LABEL, signed_image_manifests
from infra.settings import PlatformSettings
from tests.apiserver import Answer, ApiServer, needs_apiserver, running_apiserver
from tests.infra.recorded import ROOT
from tests.infra.rendered import SIGNED_IMAGE, settings_of
from tests.running import eventually

REPOSITORY = SIGNED_IMAGE.partition("@")[0]
CONTROLLERS = ("policy-controller", "kyverno")
WORKFLOW = "https://github.com/example/vigil/.github/workflows/build-deploy.yml"
ISSUER = "https://token.actions.githubusercontent.com"


def settings(controller: str, stack: str = "local") -> PlatformSettings:
    return settings_of(
        stack,
        image=SIGNED_IMAGE,
        image_admission=controller,
        github_repository="example/vigil",
        state_bucket="state",
    )


def only(objects: Manifests, kind: str) -> Manifest:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


def identities(controller: str) -> list[dict[str, str]]:
    objects = signed_image_manifests(settings(controller))
    if controller == "kyverno":
        (attestor,) = only(objects, "ImageValidatingPolicy")["spec"]["attestors"]
        return attestor["cosign"]["keyless"]["identities"]
    (authority,) = only(objects, "ClusterImagePolicy")["spec"]["authorities"]
    return authority["keyless"]["identities"]


def test_nothing_is_applied_unless_a_stack_asks_for_it() -> None:
    plain = settings_of("local")
    assert signed_image_manifests(plain) == []
    labels = [one["metadata"]["labels"] for one in namespace_manifests(plain)]
    assert not any(INCLUDED_LABEL.items() <= each.items() for each in labels)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_who_signs_is_the_workflow_that_builds_images_of_main_or_of_a_release(
    controller: str,
) -> None:
    main, tags = identities(controller)
    assert main == {"issuer": ISSUER, "subject": f"{WORKFLOW}@refs/heads/main"}
    assert tags["subjectRegExp"].endswith(r"build\-deploy\.yml@refs/tags/v[^/]+$")
    text = (ROOT / ".github/workflows/build-deploy.yml").read_text()
    assert "cosign sign --yes" in text
    assert "branches: [main]" in text
    assert "tags: [v*]" in text


def test_policy_controller_looks_at_vigils_namespaces_alone() -> None:
    labels = {
        one["metadata"]["name"]: INCLUDED_LABEL.items() <= one["metadata"]["labels"].items()
        for one in namespace_manifests(settings("policy-controller"))
    }
    assert labels == {"vigil": True, "vigil-tracking": True, "vigil-operators": False}
    policy = only(signed_image_manifests(settings("policy-controller")), "ClusterImagePolicy")
    assert policy["spec"]["images"] == [{"glob": f"{REPOSITORY}*"}]
    assert policy["spec"]["mode"] == "enforce"


def test_kyverno_fails_closed_and_logs_in_at_ecr_on_aws() -> None:
    for stack, credentials in (("dev", {"providers": ["amazon"]}), ("local", None)):
        objects = signed_image_manifests(settings("kyverno", stack))
        spec = only(objects, "ImageValidatingPolicy")["spec"]
        assert (spec["failurePolicy"], spec["validationActions"]) == ("Fail", ["Deny"])
        assert spec["validationConfigurations"]["verifyDigest"]
        assert spec.get("credentials") == credentials


def pod(namespace: str, image: str, **more: Any) -> Manifest:
    spec = {"containers": [{"name": "main", "image": image}], **more}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod", "namespace": namespace},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server with the policy about digests; controllers of images are none of it."""
    with running_apiserver(tmp_path_factory.mktemp("images")) as running:
        for name in ("vigil", "elsewhere"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            assert running.create(body).status == 201
        for one in signed_image_manifests(settings("kyverno"))[:2]:
            answer = running.create(one)
            assert answer.status == 201, answer.message
        eventually(lambda: refused(running.create(pod("vigil", "other:1"), dry=True)))
        yield running


def refused(answer: Answer) -> bool:
    return answer.status == 422 and "by its digest" in answer.message


@needs_apiserver
def test_a_real_api_server_refuses_what_is_not_vigils_image_by_its_digest(
    server: ApiServer,
) -> None:
    def ask(namespace: str, image: str, **more: Any) -> Answer:
        return server.create(pod(namespace, image, **more), dry=True)

    beside = [{"name": "beside", "image": "docker.io/library/busybox:1"}]
    assert not refused(ask("vigil", SIGNED_IMAGE))
    assert not refused(ask("elsewhere", "other:1"))
    for image in (
        f"{REPOSITORY}:0.1.0",
        f"{REPOSITORY}:0.1.0@sha256:{'0' * 64}",
        f"{REPOSITORY}-other@sha256:{'0' * 64}",
        f"evil.example/{SIGNED_IMAGE}",
        SIGNED_IMAGE[:-1],
    ):
        assert refused(ask("vigil", image)), image
    assert refused(ask("vigil", SIGNED_IMAGE, initContainers=beside))
