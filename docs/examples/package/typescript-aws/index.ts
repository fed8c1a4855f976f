// What Vigil needs on AWS: keys, a network, a cluster, a database and buckets, from a program in TypeScript.
import * as pulumi from "@pulumi/pulumi";
import * as vigil from "@pulumi/vigil";

const config = new pulumi.Config();
const account = config.get("account") ?? "111122223333";
const region = config.get("region") ?? "eu-west-1";
const ownership = { environment: "dev", owner: "ml-platform", costCenter: "1234" };

const keys = new vigil.PlatformKeys("site", { ownership, account, region });
const network = new vigil.PlatformNetwork("site", {
  ownership,
  account,
  region,
  zones: [`${region}a`, `${region}b`],
  logKey: keys.dataArn,
});
const cluster = new vigil.PlatformCluster("site", {
  ownership,
  account,
  region,
  vpcId: network.vpcId,
  subnetIds: network.privateSubnetIds,
  secretsKey: keys.secretsArn,
  logKey: keys.dataArn,
  admins: { ops: config.get("adminRole") ?? `arn:aws:iam::${account}:role/ops` },
});
const database = new vigil.PlatformDatabase("site-mlflow", {
  ownership,
  vpcId: network.vpcId,
  subnetIds: network.intraSubnetIds,
  clients: cluster.securityGroup,
  key: keys.dataArn,
});
const buckets = new vigil.PlatformBuckets("site", {
  ownership,
  account,
  names: { models: `site-models-${account}`, logs: `site-logs-${account}` },
  key: keys.dataArn,
});

// For a Kubernetes provider, whose programs make vigil.Platform.
export const kubeconfig = cluster.kubeconfig;
export const databaseHost = database.address;
export const bucketArns = buckets.arns;
