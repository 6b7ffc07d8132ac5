"""What 06-verify asks of Airavata's servers, by the official SDK: health alone proves nothing."""

from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from airavata_runbook.chapters.api_server import api_client, api_token
from airavata_runbook.cluster.airavata_api import token
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed

TEST_GATEWAY = "runbook-verify"


def gateway_calls(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of call and response: a gateway is created, read and deleted; a line for each unexpected response)."""
    access = token(api_token(session), TEST_GATEWAY)
    wanted = Gateway(
        gatewayId=TEST_GATEWAY, gatewayName="Made by 06-verify", gatewayApprovalStatus=GatewayApprovalStatus.APPROVED
    )
    with api_client(session) as api:
        try:
            if api.isGatewayExist(access, TEST_GATEWAY):  # left by a run that was interrupted here
                api.deleteGateway(access, TEST_GATEWAY)
            rows = [
                ["getAPIVersion", api.getAPIVersion()],
                ["addGateway", api.addGateway(access, wanted)],
                ["getGateway", api.getGateway(access, TEST_GATEWAY).gatewayName],
                ["deleteGateway", str(api.deleteGateway(access, TEST_GATEWAY))],
                ["isGatewayExist", str(api.isGatewayExist(access, TEST_GATEWAY))],
            ]
        except TTransportException:
            raise  # not a refusal: the connection was lost, which api_client explains
        except TException as error:
            raise StepFailed("the Airavata API refused a call", found=str(error)) from None
        try:
            api.getAllGateways(token("not-the-token"))
            raise StepFailed("the Airavata API accepted a wrong token")
        except TTransportException:
            raise
        except TException as error:
            rows.append(["getAllGateways with a wrong token", type(error).__name__])
    expected = (TEST_GATEWAY, wanted.gatewayName, "True", "False", "AuthorizationException")
    return rows, [f"{call}: {answer}" for (call, answer), right in zip(rows[1:], expected, strict=True) if answer != right]
