"""Kubernetes manifests as one coherent set: what refers to what, and whether it is there."""

import re
from pathlib import Path

import kubernetes_validate
from deploy_files import document, documents, flags, mount_of
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

VERSIONS = ("1.30", "1.34")  # of Kubernetes; the schemas of later ones are read as far as the library has them
CUSTOM = {"RayService"}  # kinds that Kubernetes's schemas do not have


def resources(folder):
    """What a kustomization brings, by reading the files: ConfigMaps with their contents, namespace and images set.

    Components are left to kustomize itself.
    """
    folder = folder.resolve()
    kustomization = document(folder / "kustomization.yaml")
    found = []
    for name in kustomization.get("resources", ()):
        path = folder / name
        found += resources(path) if path.is_dir() else documents(path)
    for generator in kustomization.get("configMapGenerator", ()):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})
    for resource in found:
        if "namespace" in kustomization and resource["kind"] != "Namespace":
            resource["metadata"].setdefault("namespace", kustomization["namespace"])
    return found


def of_kind(found, *kinds):
    return [resource for resource in found if resource["kind"] in kinds]


def pods(found):
    """Every pod template of the resources, as a Pod with the labels that it will have."""
    templates = []
    for resource in found:
        if resource["kind"] in ("Deployment", "Job"):
            templates.append((resource["spec"]["template"], {}))
        elif resource["kind"] == "Pod":
            templates.append((resource, {}))
        elif resource["kind"] == "RayService":
            cluster = resource["spec"]["rayClusterConfig"]
            templates.append((cluster["headGroupSpec"]["template"], {"ray.io/node-type": "head"}))  # as KubeRay labels
            templates += [(group["template"], {"ray.io/node-type": "worker"}) for group in cluster["workerGroupSpecs"]]
    made = []
    for number, (template, labels) in enumerate(templates):
        metadata = {**template["metadata"], "name": f"pod-{number}"}
        metadata["labels"] = {**metadata.get("labels", {}), **labels}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return made


def containers(pod):
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def selected(found, labels):
    """Pods that have all of some labels."""
    return [pod for pod in pods(found) if labels.items() <= pod["metadata"]["labels"].items()]


def check(found):
    """All checks, on the resources of one kustomization."""
    check_schemas(found)
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in found]
    assert len(names) == len(set(names)), names
    (namespace,) = {resource["metadata"].get("namespace") for resource in found if resource["kind"] != "Namespace"}
    assert [resource["metadata"]["name"] for resource in of_kind(found, "Namespace")] == [namespace]
    for pod in pods(found):
        check_mounts(pod, found)
        check_rights(pod)
        check_resources(pod)
        check_probes(pod, found)
        check_scrape(pod)
    check_selectors(found)
    check_services(found)
    check_policies(found)
    check_scaling(found)


def check_schemas(found):
    """Every field is one that Kubernetes knows, of the right type."""
    for version in VERSIONS:
        for resource in [*found, *pods(found)]:
            if resource["kind"] not in CUSTOM:
                kubernetes_validate.validate(resource, version, strict=True)


def check_mounts(pod, found):
    """Volumes that are mounted are there, and the ConfigMaps and claims behind them."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
    used = set()
    for container in containers(pod):
        targets = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
        assert len(targets) == len(set(targets)), targets
        for mount in container.get("volumeMounts", ()):
            assert mount["name"] in volumes, f"{container['name']} mounts {mount['name']}, which is no volume"
            assert "subPath" not in mount, "a file that is mounted by subPath never changes"
            used.add(mount["name"])
        check_files(container, volumes, found)
    assert used == set(volumes), f"volumes that nothing mounts: {set(volumes) - used}"
    for volume in volumes.values():
        if "configMap" in volume:
            config_map(found, volume["configMap"]["name"])
        if "persistentVolumeClaim" in volume:
            claims = [claim["metadata"]["name"] for claim in of_kind(found, "PersistentVolumeClaim")]
            assert volume["persistentVolumeClaim"]["claimName"] in claims


def check_files(container, volumes, found):
    """Files that flags name lie in a mount, and where that is a ConfigMap, in it."""
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", ())}
    for name, path in flags(container.get("args", ())).items():
        if not name.endswith("_file"):
            continue
        target = mount_of(path, mounts)
        assert target, f"--{name}={path} is mounted nowhere"
        volume = volumes[mounts[target]["name"]]
        if "configMap" in volume:
            keys = config_map(found, volume["configMap"]["name"])["data"]
            assert str(Path(path).relative_to(target)) in keys, f"--{name}={path} is not among {set(keys)}"


def config_map(found, name):
    """The ConfigMap of a name."""
    (only,) = [resource for resource in of_kind(found, "ConfigMap") if resource["metadata"]["name"] == name]
    return only


def models(found):
    """Names of the models in the ConfigMap models-config."""
    config = text_format.Parse(config_map(found, "models-config")["data"]["models.config"], ModelServerConfig())
    return [model.name for model in config.model_config_list.config]


def check_rights(pod):
    """What Pod Security calls restricted."""
    whole = pod["spec"]["securityContext"]
    assert whole["runAsNonRoot"] and whole["runAsUser"] > 0 and whole["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False and rights["capabilities"] == {"drop": ["ALL"]}
        # Ray writes its session below /tmp and in its home.
        assert rights.get("readOnlyRootFilesystem") or container["name"].startswith("ray-"), container["name"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])


def check_resources(pod):
    """Each container asks for what it needs and is held to a limit; threads are as many as cores."""
    for container in containers(pod):
        requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
        for kind, quantity in (("cpu", cores), ("memory", size)):
            assert 0 < quantity(requests[kind]) <= quantity(limits[kind])
        threads = [value for name, value in flags(container.get("args", ())).items() if name.endswith("_parallelism")]
        threads += [entry["value"] for entry in container.get("env", ()) if entry["name"].endswith("OP_THREADS")]
        assert len(threads) in (0, 2) and all(int(value) == cores(limits["cpu"]) for value in threads)


def cores(text):
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)


def size(text):
    number, unit = re.fullmatch(r"(\d+)([MG]i)", text).groups()
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]


def ports(pod):
    """Numbers of a pod's ports by their names."""
    found = {port["name"]: port["containerPort"] for container in pod["spec"]["containers"]
             for port in container.get("ports", ())}
    assert len(set(found.values())) == len(found)
    return found


