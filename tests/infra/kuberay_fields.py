"""The fields of KubeRay's kinds, written from the reference of KubeRay 1.7.0: no package with its CRDs could be had.

A name has a kind of value: a Python type, a tuple of choices, another table, or a definition of Kubernetes itself,
which the tests look up in the published schemas. Fields that a newer KubeRay adds are to be added here by hand.
"""

from typing import Any

POD = "PodTemplateSpec"  # these three are Kubernetes' own
RESOURCES = "ResourceRequirements"
SECURITY = "SecurityContext"
STRINGS = dict[str, str]
LIST = list[Any]

AUTH = {"enableK8sTokenAuth": bool, "secretName": str, "mode": ("disabled", "token")}
AUTOSCALER = {
    "resources": RESOURCES,
    "image": str,
    "imagePullPolicy": str,
    "securityContext": SECURITY,
    "idleTimeoutSeconds": int,
    "upscalingMode": ("Default", "Aggressive", "Conservative"),
    "version": ("v1", "v2"),
    "env": LIST,
    "envFrom": LIST,
    "volumeMounts": LIST,
    "command": LIST,
    "args": LIST,
}
HEAD_GROUP = {
    "template": POD,
    "headService": dict,
    "enableIngress": bool,
    "ingressOptions": dict,
    "resources": STRINGS,
    "labels": STRINGS,
    "rayStartParams": STRINGS,
    "serviceType": ("ClusterIP", "NodePort", "LoadBalancer"),
}
WORKER_GROUP = {
    "suspend": bool,
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "idleTimeoutSeconds": int,
    "priority": int,
    "resources": STRINGS,
    "labels": STRINGS,
    "rayStartParams": STRINGS,
    "template": POD,
    "scaleStrategy": dict,
    "numOfHosts": int,
}
RAY_CLUSTER = {
    "upgradeStrategy": dict,
    "authOptions": AUTH,
    "suspend": bool,
    "managedBy": str,
    "autoscalerOptions": AUTOSCALER,
    "headServiceAnnotations": STRINGS,
    "enableInTreeAutoscaling": bool,
    "gcsFaultToleranceOptions": dict,
    "historyServerOptions": dict,
    "networkPolicy": dict,
    "tlsOptions": {"enabled": bool},
    "headGroupSpec": HEAD_GROUP,
    "rayVersion": str,
    "workerGroupSpecs": [WORKER_GROUP],
}
RAY_JOB = {
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "rayClusterSpec": RAY_CLUSTER,
    "submitterPodTemplate": POD,
    "metadata": STRINGS,
    "clusterSelector": STRINGS,
    "submitterConfig": {"backoffLimit": int},
    "managedBy": str,
    "deletionStrategy": dict,
    "entrypoint": str,
    "runtimeEnvYAML": str,
    "jobId": str,
    "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    "entrypointResources": str,
    "entrypointNumCpus": float,
    "entrypointNumGpus": float,
    "ttlSecondsAfterFinished": int,
    "preRunningDeadlineSeconds": int,
    "shutdownAfterJobFinishes": bool,
    "suspend": bool,
}
RAY_CRON_JOB = {"jobTemplate": RAY_JOB, "schedule": str, "timeZone": str, "suspend": bool}
