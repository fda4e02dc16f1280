"""What a computation runs on and in which arithmetic; parameters, as both decide a result's bytes. Free of torch."""

from enum import StrEnum


class Device(StrEnum):
    """Kind of processor; results differ between kinds."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """Arithmetic of the forward pass in training; parameters, optimizer and what is predicted are always float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    """Autocast."""
