"""What a stack says of the rooms reaches the process that reads it.

Every field, by its declaration alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import SecretStr
from pydantic.alias_generators import to_camel

from drift.settings import DriftSettings
from infra.doctor import compare_renderings
from infra.fields import ROOM_SETTINGS
from infra.manifests import ray
from infra.manifests.bindings import Bindings
from infra.settings import PlatformSettings, settings_from
from infra.stack_keys import ROOM_SECRETS
from serve.applications import ray_process_environment
from serve.settings import ServeSettings
from tests.infra.test_platform_settings import KUBERNETES
from train.settings import TrainSettings
from vigil.errors import BadSettings
from vigil.room_settings import LIVE_EFFECTS, Effect, RoomSettings

FIELDS = [
    pytest.param(cls, name, id=cls.key(name))
    for cls in ROOM_SETTINGS.values()
    for name in cls.model_fields
    if not cls.is_internal(name) and not cls.is_secret(name)
]
# What the values of texts may have to look like; the first that a field takes is used.
TEXTS = (
    "https://a.example.com",
    "acme/vigil",
    "file:/var/lib/vigil/x",
    "postgresql://vigil@db.example.com/vigil",
    "5:60,25:60",
    "JSON",
)
# A stack with everything in it that reads a setting; a value is changed from this.
BASE: dict[str, Any] = {
    **KUBERNETES,
    "minWorkers": 1,
    "replicasPerWorker": 4,
    "serve": {"streamSource": "file:/a"},
}


def test_few_fields_are_the_platforms_own() -> None:
    internal = {
        name for cls in ROOM_SETTINGS.values() for name in cls.model_fields if cls.is_internal(name)
    }
    assert len(internal) <= 5, internal


def test_a_default_is_declared_once_and_infrastructure_is_apart() -> None:
    own = PlatformSettings.model_fields.keys() - ROOM_SETTINGS.keys()
    both = {name for cls in ROOM_SETTINGS.values() for name in own & cls.model_fields.keys()}
    assert both == {
        "github_repository"
    }  # whose workflows apply the stack, and whose retrain: two things


def candidates(cls: type[RoomSettings], name: str) -> Iterator[Any]:
    """Values of the field's type, as a stack file has them, that are not the default."""
    field = cls.model_fields[name]
    kind, default = field.annotation, field.default
    kinds = [
        one
        for one in (get_args(kind) if type(None) in get_args(kind) else (kind,))
        if one is not type(None)
    ]
    if get_origin(kind) is Literal:
        yield from (one for one in get_args(kind) if one != default)
    elif bool in kinds:
        yield not default
    elif int in kinds:
        yield from (
            value for value in ((default or 0) + 1, (default or 0) - 1, 429) if value != default
        )
    elif float in kinds:
        values = ((default or 1) * 1.5, (default or 1) / 2, ((default or 0) + 1) / 2)
        yield from (value for value in values if value != default)
    elif Path in kinds:
        yield "/var/lib/vigil/other"
    elif get_origin(kind) is dict:
        yield from ({"Grafana": "https://grafana.example.com"}, {"cpu": 0.5}, {"cpu": "up"})
    else:
        yield from (text for text in TEXTS if text != default)


def stack_with(cls: type[RoomSettings], values: dict[str, Any]) -> PlatformSettings:
    """A stack that says so; a field that other rooms have too must be the same in all of them."""
    told = {room: dict(BASE.get(room, {})) for room in ROOM_SETTINGS}
    for name, value in values.items():
        rooms = (
            [one for one in ROOM_SETTINGS.values() if name in one.model_fields]
            if name == "model_name"
            else [cls]
        )
        for room in rooms:
            told[room.room][to_camel(name)] = value
    return settings_from("test", {**BASE, **told})


