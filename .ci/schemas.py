"""Check objects of Prometheus, Karpenter, Argo CD and Gateway API against their definitions.

@kubernetes-models publishes these as TypeScript. The compiler finds fields that do not exist, are
missing or of another type, of all objects that the stacks would create. Run it as
`.venv/bin/python .ci/schemas.py`; it needs npm.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.infra.recorded import run

PACKAGES = {
    "monitoring.coreos.com": "prometheus-operator@6.0.0",
    "karpenter.sh": "karpenter@2.0.0",
    "karpenter.k8s.aws": "karpenter@2.0.0",
    "argoproj.io": "argo-cd@4.0.0",
    "gateway.networking.k8s.io": "gateway-api@2.0.0",
}
NOT_RUN = 3
COMPILER = "typescript@7.0.2"
STACKS = (
    ("dev", {}),
    ("prod", {}),
    ("dev", {"nodes": "auto"}),
    ("dev", {"delivery": "argocd", "gitUrl": "https://git.example/vigil.git"}),
    ("dev", {"ingress": "gateway", "hostname": "vigil.example", "gatewayClass": "any"}),
)


def objects() -> list[dict[str, object]]:
    """All objects of those groups, each once."""
    found: dict[str, dict[str, object]] = {}
    for name, overrides in STACKS:
        stack = run(name, overrides)
        assert not stack.error, stack.error
        for resource in stack.of("kubernetes:"):
            if str(resource.inputs.get("apiVersion")).partition("/")[0] in PACKAGES:
                found[json.dumps(resource.inputs, sort_keys=True)] = dict(resource.inputs)
    return list(found.values())


def program(found: list[dict[str, object]]) -> str:
    """A TypeScript program in which each object is a constant of its kind's type."""
    lines: list[str] = []
    for i, one in enumerate(found):
        api, kind = str(one["apiVersion"]), one["kind"]
        package = PACKAGES[api.partition("/")[0]].partition("@")[0]
        lines.insert(
            0, f'import {{ I{kind} as T{i} }} from "@kubernetes-models/{package}/{api}/{kind}";'
        )
        lines.append(f"export const o{i}: T{i} = {json.dumps(one, indent=1)};")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code of the compiler; NOT_RUN where npm cannot install the definitions."""
    found = objects()
    assert {str(one["apiVersion"]).partition("/")[0] for one in found} == set(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        wanted = [f"@kubernetes-models/{package}" for package in sorted(set(PACKAGES.values()))]
        install = [
            "npm",
            "install",
            "--silent",
            "--ignore-scripts",
            "--no-audit",
            "--prefix",
            folder,
            COMPILER,
            *wanted,
        ]
        if subprocess.run(install, check=False).returncode:
            return NOT_RUN
        Path(folder, "objects.ts").write_text(program(found))
        options = (
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--module",
            "esnext",
            "--moduleResolution",
            "bundler",
        )
        compiler = str(Path(folder, "node_modules", ".bin", "tsc"))
        return subprocess.run(
            [compiler, *options, "objects.ts"], cwd=folder, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
