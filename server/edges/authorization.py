"""Authorization: a table states for each gRPC method which roles may call it.

A method without an entry is denied to every caller. A test compares the table with the services in the .proto files.
"""

from server.edges.identity.callers import ALL_ROLES, ANYONE, AUDITOR, CRM, CRM_EXPORT, LOAN_DESK, OPERATOR
from server.errors import MethodNotAllowed

ROLES: dict[str, frozenset[str]] = {
    "/grounds.credit.v1.CreditService/ScoreCredit": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/BatchScoreCredit": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/SimulateCredit": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/GetCreditDecision": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/ListCustomerDecisions": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/RecordOverride": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/RecordOutcome": frozenset({LOAN_DESK}),
    "/grounds.credit.v1.CreditService/GetPolicy": frozenset({LOAN_DESK, AUDITOR, OPERATOR}),
    "/grounds.churn.v1.ChurnService/GetChurnRisk": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/BatchGetChurnRisks": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/ListChurnRisks": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/ListChurnRiskChanges": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/ExportChurnRisks": frozenset({CRM_EXPORT}),
    "/grounds.churn.v1.ChurnService/ListChurnRuns": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/ListChurnBandCounts": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/RecordContact": frozenset({CRM}),
    "/grounds.churn.v1.ChurnService/ListContacts": frozenset({CRM}),
    "/grounds.audit.v1.AuditService/GetCheckpoint": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/GetInclusionProof": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/GetConsistencyProof": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/ListRecords": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/GetRangeProof": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/GetEvidence": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/ReplayDecision": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/GetChurnEvidence": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/ReplayChurnRisk": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/ListDecisions": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/SampleDecisions": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/CountRefusedCalls": frozenset({AUDITOR}),
    "/grounds.audit.v1.AuditService/ListActivations": frozenset({AUDITOR, OPERATOR}),
    "/grounds.model.v1.ModelService/ListModels": ALL_ROLES,
    "/grounds.model.v1.ModelService/GetModel": ALL_ROLES,
    "/grounds.model.v1.ModelService/GetModelReport": frozenset({AUDITOR, OPERATOR}),
    "/grpc.health.v1.Health/Check": frozenset({ANYONE}),
    "/grpc.health.v1.Health/Watch": frozenset({ANYONE}),
    "/grpc.health.v1.Health/List": frozenset({ANYONE}),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": frozenset({OPERATOR}),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": frozenset({OPERATOR}),
}


PUBLIC_METHODS = frozenset(method for method, roles in ROLES.items() if ANYONE in roles)


def authorize(method: str, roles: frozenset[str]) -> None:
    """Check that at least one of the roles may call a method.

    Args:
        method: Full name of the method, such as /grounds.credit.v1.CreditService/ScoreCredit.
        roles: The roles of the caller.

    Raises:
        MethodNotAllowed: None of the roles may call the method, or the table has no entry for the method.
    """
    if not roles & ROLES.get(method, frozenset()):
        raise MethodNotAllowed(f"permission denied: this caller may not call {method}", method=method)
