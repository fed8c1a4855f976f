"""Where properties of the good stack are that cases of several topics change."""

POD = "spec.template.spec"
BOX = f"{POD}.containers.0"
HEAD = "spec.rayClusterConfig.headGroupSpec"
WORKER = "spec.rayClusterConfig.workerGroupSpecs.0"
WORKER_BOX = f"{WORKER}.template.spec.containers.0"
