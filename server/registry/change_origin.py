"""States who made a change of what serves: an operator with a command, or a server that found a changed file."""

import os
import pwd
from dataclasses import dataclass

from grounds.audit.v1 import bodies_pb2 as pb
from grounds_record.activations import PROPOSAL_LABEL, SERVER_SOURCE, SOURCE_LABEL
from server.stores.record_log.holds import OPERATOR

_SERVER = "server"  # caller in the records of changes that a server found


@dataclass(frozen=True, slots=True)
class ChangeOrigin:
    """The origin of a change.

    Attributes:
        operator: Account of the operator; "" if a server found the change.
        approver: Account of the second operator, who approved the change; "" if no approval was required.
        proposal_id: Id of the record of the approved proposal; "" without an approval.
    """

    operator: str = ""
    approver: str = ""
    proposal_id: str = ""

    @property
    def caller(self) -> str:
        """Return the caller in the header of the record."""
        return OPERATOR if self.operator else _SERVER

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of the record."""
        labels = {} if self.operator else {SOURCE_LABEL: SERVER_SOURCE}
        return labels | ({PROPOSAL_LABEL: self.proposal_id} if self.proposal_id else {})

    def message(self) -> pb.ChangeAuthor:
        """Return the author in the body of the record."""
        source = pb.CHANGE_SOURCE_COMMAND if self.operator else pb.CHANGE_SOURCE_SERVER
        return pb.ChangeAuthor(
            operator=self.operator, approver=self.approver, proposal_id=self.proposal_id, source=source
        )


BY_SERVER = ChangeOrigin()


def operator_account() -> str:
    """Return the account of the person who runs this command.

    If the command runs under sudo, this is the account that called sudo, from the variable SUDO_USER. Otherwise it is
    the account of the process. A person can set this variable without sudo, so the account is a statement and no proof.
    """
    user_id = os.getuid()
    try:
        account = pwd.getpwuid(user_id).pw_name
    except KeyError:  # a container may run under a number that has no name
        account = str(user_id)
    return os.environ.get("SUDO_USER", "") or account
