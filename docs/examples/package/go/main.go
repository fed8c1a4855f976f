// Vigil's Kubernetes part on the cluster of the kubeconfig, from a program in Go.
package main

import (
	"example.com/pulumi-vigil/sdk/go/vigil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		settings := config.New(ctx, "")
		image := settings.Get("image")
		if image == "" {
			image = "vigil:dev"
		}
		platform, err := vigil.NewPlatform(ctx, "platform", &vigil.PlatformArgs{
			Environment:      "local",
			Image:            pulumi.StringRef(image),
			HomeStorageClass: pulumi.StringRef("standard"),
			HomeAccessMode:   pulumi.StringRef("ReadWriteOnce"),
			HomeSizeGib:      pulumi.IntRef(5),
			MlflowStore:      pulumi.StringRef("sqlite"),
			MlflowReplicas:   pulumi.IntRef(1),
			Monitoring:       pulumi.BoolRef(false),
			HeadCpu:          pulumi.IntRef(1),
			HeadMemoryGib:    pulumi.IntRef(2),
			WorkerCpu:        pulumi.IntRef(1),
			WorkerMemoryGib:  pulumi.IntRef(2),
			MinWorkers:       pulumi.IntRef(1),
			MaxWorkers:       pulumi.IntRef(2),
			Serve: map[string]interface{}{
				"minReplicas":    1,
				"maxReplicas":    2,
				"cpusPerReplica": 0.5,
			},
			RayToken:        settings.RequireSecret("rayToken"),
			ApiKeys:         settings.RequireSecret("apiKeys"),
			MlflowPassword:  settings.RequireSecret("mlflowPassword"),
			MlflowSecretKey: settings.RequireSecret("mlflowSecretKey"),
		})
		if err != nil {
			return err
		}
		ctx.Export("namespace", platform.Namespace)
		return nil
	})
}
