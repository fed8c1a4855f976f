"""Components of infra/ as a Pulumi package, for programs in any of its languages."""
