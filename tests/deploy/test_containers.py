"""The container images, the Compose file and the Kubernetes manifests are valid, refer only to what exists, and have no more rights than needed.

No container is built or started here: each file is checked by its own tool, and against the settings and the commands of the
application.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import lightgbm
import pytest
import yaml

from server.config import Settings
from tests.conftest import ROOT
from training.cycle.flow import read_flow

CONTAINER, COMPOSE, KUBERNETES = (ROOT / "deploy" / name for name in ("container", "compose", "kubernetes"))
DOCKERFILE, COMPOSE_FILE = CONTAINER / "Dockerfile", COMPOSE / "compose.yaml"
VERSION = kubernetes_validate.latest_version()


def tool(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool that is installed beside Python."""
    return subprocess.run(
        [str(Path(sys.executable).with_name(name)), *arguments], check=False, capture_output=True, text=True
    )


def manifests() -> list[dict[str, Any]]:
    """Return every object of the Kubernetes manifests."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    files = [KUBERNETES / name for name in kustomization["resources"]]
    return [each for path in files for each in yaml.safe_load_all(path.read_text())]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the pod of every Deployment and CronJob."""
    for each in manifests():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            yield each["metadata"]["name"], template["spec"]


PODS = dict(pods())
# The operator's pod waits for commands, so it has no arguments.
STARTED = [name for name, pod in PODS.items() if name != "grounds-operator"]


# Kubernetes


