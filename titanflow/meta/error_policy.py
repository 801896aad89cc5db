"""Meta's error codes as data: one row a code. A person can read it, a test walks it.

Source: Meta's page "Error codes" and what clients report; the reasons for each verdict stand in
docs/decisions/0003-error-policy.md. A `failed` status by webhook is final for its attempt whatever the verdict;
its scope and action apply all the same.
"""

from titanflow.domain.outcomes import Action, ErrorRule, Scope, Verdict

_HOUR = 3600.0


def _rule(
    code: int,
    verdict: Verdict,
    scope: Scope,
    action: Action,
    sentence: str,
    fix: str,
    pause_s: float = 0.0,
    max_pause_s: float = 0.0,
    breaker: int = 0,
) -> ErrorRule:
    return ErrorRule(code, verdict, scope, action, sentence, fix, pause_s, max_pause_s, breaker)


_REPLACE_IT = "Give the number a new access token, then resume it."
_REVIEW = "Look into WhatsApp Manager, solve it there, then resume the number."
_OUR_DATA = "Compare the template with the campaign's variables, then resume the campaign."

# Codes of our own: the message never left.
MISSING_VALUE = _rule(
    -1,
    "final",
    "message",
    "none",
    "The contact's row lacks a value the template needs",
    "Complete the list or set a default.",
)
NOT_CONNECTED = _rule(
    -2,
    "again",
    "number",
    "pause",
    "Meta couldn't be reached; nothing was sent",
    "Check the network and META_GRAPH_URL.",
    1,
    30,
)
LEASE_LOST = _rule(
    -3,
    "again",
    "number",
    "none",
    "This server lost the number to another one before sending",
    "Nothing: it is sent from there.",
)
OUT_OF_ATTEMPTS = _rule(
    -4,
    "final",
    "message",
    "none",
    "Meta refused it for the time being, too many times",
    "Retry it later from the campaign's page.",
)

