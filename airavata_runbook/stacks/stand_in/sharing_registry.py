"""STAND-IN for Airavata's sharing registry: domains, users, groups, entities, and who may do what with them."""

import settings
from airavata.api.sharing import SharingRegistryService
from airavata.api.sharing.constants import SHARING_CPI_VERSION
from airavata.model.sharing.ttypes import Domain, Entity, EntityType, PermissionType, SharingRegistryException, User, UserGroup
from common import Refused
from database import Objects, Store
from thrift_server import Answers, Version, serve

OWNER = "OWNER"  # the permission of an entity's owner; it includes all others


class Sharing(Version):
    """Calls of SharingRegistryService.Iface. A permission of an entity does not extend to entities below it."""

    def __init__(self, store: Store):
        super().__init__(SHARING_CPI_VERSION)
        self.store = store
        self.domains, self.users, self.groups = Objects(store, Domain), Objects(store, User), Objects(store, UserGroup, "group")
        self.types = Objects(store, EntityType, "entity type")
        self.permissions = Objects(store, PermissionType, "permission type")
        self.entities = Objects(store, Entity)

    def createDomain(self, domain: Domain) -> str:
        if domain.domainId == "DO_NOT_SET_AT_CLIENTS_ID":
            domain.domainId = domain.name
        self.domains.add("", domain.domainId, domain)
        owner = PermissionType(permissionTypeId=f"{domain.domainId}:{OWNER}", domainId=domain.domainId, name=OWNER)
        self.permissions.add(domain.domainId, owner.permissionTypeId, owner)
        return domain.domainId

    def isDomainExists(self, domainId: str) -> bool:
        return self.domains.find("", domainId) is not None

    def getDomain(self, domainId: str) -> Domain:
        return self.domains.get("", domainId)

    def getDomains(self, offset: int, limit: int) -> list[Domain]:
        return self.domains.all("", offset, limit)

    def deleteDomain(self, domainId: str) -> bool:
        """With all that is in it."""
        for objects in (self.users, self.groups, self.types, self.permissions, self.entities):
            for name in self.store.all(objects.name, domainId):
                self.store.delete(objects.name, domainId, name)
        for kind in ("member", "share"):
            for name in self.store.all(kind, domainId):
                self.store.delete(kind, domainId, name)
        return self.domains.delete("", domainId)

    def createUser(self, user: User) -> str:
        return self._create(self.users, user, user.userId)

    def isUserExists(self, domainId: str, userId: str) -> bool:
        return self.users.find(domainId, userId) is not None

    def getUser(self, domainId: str, userId: str) -> User:
        return self.users.get(domainId, userId)

    def getUsers(self, domainId: str, offset: int, limit: int) -> list[User]:
        return self.users.all(domainId, offset, limit)

    def deleteUser(self, domainId: str, userId: str) -> bool:
        self._forget("member", domainId, lambda pair: pair[1] == userId)
        self._forget("share", domainId, lambda pair: pair[2] == f"user {userId}")
        return self.users.delete(domainId, userId)

    def createGroup(self, group: UserGroup) -> str:
        return self._create(self.groups, group, group.groupId)

    def isGroupExists(self, domainId: str, groupId: str) -> bool:
        return self.groups.find(domainId, groupId) is not None

    def getGroup(self, domainId: str, groupId: str) -> UserGroup:
        return self.groups.get(domainId, groupId)

    def getGroups(self, domainId: str, offset: int, limit: int) -> list[UserGroup]:
        return self.groups.all(domainId, offset, limit)

    def deleteGroup(self, domainId: str, groupId: str) -> bool:
        self._forget("member", domainId, lambda pair: pair[0] == groupId)
        self._forget("share", domainId, lambda pair: pair[2] == f"group {groupId}")
        return self.groups.delete(domainId, groupId)

    def addUsersToGroup(self, domainId: str, userIds: list[str], groupId: str) -> bool:
        self.groups.get(domainId, groupId)
        for user in userIds:
            self.users.get(domainId, user)
            self._relate("member", domainId, groupId, user)
        return True

    def removeUsersFromGroup(self, domainId: str, userIds: list[str], groupId: str) -> bool:
        return all([self.store.delete("member", domainId, joined(groupId, user)) for user in userIds])

    def getGroupMembersOfTypeUser(self, domainId: str, groupId: str, offset: int, limit: int) -> list[User]:
        users = [user for group, user in self._related("member", domainId) if group == groupId][offset:]
        return [self.users.get(domainId, user) for user in (users if limit < 0 else users[:limit])]

    def getAllMemberGroupsForUser(self, domainId: str, userId: str) -> list[UserGroup]:
        return [self.groups.get(domainId, group) for group, user in self._related("member", domainId) if user == userId]

    def createEntityType(self, entityType: EntityType) -> str:
        return self._create(self.types, entityType, entityType.entityTypeId)

    def isEntityTypeExists(self, domainId: str, entityTypeId: str) -> bool:
        return self.types.find(domainId, entityTypeId) is not None

    def getEntityType(self, domainId: str, entityTypeId: str) -> EntityType:
        return self.types.get(domainId, entityTypeId)

    def deleteEntityType(self, domainId: str, entityTypeId: str) -> bool:
        return self.types.delete(domainId, entityTypeId)

    def createPermissionType(self, permissionType: PermissionType) -> str:
        return self._create(self.permissions, permissionType, permissionType.permissionTypeId)

    def isPermissionExists(self, dimainId: str, permissionId: str) -> bool:
        return self.permissions.find(dimainId, permissionId) is not None

    def getPermissionType(self, domainId: str, permissionTypeId: str) -> PermissionType:
        return self.permissions.get(domainId, permissionTypeId)

    def deletePermissionType(self, domainId: str, permissionTypeId: str) -> bool:
        return self.permissions.delete(domainId, permissionTypeId)

    def createEntity(self, entity: Entity) -> str:
        self.types.get(entity.domainId, entity.entityTypeId)
        self.users.get(entity.domainId, entity.ownerId)
        return self._create(self.entities, entity, entity.entityId)

    def isEntityExists(self, domainId: str, entityId: str) -> bool:
        return self.entities.find(domainId, entityId) is not None

    def getEntity(self, domainId: str, entityId: str) -> Entity:
        return self.entities.get(domainId, entityId)

    def deleteEntity(self, domainId: str, entityId: str) -> bool:
        self._forget("share", domainId, lambda pair: pair[0] == entityId)
        return self.entities.delete(domainId, entityId)

    def shareEntityWithUsers(self, domainId: str, entityId: str, userList: list[str], permissionTypeId: str, _) -> bool:
        users = [self.users.get(domainId, one).userId for one in userList]
        return self._share(domainId, entityId, permissionTypeId, [f"user {one}" for one in users])

    def shareEntityWithGroups(self, domainId: str, entityId: str, groupList: list[str], permissionTypeId: str, _) -> bool:
        groups = [self.groups.get(domainId, one).groupId for one in groupList]
        return self._share(domainId, entityId, permissionTypeId, [f"group {one}" for one in groups])

    def revokeEntitySharingFromUsers(self, domainId: str, entityId: str, userList: list[str], permissionTypeId: str) -> bool:
        return self._unshare(domainId, entityId, permissionTypeId, [f"user {one}" for one in userList])

    def revokeEntitySharingFromGroups(self, domainId: str, entityId: str, groupList: list[str], permissionTypeId: str) -> bool:
        return self._unshare(domainId, entityId, permissionTypeId, [f"group {one}" for one in groupList])

    def userHasAccess(self, domainId: str, userId: str, entityId: str, permissionTypeId: str) -> bool:
        if self.entities.get(domainId, entityId).ownerId == userId:
            return True
        who = {f"user {userId}"} | {f"group {group}" for group, user in self._related("member", domainId) if user == userId}
        shares = self._related("share", domainId)
        given = {permission for entity, permission, whom in shares if entity == entityId and whom in who}
        return bool(given & {permissionTypeId, f"{domainId}:{OWNER}"})

    def _create(self, objects: Objects, thing, name: str) -> str:
        self.domains.get("", thing.domainId)
        return objects.add(thing.domainId, name, thing)

    def _share(self, domain: str, entity: str, permission: str, whom: list[str]) -> bool:
        self.entities.get(domain, entity)
        self.permissions.get(domain, permission)
        for one in whom:
            self._relate("share", domain, entity, permission, one)
        return True

    def _unshare(self, domain: str, entity: str, permission: str, whom: list[str]) -> bool:
        return all([self.store.delete("share", domain, joined(entity, permission, one)) for one in whom])

    def _relate(self, kind: str, domain: str, *names: str) -> None:
        if self.store.get(kind, domain, joined(*names)) is None:
            self.store.add(kind, domain, joined(*names), "")

    def _related(self, kind: str, domain: str) -> list[tuple[str, ...]]:
        return [tuple(one.split("\n")) for one in self.store.all(kind, domain)]

    def _forget(self, kind: str, domain: str, chosen) -> None:
        for names in self._related(kind, domain):
            if chosen(names):
                self.store.delete(kind, domain, joined(*names))


def joined(*names: str) -> str:
    """The id of a relation between objects with these ids."""
    if any("\n" in name for name in names):
        raise Refused("an id is one line")
    return "\n".join(names)


def run(role: str) -> None:
    found = settings.read(role)
    store = Store(found, settings.SHARING)
    store.prepare()
    calls = Answers(Sharing(store), lambda text, _: SharingRegistryException(text))
    serve(role, found, SharingRegistryService.Processor(calls))
