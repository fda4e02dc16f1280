"""The registry names methods without importing them."""

import subprocess
import sys
from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.parameters import Precision, TrainingParameters
from cell_assets.methods.registry import load_method, method_names


def test_listing_methods_imports_neither_torch_nor_umap() -> None:
    code = (
        "import sys; from cell_assets.methods.registry import method_names;"
        "from cell_assets.methods.dynaclr.parameters import TrainingParameters; method_names();"
        "print(sorted({'torch', 'umap', 'lightning', 'sklearn', 'anndata'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_methods_load_by_name() -> None:
    assert method_names() == ("dynaclr",)
    assert load_method("dynaclr").name == "dynaclr"
    with pytest.raises(BadInputError, match="method 'dynacrl' is not one of dynaclr"):
        load_method("dynacrl")


def test_the_paper_preset_has_the_papers_values() -> None:
    paper = load_method("dynaclr").parameters("paper", {})
    assert isinstance(paper, TrainingParameters)
    assert (paper.batch_size, paper.learning_rate, paper.margin) == (256, 2e-5, 0.5)
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
        ("quick", {"patch_side_px": 16}, r"patch_side_px=16 cannot be used: .*greater than or equal to 32"),
    ],
)
def test_bad_parameters_are_named(preset: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_method("dynaclr").parameters(preset, changes)


def test_what_this_machine_cannot_run_is_changed_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    method = load_method("dynaclr")
    resolution = method.resolve(method.parameters("paper", {}))
    assert isinstance(resolution.parameters, TrainingParameters)
    assert resolution.parameters.compile_mode.value == "eager"
    assert resolution.parameters.precision is Precision.FLOAT32
    assert len(resolution.messages) == 2
    assert "C++ compiler" in resolution.messages[0]
    assert method.resolve(resolution.parameters).messages == ()
