"""The manifests: valid by Kubernetes's schemas, and coherent; as files, and as kustomize puts them together."""

import copy
import importlib
import json
import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from deploy_files import DEPLOY, ROOT, document, documents, flags, parse
from manifests import check, config_map, containers, of_kind, pods, resources
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
    gRPCOptionsSchema,
)
from serving_schemas import BatchingParameters

from tf_probunet.serving import application
from tf_probunet.serving.model_config import labels_of, read_config
from tf_probunet.serving.server.ports import SERVICES

KUBERNETES = DEPLOY / "kubernetes"
FOLDERS = ("tensorflow_serving", "ray", "training")
COMPONENTS = sorted(path.name for path in (KUBERNETES / "tensorflow_serving" / "components").iterdir())
kustomize_needed = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl puts kustomizations together")


def rendered(folder):
    """What `kubectl apply -k` would send."""
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture
def with_components(tmp_path):
    """Puts TensorFlow Serving's manifests together with some of their components."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    path = tmp_path / "deploy" / "kubernetes" / "tensorflow_serving" / "kustomization.yaml"

    def put_together(*names):
        kustomization = document(path)
        assert kustomization["components"] == []
        kustomization["components"] = [f"components/{name}" for name in names]
        path.write_text(yaml.safe_dump(kustomization))
        return rendered(path.parent)

    return put_together


@pytest.mark.parametrize("folder", FOLDERS)
class TestAll:
    def test_files_are_valid_and_coherent(self, folder):
        check(resources(KUBERNETES / folder))

    @kustomize_needed
    def test_what_is_sent_is_valid_and_coherent(self, folder):
        found = rendered(KUBERNETES / folder)
        check(found)
        for pod in pods(found):
            for container in containers(pod):
                assert not container["image"].endswith(":latest") and ":" in container["image"], container["image"]

    def test_every_file_is_used(self, folder):
        """All but the pod by which an operator fills a volume."""
        for path in (KUBERNETES / folder).rglob("kustomization.yaml"):
            kustomization = document(path)
            used = kustomization.get("resources", ())
            there = {other.name for other in path.parent.glob("*.yaml")} - {"kustomization.yaml", "loader.yaml"}
            assert there == {name for name in used if not name.startswith("..")}

    def test_images_have_their_names_set(self, folder):
        named = {image["name"] for image in document(KUBERNETES / folder / "kustomization.yaml")["images"]}
        used = {container["image"] for pod in pods(resources(KUBERNETES / folder)) for container in containers(pod)}
        assert used == named


class TestTensorFlowServing:
    def test_image_and_flags_are_those_of_docker_compose(self):
        service = document(DEPLOY / "tensorflow_serving" / "compose.yaml")["services"]["server"]
        images = document(KUBERNETES / "tensorflow_serving" / "kustomization.yaml")["images"]
        assert f"{images[0]['name']}:{images[0]['newTag']}" == service["image"]
        (deployment,) = of_kind(resources(KUBERNETES / "tensorflow_serving"), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["command"] == service["entrypoint"]
        composed = flags(service["command"])
        for name, value in flags(container["args"]).items():
            if "${" not in composed[name] and name != "model_config_file":
                assert composed[name] == value

    def test_batches_have_the_threads_that_a_server_may_use(self):
        batching = parse(DEPLOY / "tensorflow_serving" / "batching.config", BatchingParameters)
        (pod,) = pods(resources(KUBERNETES / "tensorflow_serving"))
        assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == str(batching.num_batch_threads.value)

    @kustomize_needed
    @pytest.mark.parametrize("names", [*[(name,) for name in COMPONENTS], COMPONENTS], ids="-".join)
    def test_components_leave_it_valid_and_coherent(self, names, with_components):
        check(with_components(*names))

    @kustomize_needed
    def test_configuration_restarts_servers_and_labels_do_not(self):
        names = {resource["metadata"]["name"] for resource in of_kind(rendered(KUBERNETES / "tensorflow_serving"),
                                                                      "ConfigMap")}
        assert "models-config" in names
        assert any(name.startswith("tf-serving-config-") for name in names - {"models-config"})

    @kustomize_needed
    def test_batching_component(self, with_components):
        (pod,) = pods(with_components("batching"))
        given = flags(pod["spec"]["containers"][0]["args"])
        assert given["enable_batching"] == "true" and given["batching_parameters_file"] == "/config/batching.config"

    @kustomize_needed
    def test_tls_component_leaves_clients_no_port_in_plain_text(self, with_components):
        found = with_components("tls")
        (pod,), (service,) = pods(found), of_kind(found, "Service")
        assert flags(pod["spec"]["containers"][0]["args"])["ssl_config_file"] == "/ssl/ssl.config"
        assert [port["port"] for port in service["spec"]["ports"]] == [8500]

    @kustomize_needed
    def test_shared_volume_component(self, with_components):
        (pod,) = pods(with_components("shared_volume"))
        assert "initContainers" not in pod["spec"]
        (models,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "models"]
        (mount,) = [mount for mount in pod["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "models"]
        assert models["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True} and mount["readOnly"]

    def test_loader_of_the_shared_volume_may_write_what_servers_read(self):
        folder = KUBERNETES / "tensorflow_serving" / "components" / "shared_volume"
        (loader,), (claim,) = documents(folder / "loader.yaml"), documents(folder / "volume_claim.yaml")
        kubernetes_validate.validate(loader, "1.34", strict=True)
        (server,) = pods(resources(KUBERNETES / "tensorflow_serving"))
        assert loader["spec"]["securityContext"] == server["spec"]["securityContext"]
        (volume,) = loader["spec"]["volumes"]
        assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
        assert loader["metadata"]["namespace"] == document(
            KUBERNETES / "tensorflow_serving" / "kustomization.yaml")["namespace"]


class TestRay:
    @pytest.fixture
    def service(self):
        (found,) = of_kind(resources(KUBERNETES / "ray"), "RayService")
        return found

    @pytest.fixture
    def serve_config(self, service):
        """As Ray reads it, which refuses fields that it does not know."""
        return ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))

    def test_fields_are_those_of_kuberay(self, service):
        """Of ray-operator/apis/ray/v1/rayservice_types.go and raycluster_types.go at github.com/ray-project/kuberay."""
        assert service["apiVersion"] == "ray.io/v1"
        cluster = service["spec"]["rayClusterConfig"]
        assert set(service["spec"]) <= {"serveConfigV2", "rayClusterConfig", "serveService"}
        assert set(cluster) <= {"headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling",
                                "autoscalerOptions", "headServiceAnnotations", "suspend"}
        assert set(cluster["autoscalerOptions"]) <= {"resources", "image", "imagePullPolicy", "env", "envFrom",
                                                     "volumeMounts", "securityContext", "idleTimeoutSeconds",
                                                     "upscalingMode"}
        assert {"rayStartParams", "template"} == set(cluster["headGroupSpec"])
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        for group in groups[1:]:
            assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
            assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        for group in groups:
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())

    def test_autoscaler_has_a_container_that_kubernetes_knows(self, service):
        options = copy.deepcopy(service["spec"]["rayClusterConfig"]["autoscalerOptions"])
        options.pop("idleTimeoutSeconds")
        (head, *_) = pods([service])
        head["spec"]["containers"].append({"name": "autoscaler", "image": "any", **options})
        kubernetes_validate.validate(head, "1.34", strict=True)

    def test_every_field_of_the_configuration_is_known_to_ray(self, service):
        """Its schema lets unknown ones pass in places."""
        config = yaml.safe_load(service["spec"]["serveConfigV2"])
        (application_config,) = config["applications"]
        (deployment,) = application_config["deployments"]
        for given, model in ((config, ServeDeploySchema), (config["http_options"], HTTPOptionsSchema),
                             (config["grpc_options"], gRPCOptionsSchema), (application_config, ServeApplicationSchema),
                             (deployment, DeploymentSchema), (deployment["ray_actor_options"], RayActorOptionsSchema),
                             (deployment["autoscaling_config"], AutoscalingConfig)):
            assert set(given) <= set(model.model_fields), model.__name__
            model.model_validate(given)

    def test_version_of_ray_is_that_of_the_package(self, service):
        (pinned,) = re.findall(r"ray\[serve\]>=([\d.]+),", (ROOT / "setup.py").read_text())
        assert service["spec"]["rayClusterConfig"]["rayVersion"] == f"{pinned}.0"

    def test_application_can_be_built_of_its_arguments(self, serve_config):
        (application_config,) = serve_config.applications
        assert application_config.import_path == "tf_probunet.serving.application:build"
        deployment = application.build(application_config.args)._bound_deployment
        assert [deployment.name] == [config.name for config in application_config.deployments]
        assert application_config.name == application.NAME and application_config.route_prefix == "/"

    def test_grpc_services_are_there(self, serve_config):
        for function in serve_config.grpc_options.grpc_servicer_functions:
            module, name = function.rsplit(".", 1)
            service = name.removeprefix("add_").removesuffix("Servicer_to_server")
            assert callable(getattr(importlib.import_module(module), name))
            assert f"tensorflow.serving.{service}" in SERVICES
        assert len(serve_config.grpc_options.grpc_servicer_functions) == len(SERVICES)

    def test_ports_are_those_of_the_pods(self, serve_config, service):
        for pod in pods([service]):
            numbers = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
            assert numbers["grpc"] == serve_config.grpc_options.port
            assert numbers["serve"] == serve_config.http_options.port
        assert serve_config.http_options.host == "0.0.0.0"

    def test_one_replica_fills_a_worker_and_both_scale_alike(self, serve_config, service):
        (deployment,) = serve_config.applications[0].deployments
        (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        (worker,) = group["template"]["spec"]["containers"]
        cores = worker["resources"]["limits"]["cpu"]
        assert deployment.ray_actor_options.num_cpus == int(cores) == serve_config.applications[0].args["threads"]
        scaling = deployment.autoscaling_config
        assert (scaling["min_replicas"], scaling["max_replicas"]) == (group["minReplicas"], group["maxReplicas"])
        assert deployment.graceful_shutdown_timeout_s < group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert service["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"

    def test_models_lie_where_the_application_looks_and_labels_follow_the_config_map(self, serve_config, service):
        (_, worker) = pods([service])
        (copying,), (container,) = worker["spec"]["initContainers"], worker["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["models"] == serve_config.applications[0].args["saved_models"]
        assert f"ln -sf {mounts['labels']}/models.config {mounts['models']}/models.config" in copying["command"][-1]
        assert "models.config" in config_map(resources(KUBERNETES / "ray"), "models-config")["data"]

    def test_labels_are_read_through_a_link_also_when_it_leads_elsewhere(self, tmp_path):
        """The kubelet swaps the folder that a ConfigMap's files are links into."""
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "models.config").symlink_to(tmp_path / "labels" / "models.config")
        for version in (1, 2):
            (tmp_path / f"data-{version}").mkdir()
            (tmp_path / f"data-{version}" / "models.config").write_text(
                'model_config_list { config { name: "lung" version_labels { key: "stable" value: %d } } }' % version)
            (tmp_path / "swap").symlink_to(tmp_path / f"data-{version}")
            (tmp_path / "swap").rename(tmp_path / "labels")
            assert labels_of(read_config(tmp_path / "models"), "lung") == {"stable": version}

    def test_limits_may_be_set_as_texts(self, serve_config):
        """Operators write what they like; unknown names are refused."""
        arguments = {**serve_config.applications[0].args, "seconds": "30"}
        application.build(json.loads(json.dumps(arguments)))
        with pytest.raises(ValueError, match="secnds"):
            application.build({**arguments, "secnds": 30})
