"""STAND-IN for Airavata's profile service: users, groups and tenants (gateways), four services of Thrift at one port.

The fourth, which manages accounts at an identity server, answers its version only: the stand-in has no identity server.
"""

import hmac
import uuid

import settings
from airavata.api.error.ttypes import AuthorizationException
from airavata.model.group.ttypes import GroupModel
from airavata.model.user.ttypes import UserProfile
from airavata.model.workspace.ttypes import Gateway
from airavata.service.profile.groupmanager.cpi import GroupManagerService
from airavata.service.profile.groupmanager.cpi.constants import GROUP_MANAGER_CPI_NAME, GROUP_MANAGER_CPI_VERSION
from airavata.service.profile.groupmanager.cpi.error.ttypes import GroupManagerServiceException
from airavata.service.profile.iam.admin.services.cpi import IamAdminServices
from airavata.service.profile.iam.admin.services.cpi.constants import IAM_ADMIN_SERVICES_CPI_NAME, IAM_ADMIN_SERVICES_CPI_VERSION
from airavata.service.profile.iam.admin.services.cpi.error.ttypes import IamAdminServicesException
from airavata.service.profile.tenant.cpi import TenantProfileService
from airavata.service.profile.tenant.cpi.constants import TENANT_PROFILE_CPI_NAME, TENANT_PROFILE_CPI_VERSION
from airavata.service.profile.tenant.cpi.error.ttypes import TenantProfileServiceException
from airavata.service.profile.user.cpi import UserProfileService
from airavata.service.profile.user.cpi.constants import USER_PROFILE_CPI_NAME, USER_PROFILE_CPI_VERSION
from airavata.service.profile.user.cpi.error.ttypes import UserProfileServiceException
from common import Refused, api_token
from database import Objects, Store
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift_server import Answers, Version, serve


class Profiles(Version):
    """What the services have in common: the access token of a call, and what it claims."""

    def __init__(self, version: str, store: Store, token: str):
        super().__init__(version)
        self.store, self.token = store, token

    def authorize(self, authzToken) -> None:
        if not hmac.compare_digest((authzToken and authzToken.accessToken or "").encode(), self.token.encode()):
            raise AuthorizationException("STAND-IN: this access token is not valid")

    def claim(self, authzToken, name: str) -> str:
        """gatewayID or userName, which the client puts into its token."""
        self.authorize(authzToken)
        if value := (authzToken.claimsMap or {}).get(name):
            return value
        raise Refused(f"the token has no claim {name}")


class Users(Profiles):
    """Calls of UserProfileService.Iface. A profile's own id is the user's with the gateway's."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.users = Objects(self.store, UserProfile, "user profile")

    def addUserProfile(self, authzToken, userProfile: UserProfile) -> str:
        self.authorize(authzToken)
        userProfile.airavataInternalUserId = f"{userProfile.userId}@{userProfile.gatewayId}"
        self.users.add(userProfile.gatewayId, userProfile.userId, userProfile)
        return userProfile.airavataInternalUserId

    def updateUserProfile(self, authzToken, userProfile: UserProfile) -> bool:
        self.authorize(authzToken)
        return self.users.update(userProfile.gatewayId, userProfile.userId, userProfile)

    def getUserProfileById(self, authzToken, userId: str, gatewayId: str) -> UserProfile:
        self.authorize(authzToken)
        return self.users.get(gatewayId, userId)

    def getAllUserProfilesInGateway(self, authzToken, gatewayId: str, offset: int, limit: int) -> list[UserProfile]:
        self.authorize(authzToken)
        return self.users.all(gatewayId, offset, limit)

    def doesUserExist(self, authzToken, userId: str, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.users.find(gatewayId, userId) is not None

    def deleteUserProfile(self, authzToken, userId: str, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.users.delete(gatewayId, userId)


class Groups(Profiles):
    """Calls of GroupManagerService.Iface. A group is in the gateway that the token claims; members are with it."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.groups = Objects(self.store, GroupModel, "group")

    def createGroup(self, authzToken, groupModel: GroupModel) -> str:
        gateway, owner = self.claim(authzToken, "gatewayID"), self.claim(authzToken, "userName")
        groupModel.id = groupModel.id or f"{groupModel.name}_{uuid.uuid4()}"
        groupModel.ownerId = groupModel.ownerId or owner
        return self.groups.add(gateway, groupModel.id, groupModel)

    def updateGroup(self, authzToken, groupModel: GroupModel) -> bool:
        return self.groups.update(self.claim(authzToken, "gatewayID"), groupModel.id, groupModel)

    def getGroup(self, authzToken, groupId: str) -> GroupModel:
        return self.groups.get(self.claim(authzToken, "gatewayID"), groupId)

    def getGroups(self, authzToken) -> list[GroupModel]:
        return self.groups.all(self.claim(authzToken, "gatewayID"))

    def getAllGroupsUserBelongs(self, authzToken, userName: str) -> list[GroupModel]:
        return [one for one in self.getGroups(authzToken) if userName in (one.ownerId, *(one.members or []))]

    def addUsersToGroup(self, authzToken, userIds: list[str], groupId: str) -> bool:
        group = self.getGroup(authzToken, groupId)
        group.members = list(dict.fromkeys([*(group.members or []), *userIds]))
        return self.updateGroup(authzToken, group)

    def removeUsersFromGroup(self, authzToken, userIds: list[str], groupId: str) -> bool:
        group = self.getGroup(authzToken, groupId)
        group.members = [one for one in group.members or [] if one not in userIds]
        return self.updateGroup(authzToken, group)

    def hasOwnerAccess(self, authzToken, groupId: str, ownerId: str) -> bool:
        return self.getGroup(authzToken, groupId).ownerId == ownerId

    def deleteGroup(self, authzToken, groupId: str, ownerId: str) -> bool:
        if not self.hasOwnerAccess(authzToken, groupId, ownerId):
            raise Refused(f"{ownerId} does not own the group {groupId}")
        return self.groups.delete(self.claim(authzToken, "gatewayID"), groupId)