def changed(cls: type[RoomSettings], name: str) -> tuple[PlatformSettings, dict[str, Any]]:
    """A stack in which the field has another value, and all values that were changed.

    These are more than one where the field may not change alone.
    """
    for value in candidates(cls, name):
        alone = {name: value}
        others = [
            other for other in cls.names(*Effect) if other != name and not cls.is_internal(other)
        ]
        pairs = (
            {**alone, other: more}
            for other in others
            for more in itertools.islice(candidates(cls, other), 2)
        )
        for values in itertools.chain([alone], pairs):
            try:
                return stack_with(cls, values), values
            except BadSettings:
                continue
    raise AssertionError(f"no other value of {cls.key(name)} is valid")


def ray_files(settings: PlatformSettings) -> dict[str, str]:
    """The rendered objects of the Ray clusters."""
    made = ray.ray_manifests(settings, Bindings())
    return {
        f"ray/{place}.yaml": yaml.dump(one, Dumper=yaml.CSafeDumper)
        for place, one in enumerate(made)
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return ray_files(settings_from("test", BASE))


def objects(files: dict[str, str], kind: str) -> list[Any]:
    parsed = [yaml.safe_load(text) for path, text in files.items() if path.endswith(".yaml")]
    return [one for one in parsed if one["kind"] == kind]


def pod_environment(cluster: dict[str, Any]) -> dict[str, str]:
    (container,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def applications(files: dict[str, str]) -> dict[str, Any]:
    (service,) = objects(files, "RayService")
    return {
        one["name"]: one for one in yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    }


def read_back(
    cls: type[RoomSettings],
    name: str,
    files: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Any:
    """The value that the process which reads the field has: as its own code reads it."""
    if cls is TrainSettings:
        (cluster,), (config,) = (
            objects(files, "RayCluster"),
            [one for one in objects(files, "ConfigMap") if one["metadata"]["name"] == "settings"],
        )
        for variable, value in pod_environment(cluster["spec"]).items():
            monkeypatch.setenv(variable, value)
        file = tmp_path / "vigil.yaml"
        file.write_text(config["data"]["vigil.yaml"])
        monkeypatch.setenv("VIGIL_CONFIG", str(file))
        return getattr(TrainSettings(), name)
    application = {"serve": "stream" if name.startswith("stream_") else "vigil", "drift": "drift"}[
        cls.room
    ]
    found = applications(files)[application]
    (deployment,) = found["deployments"]
    return getattr(
        cls.from_values(**found["args"]).with_live_values(deployment.get("user_config", {})), name
    )


@pytest.mark.parametrize(("cls", "name"), FIELDS)
def test_a_value_of_a_stack_reaches_the_process_that_reads_it(
    cls: type[RoomSettings],
    name: str,
    before: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    settings, values = changed(cls, name)
    files = ray_files(settings)
    found = read_back(cls, name, files, monkeypatch, tmp_path)
    assert json.loads(json.dumps(found, default=str)) == values[name]
    (service,) = objects(files, "RayService")
    if cls.effect_of(name) is Effect.SECOND_CLUSTER:
        environment = pod_environment(service["spec"]["rayClusterConfig"])
        assert ray_process_environment(settings.serve).items() <= environment.items()
    effects = {change.effect for change in compare_renderings(before, files)}
    assert cls.effect_of(name).value in effects
    if cls.effect_of(name) in LIVE_EFFECTS and len(values) == 1 and name != "model_name":
        assert effects <= {*LIVE_EFFECTS, "in place"}


@pytest.mark.parametrize("key", ROOM_SECRETS)
def test_a_secret_of_a_room_is_none_of_its_keys(key: str) -> None:
    cls, name = ROOM_SECRETS[key]
    assert cls.model_fields[name].annotation is SecretStr
    with pytest.raises(
        BadSettings,
        match=f"{cls.key(name)}: it is a secret: `pulumi config set --secret vigil:{key} VALUE`",
    ):
        settings_from("test", {**KUBERNETES, cls.room: {to_camel(name): "x"}})


def test_every_secret_of_a_room_has_a_key_of_the_stack() -> None:
    held = {(cls, name) for cls, name in ROOM_SECRETS.values()}
    assert held == {
        (cls, name)
        for cls in ROOM_SETTINGS.values()
        for name in cls.model_fields
        if cls.is_secret(name)
    }


GITHUB = {
    "drift": {
        "backend": "github",
        "githubRepository": "acme/vigil",
        "githubWorkflow": "train-model.yml",
    }
}


def test_the_github_backend_and_streams_are_switched_on_by_a_stack_alone() -> None:
    streams = {
        "streamSource": "kinesis:rows",
        "streamSinks": "kinesis:alerts",
        "streamDeadLetters": "file:/var/lib/vigil/dead",
    }
    files = ray_files(settings_from("test", {**KUBERNETES, **GITHUB, "serve": streams}))
    found = applications(files)
    drift = DriftSettings.from_values(**found["drift"]["args"]).with_live_values(
        found["drift"]["deployments"][0]["user_config"]
    )
    assert (drift.backend, drift.github_repository, drift.github_workflow) == (
        "github",
        "acme/vigil",
        "train-model.yml",
    )
    assert ServeSettings.from_values(**found["stream"]["args"]).stream_source == "kinesis:rows"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"minReplicas": 2}, "minReplicas: is vigil:serve.minReplicas now"),
        ({"maxReplicas": 2}, "maxReplicas: is vigil:serve.maxReplicas now"),
        ({"cpusPerReplica": "1.0"}, "cpusPerReplica: is vigil:serve.cpusPerReplica now"),
        ({"driftMode": "auto"}, "driftMode: is vigil:drift.mode now"),
        ({"oidcIssuer": "https://a"}, "oidcIssuer: is vigil:serve.oidcIssuer now"),
        ({"oidcAudience": "a"}, "oidcAudience: is vigil:serve.oidcAudience now"),
        ({"consoleLinks": []}, "consoleLinks: is vigil:serve.links now"),
        ({"serve": []}, r"serve = \[\]: it must be an object"),
        ({"drift": "auto"}, "drift = 'auto': it must be an object"),
        ({"train": 3}, "train = 3: it must be an object"),
        ({"serve": {"maxRow": 5}}, "serve.maxRow: no such key; did you mean serve.maxRows"),
        ({"serve": {"max_rows": 5}}, "serve.max_rows: no such key; did you mean serve.maxRows"),
        (
            {"serve": {"xyzzy": 5}},
            "serve.xyzzy: no such key; docs/settings.md lists the keys of serve",
        ),
        ({"drift": {"Mode": "auto"}}, "drift.Mode: no such key; did you mean drift.mode"),
        ({"train": {"trees": 5}}, "train.trees: no such key"),
        (
            {"serve": {"maxRows": 0}},
            "serve.maxRows = 0: Input should be greater than or equal to 1",
        ),
        ({"serve": {"maxRows": "many"}}, "serve.maxRows = 'many': Input should be a valid integer"),
        ({"serve": {"maxRows": 1.5}}, "serve.maxRows = 1.5: Input should be a valid integer"),
        (
            {"serve": {"shadowRate": 1.5}},
            "serve.shadowRate = 1.5: Input should be less than or equal to 1",
        ),
        ({"serve": {"overloadStatus": 200}}, "serve.overloadStatus = 200: must be 429 or 503"),
        (
            {"serve": {"auth": "on"}},
            "serve.auth = 'on': Input should be 'auto', 'required' or 'off'",
        ),
        (
            {"serve": {"logEncoding": "XML"}},
            "serve.logEncoding = 'XML': Input should be 'JSON' or 'TEXT'",
        ),
        ({"serve": {"links": ["a"]}}, "serve.links = .*: Input should be a valid dictionary"),
        (
            {"serve": {"oidcIssuer": "https://a"}},
            "serve: oidc_issuer and oidc_audience go together",
        ),
        (
            {"serve": {"oidcIssuer": "http://a.example", "oidcAudience": "b"}},
            "serve: http://a.example must begin with https://",
        ),
        ({"serve": {"port": 9000}}, "serve.port: the stack itself sets it"),
        ({"serve": {"home": "/x"}}, "serve.home: the stack itself sets it"),
        ({"train": {"trackingUri": "http://x"}}, "train.trackingUri: the stack itself sets it"),
        ({"drift": {"jobsUrl": "http://x"}}, "drift.jobsUrl: the stack itself sets it"),
        (
            {"drift": {"mode": "off"}},
            "drift.mode = 'off': Input should be 'observe', 'suggest' or 'auto'",
        ),
        ({"drift": {"alpha": 0}}, "drift.alpha = 0: Input should be greater than 0"),
        (
            {"drift": {"retrainRows": 10}},
            "drift.retrainRows = 10: Input should be greater than or equal to 100",
        ),
        (
            {"drift": {"backend": "jenkins"}},
            "drift.backend = 'jenkins': Input should be 'ray' or 'github'",
        ),
        ({"drift": {"backend": "github"}}, "drift: backend github needs githubRepository"),
        (
            {"train": {"nEstimators": 0}},
            "train.nEstimators = 0: Input should be greater than or equal to 1",
        ),
        (
            {"train": {"maxFeatures": 2}},
            "train.maxFeatures = 2: Input should be less than or equal to 1",
        ),
        ({"train": {"alertsPerDay": 5}}, "train: alerts_per_day and rows_per_day go together"),
        (
            {"train": {"labelGoal": "f1"}},
            "train.labelGoal = 'f1': Input should be 'f_beta' or 'precision_at_k'",
        ),
        ({"train": {"seed": None}}, "train.seed = None: Input should be a valid integer"),
        ({"train": {"modelName": "other"}}, "train.modelName = 'other': they must name one model"),
        ({"serve": {"minReplicas": 9}}, "serve.minReplicas: 9 is more than serve.maxReplicas, 4"),
        (
            {"serve": {"auth": "off"}, "ingress": "gateway", "hostname": "a.b"},
            "serve.auth = 'off': with ingress gateway anybody",
        ),
        (
            {"sharedFolder": False},
            "drift.stateUrl: without sharedFolder it must be in S3.*drift.capturedUrl: without",
        ),
        (
            {"sharedFolder": False, "serve": {"streamSource": "file:/a"}},
            "serve.streamSource .*: without sharedFolder",
        ),
        (
            {"upgradeStrategy": "NewClusterWithIncrementalUpgrade"},
            "upgradeStrategy: step by step requests are led by a Gateway alone: set ingress",
        ),
        (
            {
                "upgradeStrategy": "NewClusterWithIncrementalUpgrade",
                "upgradeStepPercent": 60,
                "upgradeSurgePercent": 50,
            },
            "upgradeStepPercent: 60 is more than upgradeSurgePercent, 50",
        ),
        (
            {"imageAdmission": "kyverno"},
            "githubRepository: needed with imageAdmission.*image: NAME@sha256:.* is needed",
        ),
        ({"minWorker": 1}, "minWorker: no such key; did you mean minWorkers"),
    ],
)
def test_a_wrong_stack_is_refused_by_key_value_and_what_is_allowed(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadSettings, match=complaint):
        settings_from("test", {**KUBERNETES, **change})


def test_all_mistakes_are_told_at_once() -> None:
    wrong = {
        "serve": {"maxRows": 0, "x": 1},
        "drift": {"alpha": 7},
        "train": {"seed": -1},
        "minWorkers": 0,
        "driftMode": "auto",
    }
    with pytest.raises(BadSettings) as refused:
        settings_from("test", {**KUBERNETES, **wrong})
    for key in ("serve.maxRows", "serve.x", "drift.alpha", "train.seed", "minWorkers", "driftMode"):
        assert key in refused.value.message
    assert len(refused.value.mistakes) == 6
