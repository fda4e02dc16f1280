"""What a lab says of its cluster: defaults that suit, and one sentence for whatever cannot be used."""

from pathlib import Path

import pytest
import yaml

from cell_assets.automation.kubernetes_settings import KubernetesSettings, bytes_of, read_kubernetes_settings
from cell_assets.errors import BadInputError

CHECKOUT = Path(__file__).parents[2]

NEEDED = {
    "volume": {"claim": "cell-assets-home", "mount_path": "/lab"},
    "database_secret": "cell-assets-database",
}


def written(folder: Path, values: object) -> Path:
    path = folder / "kubernetes.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_volume_and_secret_are_enough(tmp_path: Path) -> None:
    kubernetes = read_kubernetes_settings(written(tmp_path, NEEDED))
    assert (kubernetes.cpu.cpus, kubernetes.gpu.gpus, kubernetes.gpu.resource) == (2, 1, "nvidia.com/gpu")
    assert [toleration.key for toleration in kubernetes.gpu.tolerations] == ["nvidia.com/gpu"]


def test_the_example_beside_the_helm_values_can_be_read() -> None:
    kubernetes = read_kubernetes_settings(CHECKOUT / "docker" / "k8s" / "kubernetes.yaml")
    assert kubernetes.gpu.node_selector == {"nvidia.com/gpu.present": "true"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume": "claim"}, "field volume"),
        ({"volume": {"mount_path": "/lab"}}, "field volume.claim: Field required"),
        ({"volume": {"claim": "c", "mount_path": "lab"}}, "field volume.mount_path is 'lab'"),
        ({"volume": {"claim": "c", "mount_path": "/"}}, "field volume.mount_path is '/'"),
        ({"volume": {"claim": "c", "mount_path": "/lab/../etc"}}, "field volume.mount_path is '/lab/../etc'"),
        ({"volume": {"claim": "Claim_1", "mount_path": "/lab"}}, "field volume.claim is 'Claim_1'"),
        ({"database_secret": "a secret"}, "field database_secret is 'a secret'"),
        ({"databse_secret": "x"}, "field databse_secret: Extra inputs"),
        ({"cpu": {"cpus": 0}}, "field cpu.cpus is 0"),
        (
            {"cpu": {"memory": "8 GB"}},
            "field cpu.memory is '8 GB': give whole bytes with a unit, such as 8Gi",
        ),
        ({"gpu": {"gpus": 0}}, "field gpu.gpus is 0"),
        (
            {"gpu": {"tolerations": [{"key": "a", "operator": "Is"}]}},
            "field gpu.tolerations.0.operator is 'Is'",
        ),
        ({"gpu": {"tolerations": [{"key": "a", "operator": "Equal"}]}}, "operator Equal needs a value"),
        ({"gpu": {"memory": "4Gi", "shared_memory": "4096Mi"}}, "give less of it than memory 4Gi"),
        ({"retries": {"attempts": -1}}, "field retries.attempts is -1"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    path = written(tmp_path, NEEDED | changes)
    with pytest.raises(BadInputError) as refused:
        read_kubernetes_settings(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_no_file_and_no_fields_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(BadInputError, match=f"CELL_ASSETS_KUBERNETES={missing} cannot be read: No such file"):
        read_kubernetes_settings(missing)
    with pytest.raises(BadInputError, match="give fields such as `database_secret: cell-assets-database`"):
        read_kubernetes_settings(written(tmp_path, ["volume"]))


def test_tags_in_the_yaml_make_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.yaml"
    path.write_text("volume: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="could not determine a constructor"):
        read_kubernetes_settings(path)


@pytest.mark.parametrize(
    ("quantity", "expected"), [("7", 7), ("8Gi", 2**33), ("64Mi", 2**26), ("3k", 3000), ("2T", 2 * 10**12)]
)
def test_bytes_of_quantities(quantity: str, expected: int) -> None:
    assert bytes_of(quantity) == expected


def test_every_field_has_a_default_but_one() -> None:
    required = {n for n, f in KubernetesSettings.model_fields.items() if f.is_required()}
    assert required == {"database_secret"}
