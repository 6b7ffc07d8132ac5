"""The stand-in answers Airavata's Java client of 0.16 as it answers the SDK."""

from tests.java_client import EXPECTED, answers
from tests.unit.test_stand_in import TOKEN, api, ca, properties  # noqa: F401 (fixtures)


def test_the_java_client_of_0_16_is_answered_too(api, tmp_path):  # noqa: F811
    authority = tmp_path / "ca.crt"
    authority.write_bytes(api.ca.cert)
    assert answers(api.port, "localhost", authority, TOKEN) == {"getAPIVersion": "0.18.0", **EXPECTED}
