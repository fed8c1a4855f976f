"""Pulumi's state in the bucket and under the key that `python -m infra.state` makes, in moto."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest

from infra import state
from infra.tags import Tags
from tests.engine.home import DEADLINE_S, Engine
from tests.engine.run import Run
from tests.engine.stacks import APPLY, UNWATCHED, configure
from tests.infra.recorded import CANARY, SECRETS
from tests.infra.shapes import REGION

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read

BUCKET = "vigil-state-111122223333"
STATE = ".pulumi/stacks/vigil/local.json"


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """A moto server of this module's own; the variables that lead there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    there = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in there.items():
            patch.setenv(key, value)
        yield there
    server.stop()


@pytest.fixture(scope="module")
def stored(engine: Engine, aws: dict[str, str]) -> tuple[Engine, Run]:
    """The stack `local` there, by README's commands, and its first update."""
    made = state.bootstrap(BUCKET, REGION, Tags("shared", "platform", "1000"))
    # This server speaks no TLS, and the policy of the bucket refuses whoever comes without.
    boto3.client("s3", region_name=REGION).delete_bucket_policy(Bucket=BUCKET)
    env = {key: value for key, value in engine.env.items() if key != "PULUMI_BACKEND_URL"}
    there = replace(engine, env={**env, **aws})
    # AWS finds a bucket by the name of its host; a server at an address finds it in the path.
    there.must("login", f"{made.login}&s3ForcePathStyle=true")
    there.must("stack", "init", "local", "--secrets-provider", made.secrets_provider)
    configure(there, "local", UNWATCHED)
    pairs = [part for key, one in SECRETS.items() for part in ("--secret", f"vigil:{key}={one}")]
    there.must("config", "set-all", "--stack", "local", *pairs)
    return there, there.must("up", "--stack", "local", *APPLY)


def test_the_state_lies_in_the_bucket_and_its_secrets_under_the_key(
    stored: tuple[Engine, Run],
) -> None:
    s3 = boto3.client("s3", region_name=REGION)
    body = s3.get_object(Bucket=BUCKET, Key=STATE)["Body"].read().decode()
    assert f"awskms://{state.KEY_ALIAS}" in body
    assert "kubernetes:ray.io/v1:RayService" in body
    assert CANARY not in body
    own = (stored[0].project / "Pulumi.local.yaml").read_text()
    assert "encryptedkey" in own
    assert CANARY not in own


def test_the_lock_is_given_back_and_the_next_preview_changes_nothing(
    stored: tuple[Engine, Run],
) -> None:
    s3 = boto3.client("s3", region_name=REGION)
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix=state.STATE_LOCKS)["KeyCount"] == 0
    again = stored[0].must("preview", "--stack", "local", "--expect-no-changes")
    assert again.changes == {}
