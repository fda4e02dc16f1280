"""Questions about recorded numbers, and evidence for them: explain, verify, impact, leakage, bundles."""
