"""The simulated plates of this benchmark. They were chosen before any model was trained on them, and stay."""

from cell_assets.simulation.parameters import SimulationParameters

SEEDS = (1, 2, 3)
INDEPENDENT_INTERVAL_MIN = 120.0


def training_plate(seed: int) -> SimulationParameters:
    """Mock and infected (MOI 5), 20 FOVs over 4 wells, 24 frames 30 min apart; the simulator's own difficulty."""
    return SimulationParameters(seed=seed, wells_per_condition=2, fovs_per_well=5)


def independent_plate(seed: int) -> SimulationParameters:
    """Other cells on another day: 2 h between frames over the same hours, a dimmer sensor, more background."""
    return SimulationParameters(
        seed=100 + seed,
        wells_per_condition=2,
        fovs_per_well=5,
        time_points=7,
        interval_min=INDEPENDENT_INTERVAL_MIN,
        sensor_photons=80.0,
        background_photons=22.0,
    )
