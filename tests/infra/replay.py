"""Creates for real, on a moto server, what a stack has recorded."""

from __future__ import annotations

from typing import Any

import boto3

from tests.infra.recorded import Stack

REGION = "eu-west-1"
ACCOUNT = "111122223333"


def client(name: str) -> Any:
    return boto3.client(name, region_name=REGION)  # type: ignore[call-overload]


class Replay:
    """Creates what a stack recorded, in order; translates the mocks' ids to those of moto."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ids: dict[str, str] = {}

    def vpc(self, overrides: dict[str, str] | None = None) -> None:
        ec2 = client("ec2")
        one = self.stack.one("aws:ec2/vpc:Vpc")
        made = ec2.create_vpc(CidrBlock=one.inputs["cidrBlock"])["Vpc"]["VpcId"]
        self.ids[f"{one.name}-id"] = made
        for subnet in self.stack.of("aws:ec2/subnet:Subnet"):
            block = (overrides or {}).get(subnet.name, subnet.inputs["cidrBlock"])
            found = ec2.create_subnet(
                VpcId=made, CidrBlock=block, AvailabilityZone=subnet.inputs["availabilityZone"]
            )
            self.ids[f"{subnet.name}-id"] = found["Subnet"]["SubnetId"]

    def ways_out(self) -> None:
        ec2 = client("ec2")
        gateway = self.stack.one("aws:ec2/internetGateway:InternetGateway")
        self.ids["gateway"] = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(
            InternetGatewayId=self.ids["gateway"], VpcId=self._id(gateway.inputs["vpcId"])
        )
        for address in self.stack.of("aws:ec2/eip:Eip"):
            self.ids[f"{address.name}-id#eip"] = ec2.allocate_address(Domain="vpc")["AllocationId"]
        nats = {}
        for nat in self.stack.of("aws:ec2/natGateway:NatGateway"):
            made = ec2.create_nat_gateway(
                SubnetId=self._id(nat.inputs["subnetId"]),
                AllocationId=self.ids[nat.inputs["allocationId"] + "#eip"],
            )
            nats[f"{nat.name}-id"] = made["NatGateway"]["NatGatewayId"]
        tables = {}
        for table in self.stack.of("aws:ec2/routeTable:RouteTable"):
            tables[f"{table.name}-id"] = ec2.create_route_table(
                VpcId=self._id(table.inputs["vpcId"])
            )["RouteTable"]["RouteTableId"]
        for route in self.stack.of("aws:ec2/route:Route"):
            nat = route.inputs.get("natGatewayId")
            way = {"NatGatewayId": nats[nat]} if nat else {"GatewayId": self.ids["gateway"]}
            ec2.create_route(
                RouteTableId=tables[route.inputs["routeTableId"]],
                DestinationCidrBlock=route.inputs["destinationCidrBlock"],
                **way,
            )
        for tie in self.stack.of("aws:ec2/routeTableAssociation:RouteTableAssociation"):
            ec2.associate_route_table(
                RouteTableId=tables[tie.inputs["routeTableId"]],
                SubnetId=self._id(tie.inputs["subnetId"]),
            )
        for endpoint in self.stack.of("aws:ec2/vpcEndpoint:VpcEndpoint"):
            ec2.create_vpc_endpoint(
                VpcId=self._id(endpoint.inputs["vpcId"]),
                ServiceName=endpoint.inputs["serviceName"],
                VpcEndpointType=endpoint.inputs["vpcEndpointType"],
            )

    def keys(self) -> None:
        kms = client("kms")
        for key in self.stack.of("aws:kms/key:Key"):
            made = kms.create_key(
                Policy=key.inputs["policy"], Description=key.inputs["description"]
            )["KeyMetadata"]
            kms.enable_key_rotation(KeyId=made["KeyId"])
            self.ids[f"arn:aws:kms:{REGION}:111122223333:key/{key.name}"] = made["Arn"]
        for alias in self.stack.of("aws:kms/alias:Alias"):
            kms.create_alias(
                AliasName=alias.inputs["name"], TargetKeyId=self._key(alias.inputs["targetKeyId"])
            )

    def buckets(self) -> None:
        s3 = client("s3")
        for bucket in self.stack.of("aws:s3/bucket:Bucket"):
            s3.create_bucket(
                Bucket=bucket.inputs["bucket"],
                CreateBucketConfiguration={"LocationConstraint": REGION},
            )
        for rule in self.stack.of("aws:s3/bucketVersioning:BucketVersioning"):
            s3.put_bucket_versioning(
                Bucket=rule.inputs["bucket"],
                VersioningConfiguration={
                    "Status": rule.inputs["versioningConfiguration"]["status"]
                },
            )
        for policy in self.stack.of("aws:s3/bucketPolicy:BucketPolicy"):
            s3.put_bucket_policy(Bucket=policy.inputs["bucket"], Policy=policy.inputs["policy"])
        for life in self.stack.of(
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
        ):
            s3.put_bucket_lifecycle_configuration(
                Bucket=life.inputs["bucket"],
                LifecycleConfiguration={"Rules": [_lifecycle(r) for r in life.inputs["rules"]]},
            )
        for one in self.stack.of(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        ):
            default = one.inputs["rules"][0]["applyServerSideEncryptionByDefault"]
            wanted = {"SSEAlgorithm": default["sseAlgorithm"]}
            if "kmsMasterKeyId" in default:
                wanted["KMSMasterKeyID"] = self.ids[default["kmsMasterKeyId"]]
            s3.put_bucket_encryption(
                Bucket=one.inputs["bucket"],
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": wanted}]
                },
            )

    def roles(self) -> None:
        iam = client("iam")
        for role in self.stack.of("aws:iam/role:Role"):
            name = role.inputs.get("name", f"{role.name}-0a1b2c3")
            assert len(name) <= 64
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=role.inputs["assumeRolePolicy"])
        for policy in self.stack.of("aws:iam/rolePolicy:RolePolicy"):
            iam.put_role_policy(
                RoleName=policy.inputs["role"],
                PolicyName=policy.name,
                PolicyDocument=policy.inputs["policy"],
            )
            assert len(policy.inputs["policy"]) <= 10_240  # all inline policies of a role together
        for tie in self.stack.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
            iam.attach_role_policy(RoleName=tie.inputs["role"], PolicyArn=tie.inputs["policyArn"])

    def stores(self) -> None:
        ecr, rds, kinesis = client("ecr"), client("rds"), client("kinesis")
        for one in self.stack.of("aws:ecr/repository:Repository"):
            ecr.create_repository(
                repositoryName=one.inputs["name"],
                imageTagMutability=one.inputs["imageTagMutability"],
                imageScanningConfiguration=one.inputs["imageScanningConfiguration"],
            )
        for one in self.stack.of("aws:ecr/lifecyclePolicy:LifecyclePolicy"):
            ecr.put_lifecycle_policy(
                repositoryName=one.inputs["repository"], lifecyclePolicyText=one.inputs["policy"]
            )
        stream = self.stack.one("aws:kinesis/stream:Stream").inputs
        more = {"ShardCount": stream["shardCount"]} if "shardCount" in stream else {}
        kinesis.create_stream(
            StreamName=stream["name"],
            StreamModeDetails={"StreamMode": stream["streamModeDetails"]["streamMode"]},
            **more,
        )
        kinesis.start_stream_encryption(
            StreamName=stream["name"], EncryptionType="KMS", KeyId=self.ids[stream["kmsKeyId"]]
        )
        kinesis.increase_stream_retention_period(
            StreamName=stream["name"], RetentionPeriodHours=stream["retentionPeriod"]
        )
        group = self.stack.one("aws:rds/subnetGroup:SubnetGroup").inputs
        rds.create_db_subnet_group(
            DBSubnetGroupName=group["name"],
            DBSubnetGroupDescription="-",
            SubnetIds=[self.ids[s] for s in group["subnetIds"]],
        )
        parameters = self.stack.one("aws:rds/parameterGroup:ParameterGroup")
        name = parameters.inputs.get("name", parameters.name)
        rds.create_db_parameter_group(
            DBParameterGroupName=name,
            DBParameterGroupFamily=parameters.inputs["family"],
            Description="-",
        )
        self.database()

    def database(self) -> None:
        one = self.stack.one("aws:rds/instance:Instance").inputs
        client("rds").create_db_instance(
            DBInstanceIdentifier=one["identifier"],
            Engine=one["engine"],
            EngineVersion=one["engineVersion"],
            DBName=one["dbName"],
            DBInstanceClass=one["instanceClass"],
            AllocatedStorage=one["allocatedStorage"],
            MasterUsername=one["username"],
            ManageMasterUserPassword=True,
            StorageEncrypted=True,
            KmsKeyId=self.ids[one["kmsKeyId"]],
            MultiAZ=one["multiAz"],
            DBSubnetGroupName=one["dbSubnetGroupName"],
            BackupRetentionPeriod=one["backupRetentionPeriod"],
            DeletionProtection=one["deletionProtection"],
            PubliclyAccessible=one["publiclyAccessible"],
        )

    def _id(self, recorded_id: str) -> str:
        return self.ids[recorded_id]

    def groups(self) -> None:
        """Security groups and each of their rules.

        What pulumi-eks makes inside its component is not recorded.
        """
        ec2 = client("ec2")
        for one in self.stack.of("aws:ec2/securityGroup:SecurityGroup"):
            vpc = self._id(one.inputs["vpcId"])
            made = ec2.create_security_group(
                GroupName=one.name, Description=one.inputs["description"], VpcId=vpc
            )["GroupId"]
            self.ids[f"{one.name}-id#group"] = made
            for rule in one.inputs["ingress"]:
                ec2.authorize_security_group_ingress(
                    GroupId=made, IpPermissions=[_rule(rule, made)]
                )
            assert one.inputs["egress"] == []

    def files(self) -> None:
        efs, one = client("efs"), self.stack.one("aws:efs/fileSystem:FileSystem").inputs
        made = efs.create_file_system(
            Encrypted=one["encrypted"],
            KmsKeyId=self.ids[one["kmsKeyId"]],
            ThroughputMode=one["throughputMode"],
        )["FileSystemId"]
        for target in self.stack.of("aws:efs/mountTarget:MountTarget"):
            groups = [self.ids[f"{group}#group"] for group in target.inputs["securityGroups"]]
            efs.create_mount_target(
                FileSystemId=made,
                SubnetId=self._id(target.inputs["subnetId"]),
                SecurityGroups=groups,
            )

    def cluster(self) -> None:
        """Control plane and node groups.

        Access entries, add-ons and Pod Identity moto does not know.
        """
        eks, whole = client("eks"), self.stack.one("eks:index:Cluster").inputs
        subnets = [
            self._id(one)
            for one in self.stack.one("aws:eks/nodeGroup:NodeGroup").inputs["subnetIds"]
        ]
        eks.create_cluster(
            name=whole["name"],
            version=whole["version"],
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/{whole['name']}",
            resourcesVpcConfig={"subnetIds": subnets},
        )
        for one in self.stack.of("aws:eks/nodeGroup:NodeGroup"):
            eks.create_nodegroup(
                clusterName=one.inputs["clusterName"],
                nodegroupName=one.name,
                subnets=subnets,
                nodeRole=one.inputs["nodeRoleArn"],
                amiType=one.inputs["amiType"],
                capacityType=one.inputs["capacityType"],
                instanceTypes=one.inputs["instanceTypes"],
                scalingConfig=one.inputs["scalingConfig"],
            )

    def cache(self) -> None:
        elasticache = client("elasticache")
        for one in self.stack.of("aws:elasticache/subnetGroup:SubnetGroup"):
            elasticache.create_cache_subnet_group(
                CacheSubnetGroupName=one.inputs["name"],
                CacheSubnetGroupDescription=one.inputs["description"],
                SubnetIds=[self._id(subnet) for subnet in one.inputs["subnetIds"]],
            )
        for one in self.stack.of("aws:elasticache/replicationGroup:ReplicationGroup"):
            wanted = one.inputs
            elasticache.create_replication_group(
                ReplicationGroupId=wanted["replicationGroupId"],
                ReplicationGroupDescription=wanted["description"],
                NumCacheClusters=wanted["numCacheClusters"],
                CacheNodeType=wanted["nodeType"],
                Engine=wanted["engine"],
                EngineVersion=wanted["engineVersion"],
                AutomaticFailoverEnabled=wanted["automaticFailoverEnabled"],
                MultiAZEnabled=wanted["multiAzEnabled"],
                CacheSubnetGroupName=wanted["subnetGroupName"],
                TransitEncryptionEnabled=wanted["transitEncryptionEnabled"],
                AuthToken=wanted["authToken"],
                AtRestEncryptionEnabled=wanted["atRestEncryptionEnabled"],
                KmsKeyId=self.ids[wanted["kmsKeyId"]],
            )

    def _key(self, name: str) -> str:
        return self.ids[f"arn:aws:kms:{REGION}:111122223333:key/{name}"]


def _rule(rule: dict[str, Any], own: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "IpProtocol": rule["protocol"],
        "FromPort": rule["fromPort"],
        "ToPort": rule["toPort"],
    }
    if "securityGroups" in rule:  # the cluster's, which EKS makes: the group itself stands for it
        return found | {"UserIdGroupPairs": [{"GroupId": own} for _ in rule["securityGroups"]]}
    return found | {"IpRanges": [{"CidrIp": block} for block in rule["cidrBlocks"]]}


def _lifecycle(rule: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ID": rule["id"],
        "Status": rule["status"],
        "Filter": {"Prefix": rule["filter"]["prefix"]},
    }
    if "expiration" in rule:
        found["Expiration"] = {"Days": rule["expiration"]["days"]}
    if "noncurrentVersionExpiration" in rule:
        found["NoncurrentVersionExpiration"] = {
            "NoncurrentDays": rule["noncurrentVersionExpiration"]["noncurrentDays"]
        }
    if "abortIncompleteMultipartUpload" in rule:
        found["AbortIncompleteMultipartUpload"] = {
            "DaysAfterInitiation": rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"]
        }
    return found
