"""Files of a folder: each is judged, skipped for a reason, or broken, and nothing dies of one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.manifest_files import FileOutcome, read_manifests
from policies.yaml_documents import BadDocument, parse_json, parse_yaml
from tests.policies.manifest_folders import POD, PRIVILEGED, WITHOUT_KIND, outcome_of, report

# --- what is judged ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pod.yaml", yaml.safe_dump(PRIVILEGED)),
        ("pod.yml", yaml.safe_dump(PRIVILEGED)),
        ("POD.YAML", yaml.safe_dump(PRIVILEGED)),
        ("pod.json", json.dumps(PRIVILEGED)),
        ("list.yaml", yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [PRIVILEGED]})),
        ("list.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": [PRIVILEGED]})),
        ("pods.yaml", yaml.safe_dump({**POD, "kind": "PodList", "items": [PRIVILEGED]})),
        ("many.yaml", yaml.safe_dump_all([POD, PRIVILEGED, None])),
        ("commented.yaml", f"# a comment\n---\n---\n{yaml.safe_dump(PRIVILEGED)}---\n"),
    ],
)
def test_a_privileged_pod_is_found_however_it_is_written(
    tmp_path: Path, name: str, text: str
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / name).write_text(text)
    for path in (tmp_path, deep / name):
        result = report(path, "--env", "prod")
        assert result.exit_code == 1
        assert "container c: it is privileged" in result.stdout


def test_an_init_container_is_a_container(tmp_path: Path) -> None:
    image = f"r/x@sha256:{'0' * 64}"
    first = {"name": "i", "image": "b:latest", "securityContext": {"privileged": True}}
    spec = {"initContainers": [first], "containers": [{"name": "c", "image": image}]}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({**POD, "spec": spec}))
    assert "container i: it is privileged" in report(tmp_path, "--env", "prod").stdout


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mark_of_the_byte_order_is_read(tmp_path: Path, encoding: str) -> None:
    text = yaml.safe_dump(POD).replace("name: p", "name: é")
    assert outcome_of(tmp_path, text.encode(encoding)) == FileOutcome("a.yaml", "judged", 1)


def test_items_of_a_typed_list_have_its_kind(tmp_path: Path) -> None:
    item = {"metadata": {"name": "p"}, "spec": POD["spec"]}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**POD, "kind": "PodList", "items": [item]}))
    (found,) = read_manifests(tmp_path)[0]
    assert (found["kind"], found["apiVersion"]) == ("Pod", "v1")


def test_keys_that_are_merged_stand_once(tmp_path: Path) -> None:
    text = "n: &c {k: 1}\na: {n: &b {<<: *c, k: 2}}\nd: {<<: *b}\n"
    assert list(parse_yaml(text.encode())) == [{"n": {"k": 1}, "a": {"n": {"k": 2}}, "d": {"k": 2}}]


# --- what is skipped, and why ---


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("Chart.yaml", "apiVersion: v2\nname: x\nversion: 0.1.0\n", "of a Helm chart"),
        ("values.yaml", "replicaCount: 1\n", "of a Helm chart"),
        ("kustomization.yaml", "resources: [a.yaml]\n", "of kustomize"),
        (
            "k.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
            "no Kubernetes object",
        ),
        ("ci.yaml", "on: push\njobs: {}\n", "neither apiVersion nor kind"),
        ("list.yaml", "- 1\n", "but a list"),
        ("text.yaml", "just a sentence\n", "but a str"),
        ("number.json", "5", "but a int"),
        ("empty.yaml", "", "empty"),
        ("comment.yaml", "# nothing\n---\n", "empty"),
        ("README.md", "# read me", "neither YAML nor JSON"),
        (".hidden.yaml", yaml.safe_dump(POD), "hidden"),
    ],
)
def test_what_is_none_of_kubernetes_is_skipped_by_name_and_nothing_is_judged(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    outcome = outcome_of(tmp_path, text, name)
    assert (outcome.status, outcome.objects) == ("skipped", 0)
    assert reason in outcome.reason
    result = report(tmp_path)
    assert result.exit_code == 2
    assert "nothing was judged: of 1 files none holds an object" in result.stderr


def test_a_foreign_document_beside_an_object_is_told(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, yaml.safe_dump_all([POD, {"a": 1}]))
    assert (outcome.status, outcome.objects) == ("judged", 1)
    assert "neither apiVersion nor kind" in outcome.reason


def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    (folder / "a.yaml").write_text(yaml.safe_dump(POD))
    (folder / "again.yaml").symlink_to(folder / "a.yaml")
    (folder / "circle").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    objects, outcomes = read_manifests(tmp_path)
    assert len(objects) == 1
    skipped = {each.file: each.reason for each in outcomes if each.status == "skipped"}
    assert "read already" in skipped["link/again.yaml"]
    assert "read already" in skipped["link/circle"]
    assert "read already" in skipped["real"]


def test_a_mounted_config_map_is_made_of_links(tmp_path: Path) -> None:
    data = tmp_path / "data-1"
    data.mkdir()
    (data / "a.yaml").write_text(yaml.safe_dump(POD))
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(data)
    (mount / "a.yaml").symlink_to(mount / "..data" / "a.yaml")
    assert len(read_manifests(mount)[0]) == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (outcome,) = read_manifests(tmp_path)[1]
    assert (outcome.status, outcome.reason) == ("skipped", "no regular file")


# --- what is broken ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1\n", "no YAML"),
        ("metadata:\n  name: {{ .Release.Name }}\n", "a template"),
        ("{{- if .Values.on }}\nkind: Pod\n{{- end }}\n", "a template"),
        (b"a: \xe9\xe8\n", "no YAML"),
        ("a: \x00\n", "no YAML"),
        ("a: !Ref x\n", "no YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "no YAML"),
        ("a: 2001-99-99\n", "no YAML"),
        ("kind: Pod\nkind: Pod\n", "'kind' stands twice"),
        ("a: {b: 1, b: 2}\n", "'b' stands twice"),
        ("a: &a [*a]\n", "refers to what it stands in"),
        ("kind: Pod\n", "apiVersion is null"),
        (WITHOUT_KIND, "kind is null"),
        ("apiVersion: v1\nkind: 5\n", "kind is 5"),
        ("apiVersion: v1\nkind: Pod\nmetadata: [a]\n", "metadata of Pod is no object"),
        ("apiVersion: v1\nkind: Pod\nspec: yes\n", "spec of Pod is no object"),
        ("apiVersion: v1\nkind: List\nitems: {a: 1}\n", "are no list"),
        ("apiVersion: v1\nkind: List\nitems: [1]\n", "an item of its List"),
        ("apiVersion: v1\nkind: List\nitems: [{a: 1}]\n", "an item of its List"),
        ("- {apiVersion: v1, kind: Pod}\n", "in a bare list"),
        ("deployment: {resources: []}\n", "a state or a preview"),
    ],
)
def test_what_cannot_be_read_fails_and_says_why(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    outcome = outcome_of(tmp_path, text)
    assert outcome.status == "broken"
    assert reason in outcome.reason
    result = report(tmp_path)
    assert result.exit_code == 1
    assert "broken  a.yaml" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "no JSON"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": "\xe9"}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[" * 300 + b"]" * 300, "deeper than 200"),
    ],
)
def test_json_that_cannot_be_read_says_why(text: bytes, reason: str) -> None:
    with pytest.raises(BadDocument, match=reason):
        parse_json(text)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{a: " * 100_000, b"- " * 100_000])
def test_a_document_that_is_nested_too_deeply_ends_no_process(text: bytes) -> None:
    with pytest.raises(BadDocument, match="deeper than 200"):
        list(parse_yaml(text))


def test_aliases_that_make_a_gigabyte_of_a_few_lines_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        same = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{same}]")
    with pytest.raises(BadDocument, match="its aliases add"):
        list(parse_yaml("\n".join(lines).encode()))


def test_a_chain_of_aliases_is_as_deep_as_what_it_makes() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))]
    with pytest.raises(BadDocument, match="deeper than 200"):
        list(parse_yaml("\n".join(lines).encode()))


def test_a_file_of_no_sane_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(100 * 2**20)
    (outcome,) = read_manifests(tmp_path)[1]
    assert (outcome.status, outcome.reason) == ("broken", "larger than 64 MiB")


def test_a_name_that_is_no_unicode_can_be_told(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    (tmp_path / os.fsdecode(folder + b"/\xe9.yaml")).write_text("a: [1\n")
    assert "broken  ?.yaml" in report(tmp_path).stderr


def test_a_link_to_nothing_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
    (outcome,) = read_manifests(tmp_path)[1]
    assert outcome.status == "broken"
    assert "cannot be read: No such file" in outcome.reason


def test_what_stands_before_a_broken_document_is_judged_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{yaml.safe_dump(PRIVILEGED)}---\na: [1\n")
    result = report(tmp_path, "--env", "prod")
    assert result.exit_code == 1
    assert "container c: it is privileged" in result.stdout
    assert "broken  a.yaml 1 object" in result.stderr


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": "abc"},
        {"containers": [None]},
        {"containers": {"name": "c"}},
        {"containers": [{"name": "c", "image": "x", "env": [1]}]},
        {"containers": [{"name": "c", "securityContext": "yes"}]},
    ],
)
def test_an_object_of_no_possible_shape_fails_by_name(tmp_path: Path, spec: Any) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**POD, "spec": spec}))
    result = report(tmp_path, "--env", "prod", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["malformed"] > 0
    assert "a Pod is not of this shape" in result.stdout


# --- anything at all ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KEYS = ("apiVersion", "kind", "metadata", "spec", "items", "deployment", "steps")
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES | st.just("Pod") | st.just("List"))


@given(st.lists(VALUES | OBJECTS, max_size=4))
def test_documents_of_any_kind_are_accounted_for(documents: list[Any]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.yaml").write_text(yaml.safe_dump_all(documents, allow_unicode=True))
        objects, (outcome,) = read_manifests(folder)
        assert outcome.objects == len(objects)
        assert outcome.objects or outcome.reason
        result = report(folder, "--json")
        assert result.exit_code in (0, 1, 2)
        assert not isinstance(result.exception, Exception), result.exception


@given(st.binary(max_size=64))
def test_bytes_of_any_kind_end_in_an_outcome(data: bytes) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.yaml").write_bytes(data)
        (folder / "b.json").write_bytes(data)
        objects, outcomes = read_manifests(folder)
        assert sum(each.objects for each in outcomes) == len(objects)
        assert all(each.objects or each.reason for each in outcomes)
