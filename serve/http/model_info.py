"""The endpoints that say what is served: probes, metadata of the protocols, OpenAPI document."""

from __future__ import annotations

import importlib.metadata

from serve.http.messages import Request, Response, json_response
from serve.http.open_inference import model_metadata, server_metadata
from serve.http.openapi import openapi_document
from serve.http.replica import Replica
from serve.http.sent_row import SentRow
from vigil.json_types import JsonObject
from vigil.release import installed_version


class ModelInfoEndpoints:
    """Handlers that read the replica's own state."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._vigil_version = installed_version()
        self._mlflow_version = importlib.metadata.version("mlflow")

    async def healthz(self, request: Request) -> Response:
        """Alive."""
        return json_response({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """A verified model is loaded; `source` says where from."""
        model = self._replica.model()
        return json_response(
            {
                "status": "ready",
                "model_version": model.version,
                "model_digest": model.digest,
                **model.row_format.to_wire(),
                "source": self._replica.watch.source,
            }
        )

    async def version(self, request: Request) -> Response:
        """The MLflow release whose scoring protocol this is."""
        return Response(self._mlflow_version.encode(), b"text/plain")

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document; its examples are rows of the model that is served."""
        settings = self._replica.settings
        model = self._replica.watch.model
        if model is None:
            return json_response(openapi_document(settings))
        return json_response(openapi_document(settings, SentRow.of(model)))

    async def server(self, request: Request) -> Response:
        """Open Inference Protocol: server metadata."""
        return json_response(server_metadata(self._vigil_version))

    async def model(self, request: Request) -> Response:
        """Open Inference Protocol: model metadata; 200 also says that the model is ready."""
        replica = self._replica
        model = replica.named_model(request.model_name, request.model_version)
        return json_response(model_metadata(replica.settings.model_name, model))

    async def console_about(self, request: Request) -> Response:
        """What the console must know before anybody has shown a key."""
        return json_response({"auth": self._replica.settings.auth_required})

    def console_facts(self) -> JsonObject:
        """What the console shows that the replica knows without the monitor."""
        replica = self._replica
        model = replica.watch.model
        return {
            "vigil": self._vigil_version,
            "model": replica.settings.model_name,
            "auth": replica.settings.auth_required,
            "links": replica.settings.links,
            "version": model.version if model else None,
            "digest": model.digest if model else None,
            "source": replica.watch.source,
        }