class Tenants(Profiles):
    """Calls of TenantProfileService.Iface: gateways by an internal id, which the service makes."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gateways = Objects(self.store, Gateway)

    def addGateway(self, authzToken, gateway: Gateway) -> str:
        if self.isGatewayExist(authzToken, gateway.gatewayId):
            raise Refused(f"a gateway with the id {gateway.gatewayId} exists")
        gateway.airavataInternalGatewayId = str(uuid.uuid4())
        return self.gateways.add("", gateway.airavataInternalGatewayId, gateway)

    def updateGateway(self, authzToken, updatedGateway: Gateway) -> bool:
        self.authorize(authzToken)
        return self.gateways.update("", updatedGateway.airavataInternalGatewayId, updatedGateway)

    def getGateway(self, authzToken, airavataInternalGatewayId: str) -> Gateway:
        self.authorize(authzToken)
        return self.gateways.get("", airavataInternalGatewayId)

    def getAllGateways(self, authzToken) -> list[Gateway]:
        self.authorize(authzToken)
        return self.gateways.all("")

    def getAllGatewaysForUser(self, authzToken, requesterUsername: str) -> list[Gateway]:
        return [one for one in self.getAllGateways(authzToken) if one.requesterUsername == requesterUsername]

    def isGatewayExist(self, authzToken, gatewayId: str) -> bool:
        return gatewayId in [one.gatewayId for one in self.getAllGateways(authzToken)]

    def deleteGateway(self, authzToken, airavataInternalGatewayId: str, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.gateways.delete("", airavataInternalGatewayId)


def processor(store: Store, token: str) -> TMultiplexedProcessor:
    """All four services."""
    users = Users(USER_PROFILE_CPI_VERSION, store, token)
    groups = Groups(GROUP_MANAGER_CPI_VERSION, store, token)
    tenants = Tenants(TENANT_PROFILE_CPI_VERSION, store, token)
    accounts = Version(IAM_ADMIN_SERVICES_CPI_VERSION)
    made = TMultiplexedProcessor()
    for name, service, calls, refusal in (
        (USER_PROFILE_CPI_NAME, UserProfileService, users, UserProfileServiceException),
        (GROUP_MANAGER_CPI_NAME, GroupManagerService, groups, GroupManagerServiceException),
        (TENANT_PROFILE_CPI_NAME, TenantProfileService, tenants, TenantProfileServiceException),
        (IAM_ADMIN_SERVICES_CPI_NAME, IamAdminServices, accounts, IamAdminServicesException),
    ):
        answers = Answers(calls, lambda text, _, refusal=refusal: refusal(text))
        made.registerProcessor(name, service.Processor(answers))
    return made


def run(role: str) -> None:
    found = settings.read(role)
    store = Store(found, settings.PROFILES)
    store.prepare()
    serve(role, found, processor(store, api_token()))
