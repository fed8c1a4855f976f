// Vigil's Kubernetes part on the cluster of the kubeconfig, from a program in TypeScript.
import * as pulumi from "@pulumi/pulumi";
import * as vigil from "@pulumi/vigil";

const config = new pulumi.Config();
const platform = new vigil.Platform("platform", {
  environment: "local",
  image: config.get("image") ?? "vigil:dev",
  homeStorageClass: "standard",
  homeAccessMode: "ReadWriteOnce",
  homeSizeGib: 5,
  mlflowStore: "sqlite",
  mlflowReplicas: 1,
  monitoring: false,
  headCpu: 1,
  headMemoryGib: 2,
  workerCpu: 1,
  workerMemoryGib: 2,
  minWorkers: 1,
  maxWorkers: 2,
  serve: { minReplicas: 1, maxReplicas: 2, cpusPerReplica: 0.5 },
  rayToken: config.requireSecret("rayToken"),
  apiKeys: config.requireSecret("apiKeys"),
  mlflowPassword: config.requireSecret("mlflowPassword"),
  mlflowSecretKey: config.requireSecret("mlflowSecretKey"),
});

export const namespace = platform.namespace;