_ROWS = (
    MISSING_VALUE,
    NOT_CONNECTED,
    LEASE_LOST,
    OUT_OF_ATTEMPTS,
    # Authentication, permission, account: refused before processing; nothing more may leave until someone acts.
    _rule(0, "again", "account", "block", "Meta no longer accepts the access token", _REPLACE_IT),
    _rule(3, "again", "account", "block", "The app lacks the permission to send", _REPLACE_IT),
    _rule(10, "again", "account", "block", "The app's permission was removed", _REPLACE_IT),
    _rule(102, "again", "account", "block", "The access token's session is invalid", _REPLACE_IT),
    _rule(104, "again", "account", "block", "The app demands a proof with the token", _REPLACE_IT),
    _rule(190, "again", "account", "block", "The access token has expired or was revoked", _REPLACE_IT),
    *(
        _rule(code, "again", "account", "block", "A permission is missing or was removed", _REPLACE_IT)
        for code in range(200, 300)
    ),
    _rule(131005, "again", "account", "block", "Access denied by Meta", _REPLACE_IT),
    _rule(368, "again", "account", "block", "Meta restricted the account for a policy violation", _REVIEW),
    _rule(131031, "again", "account", "block", "Meta locked the account", _REVIEW),
    _rule(131042, "again", "account", "block", "Meta refuses because of a payment problem", "Add a payment method at Meta, then resume the number."),
    _rule(131063, "again", "account", "block", "Marketing templates are disabled for this account", _REVIEW),
    _rule(131064, "again", "account", "pause", "The limit for misclassified templates is reached", _REVIEW, 6 * _HOUR, 24 * _HOUR),
    _rule(134011, "again", "account", "block", "The terms of WhatsApp Payments are not accepted", _REVIEW),
    # The number.
    _rule(33, "again", "number", "block", "Meta doesn't know this number, or the token can't see it", _REVIEW),
    _rule(131037, "again", "number", "block", "The number's display name is not approved", _REVIEW),
    _rule(131045, "again", "number", "block", "The number is not registered", "Register the number at Meta, then resume it."),
    _rule(133010, "again", "number", "block", "The number is not registered", "Register the number at Meta, then resume it."),
    _rule(130429, "again", "number", "slow_down", "The number sends faster than Meta allows", "Nothing: the rate adapts.", 1, 60),
    _rule(131048, "again", "number", "pause", "Meta holds the number back because people block or report it", "Look at the number's quality; send to people who expect it.", 60, 24 * _HOUR),
    _rule(131057, "again", "number", "pause", "Meta is upgrading the number", "Nothing: it takes up to a minute.", 10, 60),
    # Throttles of the app and the account.
    _rule(4, "again", "app", "pause", "The app's call limit is reached", "Nothing: it is tried again.", 60, 900),
    *(
        _rule(code, "again", "app", "pause", "Meta's general call limit is reached", "Nothing: it is tried again.", 60, 900)
        for code in (17, 32, 613)
    ),
    _rule(80007, "again", "account", "pause", "The account's rate limit is reached", "Nothing: it is tried again.", 60, 900),
    _rule(80008, "again", "account", "none", "Too many management calls", "Nothing: it is tried again.", 60, 900),
    # The pair of number and person.
    _rule(131056, "again", "contact", "none", "Too many messages to this person in a short time", "Nothing: it is tried again.", 6, 4096),
    # The template.
    _rule(132001, "again", "template", "next_template", "The template doesn't exist in this language or is not approved", "Sync the templates; choose an approved one."),
    _rule(132015, "again", "template", "next_template", "Meta paused the template for low quality", "Choose another template, or wait until it is approved again."),
    _rule(132016, "again", "template", "next_template", "Meta disabled the template for good", "Choose another template."),
    _rule(132007, "final", "template", "next_template", "The template's text violates a policy", "Choose another template."),
    _rule(132068, "again", "template", "next_template", "The template's flow is blocked", "Choose another template."),
    _rule(132069, "again", "template", "next_template", "The template's flow is throttled", "Choose another template."),
    _rule(134101, "again", "template", "next_template", "The template is still being synced at Meta", "Try again in ten minutes."),
    _rule(134102, "again", "template", "next_template", "The template is unavailable on this endpoint", "Choose another template."),
    # The person.
    _rule(130472, "final", "contact", "none", "The person is in an experiment of Meta's", "Nothing: don't send it again."),
    _rule(130497, "final", "contact", "none", "This business may not message people in that country", "Take that country off the list."),
    _rule(131021, "final", "contact", "none", "The recipient is the sender", "Take the number off the list."),
    _rule(131026, "final", "contact", "none", "The person can't be reached: not on WhatsApp, an old app, or terms not accepted", "Nothing: don't send it again soon."),
    _rule(131030, "final", "contact", "breaker", "A test number may only write to its allowed list", "Use a real number, or add the person at Meta.", breaker=3),
    _rule(131047, "final", "contact", "none", "More than 24 hours since the person's last message", "Send a template."),
    _rule(131049, "final", "contact", "none", "Meta holds it back: the person got enough marketing", "Not before 24 hours have passed."),
    _rule(131050, "final", "contact", "opt_out", "The person stopped marketing from this business", "Nothing: the person is suppressed."),
    _rule(1013, "final", "contact", "none", "The person is not a WhatsApp user", "Nothing: don't send it again soon."),
    _rule(1026, "final", "contact", "none", "The person can't be reached", "Nothing: don't send it again soon."),
    _rule(470, "final", "contact", "none", "More than 24 hours since the person's last message", "Send a template."),
    # The content: wrong for one person, or for everybody; a breaker tells which.
    _rule(100, "final", "message", "breaker", "Meta finds a parameter invalid", _OUR_DATA, breaker=20),
    _rule(131008, "final", "message", "breaker", "A required parameter is missing", _OUR_DATA, breaker=20),
    _rule(131009, "final", "message", "breaker", "A parameter's value is invalid", _OUR_DATA, breaker=20),
    _rule(131051, "final", "message", "breaker", "The message type is not supported", _OUR_DATA, breaker=20),
    _rule(131052, "final", "message", "breaker", "The media can't be downloaded", "Check the link of the media.", breaker=20),
    _rule(131053, "final", "message", "breaker", "The media can't be used: type, size or link", "Check the media.", breaker=20),
    _rule(131055, "final", "campaign", "breaker", "The method is not allowed for this template", _OUR_DATA, breaker=1),
    _rule(131061, "final", "campaign", "breaker", "The template needs the marketing endpoint", _OUR_DATA, breaker=1),
    _rule(131062, "final", "contact", "none", "The person's user id can't be used for this message", "Use the phone number."),
    _rule(132000, "final", "message", "breaker", "The number of parameters differs from the template", _OUR_DATA, breaker=20),
    _rule(132005, "final", "message", "none", "The text becomes too long with this person's values", "Shorten the values."),
    _rule(132008, "final", "message", "breaker", "A parameter's value is invalid", _OUR_DATA, breaker=20),
    _rule(132012, "final", "message", "breaker", "A parameter's format differs from the template", _OUR_DATA, breaker=20),
    _rule(132018, "final", "message", "breaker", "The template's parameters don't validate", _OUR_DATA, breaker=20),
    _rule(134100, "final", "campaign", "breaker", "Only marketing messages are allowed here", _OUR_DATA, breaker=1),
    _rule(135000, "final", "message", "breaker", "Meta finds the request's parameters wrong", _OUR_DATA, breaker=20),
    _rule(137000, "final", "contact", "none", "The person's identity key has changed", "Nothing."),
    # Ambiguous: the message may have been taken before the failure.
    # One of them in thousands is a hiccup; several with no acceptance in between are an outage, so the number waits.
    _rule(1, "doubt", "number", "pause", "Meta had an unknown problem", "Wait for Meta's own report.", 30, 300, breaker=5),
    _rule(2, "doubt", "number", "pause", "Meta was down or overloaded", "Wait for Meta's own report.", 5, 300, breaker=3),
    _rule(506, "doubt", "message", "none", "Meta says it is a duplicate", "Wait for Meta's own report."),
    _rule(131000, "doubt", "number", "pause", "Something went wrong at Meta", "Wait for Meta's own report.", 30, 300, breaker=5),
    _rule(131016, "doubt", "number", "pause", "Meta's service was unavailable", "Wait for Meta's own report.", 5, 300, breaker=3),
    _rule(133004, "doubt", "number", "pause", "Meta's server was unavailable", "Wait for Meta's own report.", 5, 300, breaker=3),
)  # fmt: skip

RULES: dict[int, ErrorRule] = {rule.code: rule for rule in _ROWS}


def rule_for(code: int, subcode: int | None = None, *, http_status: int = 400) -> ErrorRule:
    """Return the rule of a code that Meta answered or reported.

    subcode 33 of code 100 means a number that is gone. An unknown code is never sent again: refused for good with
    a 4xx, in doubt with anything else; its breaker is short, because nobody knows what it means.
    """
    if code == 100 and subcode == 33:
        return RULES[33]
    known = RULES.get(code)
    if known is not None:
        return known
    verdict: Verdict = "final" if 400 <= http_status < 500 else "doubt"
    return ErrorRule(
        code,
        verdict,
        "message",
        "breaker",
        f"Meta gave the unknown error code {code}",
        "Report it.",
        breaker=3,
    )
