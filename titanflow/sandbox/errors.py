"""Meta's errors: each code with the HTTP status and the words it comes with, and how a Graph error looks."""

from typing import Any

import orjson

# code: (HTTP status, title), after Meta's page of error codes
ERRORS: dict[int, tuple[int, str]] = {
    0: (401, "AuthException"),
    1: (400, "API Unknown"),
    2: (503, "API Service"),
    3: (500, "API Method"),
    4: (400, "API Too Many Calls"),
    10: (403, "Permission Denied"),
    17: (400, "User request limit reached"),
    32: (400, "Page request limit reached"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    102: (401, "Session key invalid or no longer valid"),
    104: (400, "Incorrect signature"),
    190: (401, "Access token has expired"),
    200: (403, "API access blocked"),
    368: (403, "Temporarily blocked for policies violations"),
    506: (400, "Duplicate post"),
    613: (400, "Calls to this api have exceeded the rate limit"),
    80007: (400, "Rate limit issues"),
    80008: (400, "There have been too many calls to this WhatsApp Business account"),
    130429: (400, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    130497: (403, "Business account is restricted from messaging users in this country"),
    131000: (500, "Something went wrong"),
    131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (503, "Service unavailable"),
    131020: (400, "Group is not available"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131030: (400, "Recipient phone number not in allowed list"),
    131031: (403, "Account has been locked"),
    131037: (400, "WhatsApp provided number needs display name approval before message can be sent"),
    131041: (400, "Message failed to send because the call permission is missing"),
    131042: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"),
    131047: (400, "Re-engagement message"),
    131048: (400, "Spam rate limit hit"),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement."),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Unsupported message type"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131055: (400, "Method not allowed"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    131059: (400, "Unsupported parameter"),
    131060: (400, "This message is currently unavailable"),
    131061: (400, "Templates with a bid must be sent by marketing messages"),
    131062: (400, "Business-scoped user IDs are not supported for this message"),
    131063: (400, "Marketing templates are disabled on this endpoint"),
    131064: (400, "Limit reached because of template misclassification"),
    132000: (400, "Template param count mismatch"),
    132001: (404, "Template does not exist"),
    132005: (400, "Template hydrated text too long"),
    132007: (400, "Template format character policy violated"),
    132008: (400, "Template parameter value is invalid"),
    132012: (400, "Template parameter format mismatch"),
    132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"),
    132018: (400, "Template parameters do not validate"),
    132068: (400, "Flow is blocked"),
    132069: (400, "Flow is throttled"),
    133000: (500, "Incomplete deregistration"),
    133004: (503, "Server temporarily unavailable"),
    133005: (400, "Two step verification PIN mismatch"),
    133006: (400, "Phone number re-verification needed"),
    133008: (400, "Too many two step verification PIN guesses"),
    133009: (400, "Two step verification PIN guessed too fast"),
    133010: (400, "Phone number not registered"),
    133015: (400, "Please wait a few minutes before attempting to register this phone number"),
    133016: (400, "Account register or deregister rate limit exceeded"),
    134011: (403, "WhatsApp Payments terms of service has not been accepted"),
    134100: (400, "Only marketing messages supported"),
    134101: (400, "Template sync is in progress"),
    134102: (400, "Template is unavailable for use"),
    135000: (400, "Generic user error"),
    136025: (400, "Business verification is required"),
    137000: (400, "Identity key hash mismatch"),
    1752041: (400, "Duplicate onboarding request"),
    2388019: (400, "Message template limit exceeded"),
    2388040: (400, "Character limit exceeded"),
    2388047: (400, "Message header format is incorrect"),
    2388072: (400, "Message body format is incorrect"),
    2388073: (400, "Message footer format is incorrect"),
    2388293: (400, "Template has too many variables for its length"),
    2388299: (400, "Template variables can't be at the start or end"),
    2494100: (400, "Account in maintenance mode"),
    200005: (400, "Template insights are not available"),
    200006: (400, "Template insights can't be disabled"),
    200007: (400, "Template insights are not enabled"),
    2593107: (400, "Phone number can't be migrated"),
}
_UNKNOWN = (400, "Unknown error")

# Subcodes that a Graph error of this code usually has.
SUBCODES: dict[int, int] = {190: 463}

SHAPES = ("code_as_string", "error_data_string", "no_error_data", "extra_fields")


def http_status(code: int) -> int:
    """The HTTP status that Meta documents for a code."""
    return 403 if 200 <= code <= 299 else ERRORS.get(code, _UNKNOWN)[0]


def title(code: int) -> str:
    """The words of a code."""
    return ERRORS.get(code, _UNKNOWN)[1]


class Refusal(Exception):
    """A well-formed Graph error. status: the documented one unless given; headers: beside the usual ones."""

    def __init__(
        self,
        code: int,
        details: str = "",
        *,
        status: int | None = None,
        subcode: int | None = None,
        headers: dict[str, str] | None = None,
        shape: str = "",
    ) -> None:
        self.code, self.subcode, self.shape = code, subcode, shape
        self.details = details or title(code) + "."
        self.status = http_status(code) if status is None else status
        self.headers = headers or {}
        super().__init__(self.details)

    def body(self) -> bytes:
        """As the Graph API answers it, or in the odd shape that was asked for."""
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.details}",
            "type": "OAuthException",
            "code": str(self.code) if self.shape == "code_as_string" else self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": "AsandboxTrace",
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.shape == "error_data_string":
            error["error_data"] = self.details
        elif self.shape == "no_error_data":
            del error["error_data"]
        elif self.shape == "extra_fields":
            error |= {"is_transient": True, "error_user_title": None, "error_user_msg": [self.details], "x": {"y": 1}}
        return orjson.dumps({"error": error})


def as_webhook(code: int, details: str = "") -> dict[str, Any]:
    """The same error as a `failed` status carries it."""
    return {
        "code": code,
        "title": title(code),
        "message": title(code),
        "error_data": {"details": details or title(code) + "."},
        "href": "/documentation/business-messaging/whatsapp/support/error-codes",
    }
