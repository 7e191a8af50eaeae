"""
Whole deploys by gcloud itself: what reaches Google is what the function's script and
``functions.toml`` say, and nothing more.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from deploy import configuration, functions
from deploy.__main__ import planned_names
from deploy.configuration import Deployment
from deploy.functions import Function
from tests.deploy.conftest import OUTPUTS, SDK, SETTINGS, WHOLE, Cloud
from tests.deploy.rehearsal.google import DIGEST, Google

# A function, a job and a schedule of each kind show what settings that are missing do.
FEW = {**SETTINGS, "DEPLOY_FUNCTIONS": "model_training get_proba compact_features"}
SHAPES = {"few settings": FEW, "all settings": WHOLE}
RUN = "run.googleapis.com/"
BASES = f"{RUN}base-images"

pytestmark = pytest.mark.skipif(
    not (SDK / "lib" / "googlecloudsdk").is_dir(),
    reason=f"there is no Cloud SDK in {SDK}; CLOUD_SDK names another one",
)


@pytest.fixture
def google(cloud) -> Iterator[Google]:
    """A project with nothing in it, which gcloud takes for Google's."""
    google = Google()
    with google.proxy:
        cloud.programs = ("bq", "terraform", "sleep")
        cloud.environment = google.environment(cloud.folder / "gcloud")
        yield google


def set_up(cloud: Cloud, settings: dict[str, str]) -> Deployment:
    """Leave what a set-up by these settings leaves; return what they describe."""
    d = configuration.of(settings)
    names = [function.target for function in d.functions]
    outputs = OUTPUTS | planned_names(d)
    outputs |= {"services": " ".join(map(d.name, names)), "schedules": ""}
    cloud.settings = settings
    cloud.has(**outputs)
    cloud.rules[:0] = [
        ("output -json scripts", json.dumps(outputs), 0),
        ("show --encryption_service_account", "", 0),
    ]
    return d


def check_service(google: Google, d: Deployment, function: Function) -> None:
    """Assert that a service is what its function's script and its rights say."""
    flags = function.flags
    own = d.own
    target = function.target
    service = google.named("/services/")[d.name(target)]
    annotations = service["metadata"]["annotations"]
    template = service["spec"]["template"]
    revision = template["metadata"]["annotations"]
    spec = template["spec"]
    [container] = spec["containers"]
    limits = {"cpu": flags["cpu"], "memory": flags["memory"]}
    variables = dict(d.variables)
    if not function.is_asynchronous:
        variables["THREADS"] = "1"
    secrets = {}
    if function.needs_key and own["suppression_secret"]:
        reference = {"key": "latest", "name": own["suppression_secret"]}
        secrets["PROPENSITY_SUPPRESSION_KEY"] = {"secretKeyRef": reference}
    ingress = flags["ingress"]
    if function.is_public and own["ingress"] == "internal-and-gclb":
        ingress = "internal-and-cloud-load-balancing"
    elif function.is_public:
        ingress = own["ingress"]

    assert spec["serviceAccountName"] == d.account(target)
    assert container["resources"]["limits"] == limits
    assert spec["containerConcurrency"] == int(flags["concurrency"])
    assert spec["timeoutSeconds"] == int(flags["timeout"])
    assert revision["autoscaling.knative.dev/maxScale"] == flags["max-instances"]
    assert "autoscaling.knative.dev/minScale" not in revision
    throttled = str("cpu-throttling" in flags)
    assert revision[RUN + "cpu-throttling"] == throttled
    assert annotations[RUN + "ingress"] == ingress
    assert RUN + "invoker-iam-disabled" not in annotations
    texts = {}
    references = {}
    for variable in container["env"]:
        if "valueFrom" in variable:
            references[variable["name"]] = variable["valueFrom"]
        else:
            texts[variable["name"]] = variable["value"]
    assert texts == variables
    assert references == secrets
    assert revision.get(RUN + "encryption-key", "") == own["functions_kms_key"]
    assert revision.get(RUN + "vpc-access-connector", "") == own["vpc_connector"]
    assert container["image"].endswith(f"/{d.name(target)}@{DIGEST}")


