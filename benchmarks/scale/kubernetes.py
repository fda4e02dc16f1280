"""What Kubernetes adds to a plate: `.venv/bin/python benchmarks/scale/kubernetes.py [--fovs-per-well 9]`

The plate's FOVs go through a run of two pods on the tests' Kubernetes, deployed as docker/k8s/ says, and beside it
through the same run in one process. Needs the programs of `make test-k8s`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from in_pods import main

    main()
