"""What provisions the platform: Pulumi components, Kubernetes manifests as pure functions, and what explains them."""