def check_build(google: Google, d: Deployment, function: Function) -> None:
    """Assert that a function is built of its folder, under the builder's account."""
    build = google.builds[function.target]
    version = (functions.ROOT / "deploy" / "python-version").read_text().strip()
    index = d.own["package_index"]
    source = build["storageSource"]
    archive = f"gs://{source['bucket']}/{source['object']}"
    pack = build["buildpackBuild"]
    account = f"projects/my-project/serviceAccounts/{d.account('build')}"

    assert {"main.py", "requirements.txt", "propensity/settings.py"} <= {
        *google.uploads[archive]
    }
    assert build["serviceAccount"] == account
    assert (
        build["imageUri"]
        == f"{planned_names(d)['repository']}/{d.name(function.target)}"
    )
    assert build.get("workerPool", "") == d.own["worker_pool"]
    assert pack["baseImage"] == f"python{version.replace('.', '')}"
    assert pack["environmentVariables"] == ({"PIP_INDEX_URL": index} if index else {})
    # gcloud builds an image without an operating system for a function whose base
    # image is Google's to update, and a job has none to put beneath.
    is_updated = function.target != "model_training"
    assert pack["enableAutomaticUpdates"] == is_updated


def check_schedules(google: Google, d: Deployment) -> None:
    """Assert that each schedule calls its own function by a token, or its own job."""
    schedules = google.named("/locations/us-central1/jobs/")
    services = google.named("/services/")
    expected = {}
    for function in d.functions:
        for use_case in d.called_for(function):
            name = f"{d.name(function.target)}-{use_case.replace('_', '-')}"
            expected[name] = (function.target, {"use_case": use_case})
        if function.schedule and not function.schedule.per_use_case:
            expected[d.name(function.target)] = (function.target, {})

    assert {*schedules} == {*expected}
    for name, (target, request) in expected.items():
        called = schedules[name]["httpTarget"]
        url = services[d.name(target)]["status"]["url"]
        if target == "model_training":
            job = f"propensity-training-job-{request['use_case'].replace('_', '-')}"
            account = called["oauthToken"]["serviceAccountEmail"]
            assert called["uri"].endswith(f"/jobs/{job}:run")
            assert job in google.policies
        else:
            account = called["oidcToken"]["serviceAccountEmail"]
            assert json.loads(base64.b64decode(called["body"])) == request
            assert called["oidcToken"]["audience"] == url
            assert called["uri"] == f"{url}/"
        assert account == d.account("scheduler")


def check_jobs(google: Google, d: Deployment) -> None:
    """Assert that each training job runs as the deployed function does."""
    services = google.named("/services/")
    deployed = services[d.name("model_training")]["spec"]["template"]["spec"]
    for use_case in configuration.words(planned_names(d)["use_cases_model_training"]):
        name = f"propensity-training-job-{use_case.replace('_', '-')}"
        execution = google.named("/namespaces/my-project/jobs/")[name]
        template = execution["spec"]["template"]
        task = template["spec"]["template"]["spec"]
        [container] = task["containers"]
        [function] = deployed["containers"]
        scheduler = f"serviceAccount:{d.account('scheduler')}"
        invoker = {"members": [scheduler], "role": "roles/run.invoker"}
        key = template["metadata"]["annotations"].get(RUN + "encryption-key", "")
        environment = [item for item in function["env"] if item["name"] != "THREADS"]

        assert container["image"] == function["image"]
        assert container["resources"]["limits"] == function["resources"]["limits"]
        assert container["env"] == environment
        assert task["serviceAccountName"] == deployed["serviceAccountName"]
        assert key == d.own["functions_kms_key"]
        assert google.policies[name] == [invoker]


def check_operator(google: Google, d: Deployment) -> None:
    """Assert that the operators' job has the training's image, and its own account."""
    services = google.named("/services/")
    function = services[d.name("model_training")]["spec"]["template"]["spec"]
    job = google.named("/namespaces/my-project/jobs/")[d.name("operator")]
    task = job["spec"]["template"]["spec"]["template"]["spec"]

    assert task["serviceAccountName"] == d.account("operator")
    assert task["containers"][0]["image"] == function["containers"][0]["image"]
    assert d.name("operator") not in google.policies


