"""An image in service: on an engine, without losing a request, or as a manifest for somebody else's."""

from runbake.deploy.order import (
    Door,
    Limits,
    Subject,
    checked_address,
    checked_name,
    environment_of,
    memory_of,
)
from runbake.deploy.record import endpoint_tags, row_of, url_of
from runbake.deploy.service import LABEL_ADDRESS, LABEL_NAME, LABEL_REFERENCE, Service, services_of
from runbake.deploy.takeover import Deployed, Hands, Order, deploy, roll_back, undeploy
from runbake.deploy.workload import Workload, compose_of, ecs_of, kubernetes_of, workload_of

__all__ = [
    "LABEL_ADDRESS",
    "LABEL_NAME",
    "LABEL_REFERENCE",
    "Deployed",
    "Door",
    "Hands",
    "Limits",
    "Order",
    "Service",
    "Subject",
    "Workload",
    "checked_address",
    "checked_name",
    "compose_of",
    "deploy",
    "ecs_of",
    "endpoint_tags",
    "environment_of",
    "kubernetes_of",
    "memory_of",
    "roll_back",
    "row_of",
    "services_of",
    "undeploy",
    "url_of",
    "workload_of",
]
