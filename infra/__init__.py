"""What provisions the platform: Pulumi components, pure manifests, and what explains them."""
