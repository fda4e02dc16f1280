"""The supervised control of profiles without learning: CytoSummaryNet's head behind them, by folds of compounds."""
