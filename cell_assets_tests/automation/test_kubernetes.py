"""What is refused before anything runs in pods, and the jobs that dagster-k8s makes of what is not."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from cell_assets.automation.kubernetes_settings import KubernetesSettings
from cell_assets.cli import commands
from cell_assets.cli.lab import definitions_of_command
from cell_assets.definitions import build_defs
from cell_assets.errors import BadInputError
from cell_assets.resources.progress import ProgressDisplay
from cell_assets.settings import Executor, Settings
from cell_assets.store.boundaries import unobserved
from cell_assets_tests.automation.test_kubernetes_settings import NEEDED, written

pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed")

PASSWORD = "canary-5d1f"
REACHABLE = f"postgresql://somebody:{PASSWORD}@db.example.org:5432/cell_assets"


def lab(folder: Path, *, url: str | None = REACHABLE, home: str = "/lab/cell_assets") -> Settings:
    return Settings(
        executor=Executor.K8S, kubernetes=written(folder, NEEDED), home=Path(home), database_url=url
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "CELL_ASSETS_DATABASE_URL is not set"),
        ("sqlite:////lab/ledger.db", "names SQLite (sqlite)"),
        (f"sqlite+pysqlcipher://:{PASSWORD}@/lab/ledger.db", "names SQLite (sqlite+pysqlcipher)"),
        (f"mysql://somebody:{PASSWORD}@db/cell_assets", "must read postgresql://user:password@host/name"),
        (f"postgresql://postgres:{PASSWORD}@/cell_assets?host=/run/postgresql", "(host /run/postgresql)"),
        (f"postgresql://:{PASSWORD}@/cell_assets", "(host left out)"),
        ("postgresql:///cell_assets", "(host left out)"),
        ("postgresql://:5432/cell_assets", "(host left out)"),
        ("postgresql://%2Frun%2Fpostgresql/cell_assets", "(host /run/postgresql)"),
        ("postgresql://db.example.org,/cell_assets", "(host left out)"),
        ("postgresql://db.example.org/cell_assets?host=%2Frun", "(host /run)"),
    ],
)
def test_a_database_that_pods_cannot_reach_is_refused(tmp_path: Path, url: str | None, said: str) -> None:
    with pytest.raises(BadInputError) as refused:
        build_defs(lab(tmp_path, url=url))
    assert said in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        REACHABLE,
        "postgresql://[fd00::1]:5432/cell_assets",
        "postgresql://[fd00::1]/cell_assets",
        "postgresql://one,two:5433/cell_assets?target_session_attrs=read-write",
        "postgresql:///cell_assets?host=db.example.org",
        "postgresql:///cell_assets?hostaddr=10.0.0.7",
        "postgresql+psycopg2://127.0.0.1:5433/cell_assets",
    ],
)
def test_a_database_that_pods_may_reach_is_not_refused(tmp_path: Path, url: str) -> None:
    assert build_defs(lab(tmp_path, url=url)).executor is not None


@pytest.mark.parametrize("home", ["/root/.cell_assets", "/laboratory", "/", "lab/cell_assets"])
def test_a_store_that_is_on_no_shared_volume_is_refused(tmp_path: Path, home: str) -> None:
    with pytest.raises(BadInputError) as refused:
        build_defs(lab(tmp_path, home=home))
    assert str(refused.value) == (
        f"CELL_ASSETS_HOME={home} is not on the volume that pods share: {tmp_path}/kubernetes.yaml mounts claim "
        "cell-assets-home at volume.mount_path /lab; set one to match the other"
    )


@pytest.mark.parametrize("home", ["/lab", "/lab/a/b"])
def test_a_store_on_the_shared_volume_is_not_refused(tmp_path: Path, home: str) -> None:
    assert build_defs(lab(tmp_path, home=home)).executor is not None


def test_pods_that_nothing_is_said_of_are_refused() -> None:
    with pytest.raises(BadInputError, match="CELL_ASSETS_EXECUTOR=k8s needs CELL_ASSETS_KUBERNETES"):
        build_defs(Settings(executor=Executor.K8S, database_url=REACHABLE))


def test_a_home_with_a_way_out_of_the_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not on the volume"):
        build_defs(lab(tmp_path, home="/lab/../root"))


def test_a_lab_without_kubernetes_loads_none_of_it() -> None:
    script = (
        "import sys\nfrom cell_assets.definitions import defs\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('dagster_k8s', 'kubernetes')"
        " or 'kubernetes' in name])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_executor_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_ASSETS_EXECUTOR", "k8s")
    monkeypatch.setenv("CELL_ASSETS_KUBERNETES", str(written(tmp_path, NEEDED)))
    monkeypatch.setenv("CELL_ASSETS_HOME", "/lab")
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL", REACHABLE)
    executor = build_defs().executor
    assert executor is not None and executor.name == "k8s"
    monkeypatch.setenv("CELL_ASSETS_EXECUTOR", "kubernets")
    with pytest.raises(ValueError, match=r"executor[\s\S]*'in_process' or 'k8s'[\s\S]*'kubernets'"):
        build_defs()


def test_needed_is_what_the_model_asks_for() -> None:
    volume = KubernetesSettings.model_validate(NEEDED).volume
    assert volume is not None and volume.claim == "cell-assets-home"


def without_volume(folder: Path, store: str | None, home: str = "/home/lab") -> Settings:
    needed = {name: value for name, value in NEEDED.items() if name != "volume"}
    return Settings(
        executor=Executor.K8S,
        kubernetes=written(folder, needed),
        home=Path(home),
        database_url=REACHABLE,
        store=store,
    )


def test_pods_that_share_no_folder_need_a_bucket(tmp_path: Path) -> None:
    for store in (None, ""):
        with pytest.raises(
            BadInputError, match=r"pods share no folder.* or set CELL_ASSETS_STORE to s3://bucket"
        ):
            build_defs(without_volume(tmp_path, store))
    executor = build_defs(without_volume(tmp_path, "s3://lab/main")).executor
    assert executor is not None
    config = executor.apply_config_mapping({"config": {}}).value["config"]
    assert config["volumes"] == [{"name": "cell-assets-home", "empty_dir": {}}]
    assert config["volume_mounts"] == [{"name": "cell-assets-home", "mount_path": "/home/lab"}]
    with pytest.raises(BadInputError, match="give an absolute path below /"):
        build_defs(without_volume(tmp_path, "s3://lab/main", "lab"))


def test_a_bucket_whose_url_holds_more_is_refused_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not s3://bucket") as refused:
        build_defs(without_volume(tmp_path, f"s3://somebody:{PASSWORD}@lab"))
    assert PASSWORD not in str(refused.value)


def test_copies_and_trainings_on_a_shared_volume_may_have_a_bucket_beside_them(tmp_path: Path) -> None:
    settings = lab(tmp_path).model_copy(update={"store": "s3://lab/main"})
    assert build_defs(settings).executor is not None
    with pytest.raises(BadInputError, match="is not on the volume"):
        build_defs(settings.model_copy(update={"home": Path("/elsewhere")}))


def test_dev_does_not_pretend_to_have_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before a database is asked for: the one that is named does not exist."""
    monkeypatch.setenv("CELL_ASSETS_EXECUTOR", "k8s")
    monkeypatch.setenv("CELL_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL", "postgresql://127.0.0.1:1/cell_assets")
    with pytest.raises(
        BadInputError, match="CELL_ASSETS_EXECUTOR=k8s: `cell-assets dev` launches runs on this"
    ):
        commands(["dev"], standalone_mode=False)
    assert not (tmp_path / "home").exists()


def test_a_command_executes_in_its_own_process_whatever_launched_runs_do(tmp_path: Path) -> None:
    defs = definitions_of_command(lab(tmp_path), unobserved, ProgressDisplay.LOG)
    assert defs.executor is dg.in_process_executor
