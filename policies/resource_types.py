"""Resource types that rules of several topics judge, as Pulumi's engine names them."""

from __future__ import annotations

EBS_VOLUME = "aws:ebs/volume:Volume"
EC2_INSTANCE = "aws:ec2/instance:Instance"
EFS_FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"
ECR_REPOSITORY = "aws:ecr/repository:Repository"
EKS_CLUSTER = "aws:eks/cluster:Cluster"
EKS_NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
IAM_POLICY = "aws:iam/policy:Policy"
IAM_ROLE = "aws:iam/role:Role"
KINESIS_STREAM = "aws:kinesis/stream:Stream"
KMS_KEY = "aws:kms/key:Key"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
NAT_GATEWAY = "aws:ec2/natGateway:NatGateway"
RDS_INSTANCE = "aws:rds/instance:Instance"
RDS_PARAMETER_GROUP = "aws:rds/parameterGroup:ParameterGroup"
REDIS_GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
S3_BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
AWS_SECRETS = "aws:secretsmanager/secret:Secret"
SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup"
SQS_QUEUE = "aws:sqs/queue:Queue"
SUBNET = "aws:ec2/subnet:Subnet"
VPC = "aws:ec2/vpc:Vpc"
VPC_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"

HELM_RELEASE = "kubernetes:helm.sh/*:Release"
KARPENTER_NODE_POOL = "kubernetes:karpenter.sh/*:NodePool"
KUBE_CONFIG_MAP = "kubernetes:core/*:ConfigMap"
KUBE_INGRESS = "kubernetes:networking.k8s.io/*:Ingress"
KUBE_NAMESPACE = "kubernetes:core/*:Namespace"
KUBE_SECRETS = "kubernetes:core/*:Secret"
KUBE_SERVICE = "kubernetes:core/*:Service"

RAY_SERVICE_TYPE = "kubernetes:ray.io/*:RayService"
RAY_TYPES = (RAY_SERVICE_TYPE, "kubernetes:ray.io/*:RayCluster", "kubernetes:ray.io/*:RayJob")
WORKLOAD_TYPES = (
    "kubernetes:core/*:Pod",
    "kubernetes:apps/*:Deployment",
    "kubernetes:apps/*:StatefulSet",
    "kubernetes:apps/*:DaemonSet",
    "kubernetes:batch/*:Job",
    "kubernetes:batch/*:CronJob",
)
POD_TYPES = (*WORKLOAD_TYPES, *RAY_TYPES)
