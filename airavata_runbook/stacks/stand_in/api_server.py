"""STAND-IN for Airavata's API server: gateways and projects, by Thrift over TLS.

Airavata's own has the registry server keep them; the SDK has no class of that, so they are kept in its database from here.
"""

import hmac
import time
import uuid

import settings
from airavata.api import Airavata
from airavata.api.constants import AIRAVATA_API_VERSION
from airavata.api.error.ttypes import AiravataErrorType, AiravataSystemException, AuthorizationException, InvalidRequestException
from airavata.model.workspace.ttypes import Gateway, Project
from common import NotServed, Refused, api_token
from database import NoAnswer, Objects, Store
from thrift_server import Answers, Version, serve


class Api(Version):
    """Calls of Airavata.Iface. The clients of 0.16 give getAPIVersion a token, those of the SDK none."""

    def __init__(self, store: Store, token: str):
        super().__init__(AIRAVATA_API_VERSION)
        self.gateways, self.projects, self.token = Objects(store, Gateway), Objects(store, Project), token

    def isGatewayExist(self, authzToken, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.gateways.find("", gatewayId) is not None

    def addGateway(self, authzToken, gateway: Gateway) -> str:
        self.authorize(authzToken)
        return self.gateways.add("", gateway.gatewayId, gateway)

    def getGateway(self, authzToken, gatewayId: str) -> Gateway:
        self.authorize(authzToken)
        return self.gateways.get("", gatewayId)

    def updateGateway(self, authzToken, gatewayId: str, updatedGateway: Gateway) -> bool:
        self.authorize(authzToken)
        return self.gateways.update("", gatewayId, updatedGateway)

    def deleteGateway(self, authzToken, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.gateways.delete("", gatewayId)

    def getAllGateways(self, authzToken) -> list[Gateway]:
        self.authorize(authzToken)
        return self.gateways.all("")

    def createProject(self, authzToken, gatewayId: str, project: Project) -> str:
        """The new id; Airavata's own makes it of the name and a UUID too. Ids are unique, whatever their gateway is."""
        self.authorize(authzToken)
        self.gateways.get("", gatewayId)
        project.projectID, project.gatewayId = f"{project.name}_{uuid.uuid4()}", gatewayId
        project.creationTime = int(time.time() * 1000)
        return self.projects.add("", project.projectID, project)

    def getProject(self, authzToken, projectId: str) -> Project:
        self.authorize(authzToken)
        return self.projects.get("", projectId)

    def updateProject(self, authzToken, projectId: str, updatedProject: Project) -> None:
        self.authorize(authzToken)
        self.projects.update("", projectId, updatedProject)

    def deleteProject(self, authzToken, projectId: str) -> bool:
        self.authorize(authzToken)
        return self.projects.delete("", projectId)

    def getUserProjects(self, authzToken, gatewayId: str, userName: str, limit: int, offset: int) -> list[Project]:
        self.authorize(authzToken)
        mine = [one for one in self.projects.all("") if (one.gatewayId, one.owner) == (gatewayId, userName)][offset:]
        return mine if limit < 0 else mine[:limit]

    def authorize(self, token) -> None:
        if not hmac.compare_digest((token and token.accessToken or "").encode(), self.token.encode()):
            raise AuthorizationException("STAND-IN: this access token is not valid")


def failure(text: str, error: Refused) -> Exception:
    if isinstance(error, NoAnswer | NotServed):
        return AiravataSystemException(AiravataErrorType.INTERNAL_ERROR, text)
    return InvalidRequestException(text)


def run(role: str) -> None:
    found = settings.read(role)
    store = Store(found, settings.REGISTRY)
    store.prepare()
    serve(role, found, Airavata.Processor(Answers(Api(store, api_token()), failure)), secure=True)