def check_probes(pod, found):
    """Ask for the status of a model that is served, on the REST port that the server was given."""
    for container in pod["spec"]["containers"]:
        given = flags(container.get("args", ()))
        if "rest_api_port" in given:
            assert ports(pod) == {"grpc": int(given["port"]), "rest": int(given["rest_api_port"])}
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name in container:
                request = container[name]["httpGet"]
                assert request["port"] == "rest"
                assert request["path"] in [f"/v1/models/{model}" for model in models(found)]
        if "preStop" in container.get("lifecycle", {}):
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            pause = int(command[1]) if command[0] == "sleep" else 60
            assert pause < pod["spec"]["terminationGracePeriodSeconds"]


def check_scrape(pod):
    """Prometheus is led to a port that is there."""
    annotations = pod["metadata"].get("annotations", {})
    if "prometheus.io/scrape" in annotations:
        port, path = int(annotations["prometheus.io/port"]), annotations["prometheus.io/path"]
        if "ray.io/node-type" in pod["metadata"]["labels"]:
            assert (port, path) == (8080, "/metrics")  # KubeRay's port for Ray's metrics
        else:
            assert port == ports(pod)["rest"]


def check_selectors(found):
    """Everything that selects pods selects some."""
    for deployment in of_kind(found, "Deployment"):
        assert selected(found, deployment["spec"]["selector"]["matchLabels"])
        for constraint in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert selected(found, constraint["labelSelector"]["matchLabels"])
    for budget in of_kind(found, "PodDisruptionBudget"):
        assert selected(found, budget["spec"]["selector"]["matchLabels"])


def check_services(found):
    """Ports of a Service are named ports of each pod behind it, under the same number."""
    assert of_kind(found, "Service")
    for service in of_kind(found, "Service"):
        behind = selected(found, service["spec"]["selector"])
        assert behind
        for port in service["spec"]["ports"]:
            # Without an address of its own a Service translates no ports.
            assert all(ports(pod)[port["targetPort"]] == port["port"] for pod in behind)


def check_policies(found):
    """Every pod is behind a policy; clients reach what the Service has, and nothing opens a port that is not there."""
    policies = of_kind(found, "NetworkPolicy")
    for direction in ("Ingress", "Egress"):
        held = [pod["metadata"]["name"] for policy in policies if direction in policy["spec"]["policyTypes"]
                for pod in selected(found, policy["spec"]["podSelector"]["matchLabels"])]
        # The head of a Ray cluster calls the API server, whose address is each cluster's own.
        free = [pod for pod in pods(found) if direction == "Egress" and
                pod["metadata"]["labels"].get("ray.io/node-type") == "head"]
        assert sorted(held) == sorted(pod["metadata"]["name"] for pod in pods(found) if pod not in free)
    served = {port["port"] for service in of_kind(found, "Service") for port in service["spec"]["ports"]}
    for policy in policies:
        there = {port for pod in selected(found, policy["spec"]["podSelector"]["matchLabels"])
                 for port in ports(pod).values()} | {8080}  # which KubeRay adds
        for rule in policy["spec"].get("ingress", ()):
            assert rule["from"], "a rule without from lets in everyone"
            assert {port["port"] for port in rule.get("ports", ())} <= there
            if rule["from"] == [{"namespaceSelector": {"matchLabels": {"probunet-client": "true"}}}]:
                assert {port["port"] for port in rule["ports"]} == served
                served = None
        for rule in policy["spec"].get("egress", ()):
            assert rule["to"] and ("podSelector" in rule["to"][0] or {port["port"] for port in rule["ports"]} == {53})
    assert served is None or of_kind(found, "Job"), "no policy lets clients in"  # a training has no clients


def check_scaling(found):
    """The autoscaler scales what is there, and leaves machines that can be emptied."""
    for scaler in of_kind(found, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        (deployment,) = [resource for resource in of_kind(found, target["kind"])
                         if resource["metadata"]["name"] == target["name"]]
        assert "replicas" not in deployment["spec"], "each apply would undo what the autoscaler has set"
        for budget in of_kind(found, "PodDisruptionBudget"):
            assert budget["spec"]["minAvailable"] < scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (metric,) = scaler["spec"]["metrics"]
        requested, limit = (cores(container["resources"][kind]["cpu"]) for kind in ("requests", "limits"))
        assert 0.3 < metric["resource"]["target"]["averageUtilization"] / 100 * requested / limit < 0.9
