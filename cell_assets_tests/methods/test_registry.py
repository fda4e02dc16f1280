"""The registry names methods without importing them."""

import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.parameters import TrainingParameters
from cell_assets.methods.processor import Precision
from cell_assets.methods.registry import (
    CELL_METHODS,
    ENTRIES,
    WELL_METHODS,
    MethodEntry,
    load_method,
    load_profile_method,
    load_trainable,
    presets_of,
)


def test_listing_methods_imports_neither_torch_nor_umap() -> None:
    code = (
        "import sys; from cell_assets.methods.registry import ENTRIES, presets_of;"
        "[presets_of(entry) for entry in ENTRIES];"
        "print(sorted({'torch', 'umap', 'lightning', 'sklearn', 'anndata'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_methods_load_by_name() -> None:
    assert [entry.name for entry in CELL_METHODS] == ["dynaclr"]
    assert [entry.name for entry in WELL_METHODS] == ["cytosummary"]
    assert load_method("dynaclr").name == "dynaclr"
    assert load_profile_method("cytosummary").name == "cytosummary"
    for load in (load_method, load_profile_method, load_trainable):
        with pytest.raises(BadInputError, match="method 'dynacrl' is not one of dynaclr, cytosummary"):
            load("dynacrl")
    with pytest.raises(BadInputError, match="cytosummary profiles wells and embeds no cells"):
        load_method("cytosummary")
    with pytest.raises(BadInputError, match="dynaclr embeds cells and profiles no wells"):
        load_profile_method("dynaclr")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.name))
def test_every_preset_is_what_the_method_makes_of_its_name(entry: MethodEntry) -> None:
    for name, preset in presets_of(entry).items():
        assert load_trainable(entry.name).parameters(name, {}) == preset


def test_the_paper_preset_has_the_papers_values() -> None:
    paper = load_method("dynaclr").parameters("paper", {})
    assert isinstance(paper, TrainingParameters)
    assert (paper.batch_size, paper.margin, paper.strategy.value) == (256, 0.5, "time-and-cell-aware")
    assert (paper.objective.value, paper.distance.value) == ("triplet", "squared")
    assert (paper.projection, paper.tau_min, paper.patch_side_px) == (32, 30.0, 128)
    assert paper.augmentation.noise_sigma_fluorescence == 0.5


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("fast", {}, "preset 'fast' is not one of paper, quick"),
        ("quick", {"margn": 1}, r"dynaclr parameter margn=1 cannot be used: Extra inputs"),
        (
            "quick",
            {"batch_size": 1},
            r"dynaclr parameter batch_size=1 cannot be used: .*greater than or equal",
        ),
        (
            "paper",
            {"concentration": 1.0},
            r"dynaclr parameters cannot be used: .*concentration is of objective=nt-xent",
        ),
        ("paper", {"initial": "imagenet"}, r"initial=imagenet needs a file of ConvNeXt weights"),
        ("paper", {"imagenet_file": "w.pth"}, r"are given and initial=scratch; set initial=imagenet"),
        ("quick", {"patch_side_px": 16}, r"patch_side_px=16 cannot be used: .*greater than or equal to 32"),
    ],
)
def test_bad_parameters_are_named(preset: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_method("dynaclr").parameters(preset, changes)


@pytest.mark.parametrize("changes", [{}, {"learning_rate": 1e-4}])
def test_the_learning_rate_goes_with_what_the_network_starts_from(
    changes: dict[str, object], tmp_path: Path
) -> None:
    method = load_method("dynaclr")
    (tmp_path / "w.pth").write_bytes(b"weights")
    weights = {"initial": "imagenet", "imagenet_file": str(tmp_path / "w.pth")}
    eager = {"compile_mode": "eager", "precision": "float32"}
    for start, rate in (({}, 2.5e-4), (weights, 2e-5)):
        resolved = method.resolve(method.parameters("paper", {**eager, **start, **changes})).parameters
        recorded = resolved.model_dump(mode="json")
        assert recorded["learning_rate"] == changes.get("learning_rate", rate)
        assert recorded["initial"] == start.get("initial", "scratch")
        assert "imagenet_file" not in recorded
        assert recorded["imagenet_blake3"] == (blake3(b"weights").hexdigest() if start else None)


def test_weights_are_those_that_were_recorded_or_refused(tmp_path: Path) -> None:
    method = load_method("dynaclr")
    file = tmp_path / "w.pth"
    file.write_bytes(b"weights")
    first = method.resolve(
        method.parameters("quick", {"initial": "imagenet", "imagenet_file": file})
    ).parameters
    again = first.model_dump() | {"imagenet_file": tmp_path / "moved.pth"}
    file.rename(tmp_path / "moved.pth")
    assert (
        method.resolve(TrainingParameters.model_validate(again)).parameters.model_dump() == first.model_dump()
    )
    (tmp_path / "moved.pth").write_bytes(b"others")
    with pytest.raises(BadInputError, match=r"moved\.pth have BLAKE3 .* and imagenet_blake3 says"):
        method.resolve(TrainingParameters.model_validate(again))
    with pytest.raises(BadInputError, match=r"ImageNet weights with BLAKE3 .* are needed"):
        method.resolve(TrainingParameters.model_validate(first.model_dump()))
    (tmp_path / "moved.pth").unlink()
    with pytest.raises(BadInputError, match=r"moved\.pth cannot be read \(No such file"):
        method.resolve(TrainingParameters.model_validate(again))


def test_what_this_machine_cannot_run_is_changed_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    method = load_method("dynaclr")
    resolution = method.resolve(method.parameters("paper", {}))
    assert isinstance(resolution.parameters, TrainingParameters)
    assert resolution.parameters.compile_mode.value == "eager"
    assert resolution.parameters.precision is Precision.FLOAT32
    assert len(resolution.messages) == 2
    assert "C++ compiler" in resolution.messages[0]
    assert "no bfloat16 instructions" in resolution.messages[1]
    assert method.resolve(resolution.parameters).messages == ()
