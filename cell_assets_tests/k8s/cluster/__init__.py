"""A real Kubernetes API on loopback, and a kubelet that runs pods as processes; see README.md."""