def check_keys(google: Google, d: Deployment) -> None:
    """Assert that with keys no bucket is without one, and Google may use them."""
    state = google.buckets["my-bucket-state"].get("encryption", {})
    grants = google.policies.pop("propensity", [])
    agents = {member for binding in grants for member in binding["members"]}

    assert state.get("defaultKmsKeyName", "") == d.own["kms_key"]
    if d.own["functions_kms_key"]:
        assert {*google.buckets} == {"my-bucket", "my-bucket-state"}
        assert "serviceAccount:cmek-p1@gcp-sa-logging.iam.gserviceaccount.com" in agents
        assert len(agents) == 7


def check_record(google: Google, d: Deployment) -> None:
    """Assert that the set-up has written down what it deployed."""
    written = google.contents["gs://my-bucket-state/propensity/deployed.json"]

    assert json.loads(written)["settings"] == d.given


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_functions_are_deployed(cloud, google, shape):
    """Nobody is let in but the scheduler to its jobs: who may call is Terraform's.

    Defect: with a key for functions gcloud refused every deploy, since it uploads no
    folder then."""
    d = set_up(cloud, SHAPES[shape])
    done = cloud.run("deploy/deploy_all.sh", "--yes")
    job = cloud.run("deploy/training_job.sh", "--schedule")
    values = cloud.outputs.with_name("main.tfvars").read_text()

    assert done.returncode == 0, done.stderr
    assert job.returncode == 0, job.stderr
    assert google.unknown == []
    for function in d.functions:
        check_service(google, d, function)
        check_build(google, d, function)
        assert f"https://{d.name(function.target)}-1.run.app" in values
    check_keys(google, d)
    check_record(google, d)
    check_jobs(google, d)
    check_operator(google, d)
    check_schedules(google, d)
    jobs = {*google.named("/namespaces/my-project/jobs/")}
    assert {*google.policies} == jobs - {d.name("operator")}


def test_a_command_reaches_the_job_word_by_word(cloud, google):
    """And its answer the operator. Defect: gcloud refuses the same word twice."""
    cloud.settings = FEW
    container = {"image": "image"}
    task = {"template": {"spec": {"containers": [container]}}}
    job = {"spec": {"template": {"spec": task}}}
    jobs = "/apis/run.googleapis.com/v1/namespaces/my-project/jobs"
    google.things[f"{jobs}/propensity-operator"] = job
    words = ["dead-letters", "replay", "--from", "a, b=c", "--to", "a, b=c"]
    done = cloud.run("deploy/operate.sh", *words)

    assert done.returncode == 3, done.stderr
    [asked] = google.executions
    assert done.stdout == f"{asked}\n"
    assert asked == ["--", "python3", "operate.py", "-", json.dumps(words)]


@pytest.mark.long
def test_functions_run_in_the_images_that_were_tested(cloud, google):
    """Nothing is built again, and a function whose image has no operating system keeps
    the base image that Google puts beneath."""
    scripts = ("00-ModelTraining/deploy.sh", "02-GetProba/deploy.sh")
    both = {**SETTINGS, "DEPLOY_FUNCTIONS": "model_training get_proba"}
    tested = both | {"DEPLOY_PREFIX": "tested"}
    set_up(cloud, tested)
    cloud.outputs.parent.rename(cloud.outputs.parent.with_name("my-project-tested"))
    for script in scripts:
        done = cloud.run(script)
        assert done.returncode == 0, done.stderr
    file = cloud.folder / "settings.env"
    file = file.rename(file.with_name("tested.env"))
    google.builds.clear()
    set_up(cloud, both)
    google.buckets["my-bucket-state"] = {"name": "my-bucket-state"}
    plan = f"--plan={cloud.folder}/plan"
    done = cloud.run("deploy/setup.sh", "--dry-run", plan, f"--images-from={file}")
    assert done.returncode == 0, done.stderr
    for script in scripts:
        done = cloud.run(script, plan)
        assert done.returncode == 0, done.stderr

    assert (google.unknown, google.builds) == ([], {})
    services = google.named("/services/")
    for name in ("model-training", "get-proba"):
        before, after = (
            services[f"{prefix}-{name}"]["spec"]["template"]
            for prefix in ("tested", "propensity")
        )
        bases = [one["metadata"]["annotations"].get(BASES) for one in (before, after)]
        images = [one["spec"]["containers"][0]["image"] for one in (before, after)]
        assert bases[0] == bases[1]
        assert images[0] == images[1]
        assert images[0].endswith(f"/tested-{name}@{DIGEST}")