@pytest.mark.parametrize("manifest", manifests(), ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_manifest_follows_the_schema_of_the_newest_kubernetes_release(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_misspelt_field_of_a_manifest_is_reported() -> None:
    deployment = next(each for each in manifests() if each["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_every_file_of_the_folder_is_part_of_the_kustomization() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    named = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"], "kustomization.yaml"}
    assert {path.name for path in KUBERNETES.iterdir()} == named
    images = {each["name"] for each in kustomization["images"]}
    assert {container["image"] for pod in PODS.values() for container in pod["containers"]} == images


@pytest.mark.parametrize("name", PODS)
def test_a_pod_runs_without_root_without_capabilities_and_with_a_read_only_root(name: str) -> None:
    pod = PODS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", PODS)
def test_every_path_of_the_configuration_is_below_a_mount_and_every_mount_has_a_volume(name: str) -> None:
    (container,) = PODS[name]["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert set(mounts) == {each["name"] for each in PODS[name]["volumes"]}
    file = "flow.toml" if container["image"] == "grounds-training" else "config.toml"
    paths = [value for value in flat_values(tomllib.loads((KUBERNETES / file).read_text())) if value.startswith("/")]
    assert len(paths) > 3
    for path in [*paths, *(word for word in container.get("args", ()) if word.startswith("/"))]:
        assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts.values()), path
    claims = {each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"}
    used = {
        each["persistentVolumeClaim"]["claimName"] for each in PODS[name]["volumes"] if "persistentVolumeClaim" in each
    }
    assert used <= claims


def flat_values(content: Any) -> Iterator[str]:
    """Yield every text in a TOML document."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from flat_values(each)


@pytest.mark.parametrize("name", STARTED)
def test_the_command_of_a_container_exists_with_its_options(name: str) -> None:
    (container,) = PODS[name]["containers"]
    module = "training" if container["image"] == "grounds-training" else "server"
    command, *words = container["args"]
    shown = subprocess.run(
        [sys.executable, "-m", module, command, "--help"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


def test_probes_and_ports_are_those_of_the_configuration() -> None:
    (container,) = PODS["grounds"]["containers"]
    config = tomllib.loads((KUBERNETES / "config.toml").read_text())
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"grpc": config["port"], "metrics": int(config["metrics_address"].rpartition(":")[2])}
    # A pod that starts during a database outage waits: no probe that restarts it asks for the database.
    for restarting in ("startupProbe", "livenessProbe"):
        assert container[restarting]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    drain = Settings.model_fields["drain_seconds_max"].default
    assert PODS["grounds"]["terminationGracePeriodSeconds"] > drain + 5 + 10  # the sleep before it, and closing


def test_operators_can_change_the_catalog_and_read_the_files_of_a_cycle_and_servers_cannot() -> None:
    def writable(name: str) -> set[str]:
        """Return the claims that a pod can write."""
        claims = {
            each["name"]: each["persistentVolumeClaim"]
            for each in PODS[name]["volumes"]
            if "persistentVolumeClaim" in each
        }
        (container,) = PODS[name]["containers"]
        read_only = {each["name"] for each in container["volumeMounts"] if each.get("readOnly")}
        return {
            claim["claimName"]
            for volume, claim in claims.items()
            if volume not in read_only and not claim.get("readOnly")
        }

    assert writable("grounds-operator") == {"grounds-bundles", "grounds-state", "grounds-anchors"}
    assert writable("grounds") == {"grounds-state", "grounds-anchors"}
    assert writable("grounds-cycle") == {"grounds-bundles", "grounds-training"}
    (operator,) = PODS["grounds-operator"]["containers"]
    assert "/srv/training" in {each["mountPath"] for each in operator["volumeMounts"]}
    deployments = {each["metadata"]["name"]: each["spec"] for each in manifests() if each["kind"] == "Deployment"}
    assert deployments["grounds-operator"]["replicas"] == 0


def test_claims_of_pods_that_may_run_on_different_nodes_allow_it() -> None:
    claims = [each["spec"]["accessModes"] for each in manifests() if each["kind"] == "PersistentVolumeClaim"]
    assert claims == [["ReadWriteMany"]] * 4


def test_every_pod_has_a_network_policy_and_the_cycle_reaches_only_the_name_service() -> None:
    policies = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]: each["spec"]
        for each in manifests()
        if each["kind"] == "NetworkPolicy"
    }
    labels = set()
    for each in manifests():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            labels.add(template["metadata"]["labels"]["app.kubernetes.io/name"])
    assert labels == set(policies)
    ports = {port["port"] for rule in policies["grounds-cycle"]["egress"] for port in rule["ports"]}
    assert ports == {53}
    assert "ingress" not in policies["grounds-cycle"]


# Configurations


@pytest.mark.parametrize(
    "path", [COMPOSE / "config.toml", KUBERNETES / "config.toml"], ids=lambda path: path.parent.name
)
def test_a_configuration_has_only_known_settings_and_no_password(path: Path) -> None:
    content = tomllib.loads(path.read_text())
    assert set(content) <= set(Settings.model_fields)
    assert {"database", "keys"}.isdisjoint(content), "the URLs contain passwords, and come from the environment"
    text = COMPOSE_FILE.read_text() + (KUBERNETES / "server.yaml").read_text()
    for name in re.findall(r"\bGROUNDS_([A-Z_]+)\b", text):
        assert name.lower() in Settings.model_fields


def test_the_flow_of_the_weekly_job_is_valid() -> None:
    assert read_flow(KUBERNETES / "flow.toml").sign is not None


# Images


def test_the_dockerfile_has_no_findings_and_a_planted_one_is_found(tmp_path: Path) -> None:
    faulty = tmp_path / "Dockerfile"
    faulty.write_text(DOCKERFILE.read_text().replace("python:3.13-slim-bookworm AS base", "python AS base"))

    assert tool("hadolint", str(DOCKERFILE)).stdout == ""
    assert "DL3006" in tool("hadolint", str(faulty)).stdout


def test_the_training_image_installs_the_system_libraries_that_lightgbm_needs() -> None:
    library = next((Path(lightgbm.__file__).parent / "lib").glob("*.so"))
    needed = subprocess.run(["/usr/bin/ldd", str(library)], check=True, capture_output=True, text=True).stdout
    in_image = {"linux-vdso", "libc", "libm", "libdl", "libpthread", "librt", "libstdc++", "libgcc_s"}  # of python:slim
    names = {Path(line.split()[0]).name.partition(".so")[0] for line in needed.splitlines()}

    missing = {name for name in names if name not in in_image and not name.startswith("ld-linux")}

    stage = DOCKERFILE.read_text().split("FROM base AS training")[1].split("FROM ")[0]
    assert missing == {"libgomp"}
    assert "libgomp1" in stage
    assert stage.index("USER 10001") > stage.index("libgomp1")


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    ignored = (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines()
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert any(f"!{part}" in ignored for part in (source, str(Path(source).parent))), source


@pytest.mark.parametrize("name", ["build", "server", "training"])
def test_the_packages_of_an_image_are_those_of_the_lock_file_with_their_hashes(name: str) -> None:
    whole, part = (read_lock(path) for path in (ROOT / "requirements.lock", CONTAINER / f"{name}.lock"))
    assert part
    assert part.items() <= whole.items()
    assert "pytest" not in part


def test_the_image_of_the_server_has_every_package_of_its_extra_and_no_training_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = read_lock(CONTAINER / "server.lock")
    for extra in (*project["server"], *project["pkcs11"]):
        assert re.match(r"[a-z0-9-]+", extra.lower())[0] in lock  # type: ignore[index] # every requirement begins with a name
    assert {"lightgbm", "onnx", "pandas", "scikit-learn"}.isdisjoint(lock)
    training = read_lock(CONTAINER / "training.lock")
    assert {re.match(r"[a-z0-9-]+", each.lower())[0] for each in project["training"]} <= set(training)  # type: ignore[index]


def read_lock(path: Path) -> dict[str, str]:
    """Return the version and the hashes of each package of a lock file, by name, without the condition for a platform."""
    content = re.sub(r"^\s*#.*\n| ; .*?(?= \\\n)", "", path.read_text(), flags=re.MULTILINE)
    return {
        name: " ".join(rest.split())
        for name, rest in re.findall(r"^([a-z0-9-]+)==((?:.*\\\n)*.*)$", content, re.MULTILINE)
    }


# Compose


def test_the_compose_file_follows_its_schema_and_a_planted_fault_is_found(tmp_path: Path) -> None:
    faulty = tmp_path / "compose.yaml"
    faulty.write_text(COMPOSE_FILE.read_text().replace("read_only: true", "readonly: true"))

    found = [
        tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))
        for path in (COMPOSE_FILE, faulty)
    ]

    assert found[0].returncode == 0, found[0].stdout
    assert found[1].returncode != 0
    assert "readonly" in found[1].stdout


def test_the_compose_file_mounts_only_what_exists_or_what_its_first_lines_create() -> None:
    services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    created = {"./certificates", "./bundles"}
    assert all(f"deploy/compose/{name[2:]}/" in (ROOT / ".gitignore").read_text().split() for name in created)
    for service in services.values():
        for source in (str(each).partition(":")[0] for each in service.get("volumes", [])):
            if source.startswith(".") and source not in created:
                assert (COMPOSE / source).exists(), source
    server = services["server"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert int(server["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_seconds_max"].default + 10
