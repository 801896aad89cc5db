"""Meta's error codes as data: one row a code. A person can read it (docs/errors.md), a test walks it.

Source: Meta's page "Error codes" and what clients report; the reasons for each verdict stand in
docs/decisions/0003-error-policy.md, those for scopes and pauses in 0005-consequences.md. A `failed` status by webhook
is final for its attempt whatever the verdict; its scope and action apply all the same.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from titanflow.domain.outcomes import Action, ErrorRule, Scope, Verdict
from titanflow.domain.suppression import BY_CODE

_MINUTE = 60.0
_HOUR = 3600.0

# From nothing back to a number's allowance: after a throttle, and after people have reported the number.
_SOON = 20.0
_SLOWLY = _HOUR

# The same failure for so many people in a row is the campaign's fault, not the people's.
_IN_A_ROW = 20


def _rule(
    code: int,
    verdict: Verdict,
    scope: Scope,
    action: Action,
    sentence: str,
    fix: str,
    pause_s: float = 0.0,
    max_pause_s: float = 0.0,
    **more: Any,
) -> ErrorRule:
    return ErrorRule(code, verdict, scope, action, sentence, fix, pause_s, max_pause_s, **more)


def _suppresses(code: int, sentence: str, fix: str) -> ErrorRule:
    known = BY_CODE[code]
    return _rule(code, "final", "contact", "suppress", sentence, fix, known.first_s or 0, known.longest_s or 0)


def _our_fault(code: int, sentence: str, fix: str) -> ErrorRule:
    return _rule(code, "final", "message", "breaker", sentence, fix, breaker=_IN_A_ROW)


_REPLACE_IT = "Give the number a new access token, then resume it."
_REVIEW = "Look into WhatsApp Manager, solve it there, then resume the number."
_REGISTER = "Register the number at Meta, then resume it."
_OUR_DATA = "Compare the template with the campaign's variables, then resume the campaign."
_CHOOSE = "Choose another template."
_ADAPTS = "Nothing: it is tried again after a pause, and more slowly."
_WAIT = "Wait for Meta's own report."
_NO_MESSAGE = "Report it: no message should get this answer."

# Codes of our own: nothing left, or nobody knows.
MISSING_VALUE = _our_fault(
    -1, "The contact's row lacks a value the template needs", "Complete the list or set a default, then resume."
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
NO_PROOF = _rule(
    -5,
    "doubt",
    "number",
    "pause",
    "Answers prove nothing: time-outs, cut connections, pages of a proxy",
    _WAIT,
    5,
    300,
    breaker=3,
)
RESOLVED_AS_FAILED = _rule(
    -6,
    "final",
    "message",
    "none",
    "It was in doubt, and an operator said that it never arrived",
    "Retry it from the campaign's page, if the person should get it after all.",
)

_ROWS = (
    MISSING_VALUE,
    NOT_CONNECTED,
    LEASE_LOST,
    OUT_OF_ATTEMPTS,
    NO_PROOF,
    RESOLVED_AS_FAILED,
    # Authentication, permission, account: refused before processing; nothing more may leave until someone acts.
    _rule(0, "again", "account", "block", "Meta no longer accepts the access token", _REPLACE_IT),
    _rule(3, "again", "account", "block", "The app lacks the permission to send", _REPLACE_IT),
    _rule(10, "again", "account", "block", "The app's permission was removed", _REPLACE_IT),
    _rule(102, "again", "account", "block", "The access token's session is invalid", _REPLACE_IT),
    _rule(104, "again", "account", "block", "The app demands a proof with the token", _REPLACE_IT),
    _rule(190, "again", "account", "block", "The access token has expired or was revoked", _REPLACE_IT),
    _rule(131005, "again", "account", "block", "Access denied by Meta", _REPLACE_IT),
    _rule(368, "again", "account", "block", "Meta restricted the account for a policy violation", _REVIEW),
    _rule(131031, "again", "account", "block", "Meta locked the account", _REVIEW),
    _rule(131042, "again", "account", "block", "Meta refuses because of a payment problem", "Add a payment method at Meta, then resume the number."),
    _rule(131063, "again", "account", "block", "Marketing templates are disabled for this account", _REVIEW),
    _rule(131064, "again", "account", "pause", "The limit for misclassified templates is reached", "Correct the templates' category at Meta; it is tried again by itself.", 6 * _HOUR, 24 * _HOUR, alarm=True),
    _rule(134011, "again", "account", "block", "The terms of WhatsApp Payments are not accepted", _REVIEW),
    # The number.
    _rule(33, "again", "number", "block", "Meta doesn't know this number, or the token can't see it", _REVIEW),
    _rule(131037, "again", "number", "block", "The number's display name is not approved", _REVIEW),
    _rule(131045, "again", "number", "block", "The number is not registered, or its certificate is wrong", _REGISTER),
    _rule(133010, "again", "number", "block", "The number is not registered", _REGISTER),
    _rule(130429, "again", "number", "slow_down", "The number sends faster than Meta allows", "Nothing: the rate adapts.", 1, 60, recover_s=_SOON),
    _rule(131048, "again", "number", "pause", "Meta holds the number back because people block or report it", "Look at the number's quality; send to people who expect it.", 60, 24 * _HOUR, recover_s=_SLOWLY, alarm=True),
    _rule(131057, "again", "number", "pause", "Meta is upgrading the number", "Nothing: it takes up to a minute.", 10, 60),
    # Throttles of the app and the account.
    _rule(4, "again", "app", "pause", "The app's call limit is reached", _ADAPTS, 60, 15 * _MINUTE, recover_s=_SOON),
    *(
        _rule(code, "again", "app", "pause", "Meta's general call limit is reached", _ADAPTS, 60, 15 * _MINUTE, recover_s=_SOON)
        for code in (17, 32, 613)
    ),
    _rule(80007, "again", "account", "pause", "The account's rate limit is reached", _ADAPTS, 60, 15 * _MINUTE, recover_s=_SOON),
    _rule(80008, "again", "account", "none", "Too many management calls on the account", "Nothing: templates and numbers are read less often."),
    # The pair of number and person.
    _rule(131056, "again", "contact", "none", "Too many messages to this person in a short time", "Nothing: this person alone waits, 4, 16, 64 seconds and so on.", 6, 4096),
    # The template.
    _rule(132001, "again", "template", "next_template", "The template doesn't exist in this language or is not approved", "Sync the templates; choose an approved one."),
    _rule(132015, "again", "template", "next_template", "Meta paused the template for low quality", "Choose another template, or wait until it is approved again."),
    _rule(132016, "again", "template", "next_template", "Meta disabled the template for good", _CHOOSE),
    _rule(132007, "final", "template", "next_template", "The template's text violates a policy", _CHOOSE),
    _rule(132068, "again", "template", "next_template", "The template's flow is blocked", _CHOOSE),
    _rule(132069, "again", "template", "next_template", "The template's flow is throttled", "Choose another template, or sync the templates in an hour."),
    _rule(134101, "again", "template", "next_template", "The template is still being synced at Meta", "Sync the templates in ten minutes."),
    _rule(134102, "again", "template", "next_template", "The template is unavailable on this endpoint", _CHOOSE),
    # The person.
    _suppresses(131026, "The person can't be reached: not on WhatsApp, an old app, or terms not accepted", "Nothing: the person is left out for 30 days, longer after a repeat."),
    _suppresses(1013, "The person is not a WhatsApp user (old code)", "Nothing: the person is left out for 30 days, longer after a repeat."),
    _suppresses(1026, "The person can't be reached (old code)", "Nothing: the person is left out for 30 days, longer after a repeat."),
    _suppresses(131049, "Meta holds it back: the person got enough marketing", "Nothing: the person is left out for 24 hours, longer after a repeat."),
    _rule(131050, "final", "contact", "opt_out", "The person stopped marketing from this business", "Nothing: the person is suppressed."),
    _rule(130472, "final", "contact", "none", "The person is in an experiment of Meta's", "Nothing: another campaign may reach the person."),
    _rule(130497, "final", "contact", "none", "This business may not message people in that country", "Take that country off the list.", alarm=True),
    _rule(131021, "final", "contact", "none", "The recipient is the sender", "Take the number off the list."),
    _rule(131030, "final", "contact", "breaker", "A test number may only write to its allowed list", "Use a real number, or add the person at Meta.", breaker=3),
    _rule(131047, "final", "contact", "none", "More than 24 hours since the person's last message", "Send a template."),
    _rule(470, "final", "contact", "none", "More than 24 hours since the person's last message (old code)", "Send a template."),
    _rule(131062, "final", "contact", "none", "The person's user id can't be used for this message", "Use the phone number."),
    _rule(137000, "final", "contact", "none", "The person's identity key has changed", "Nothing."),
    # The content: wrong for one person, or for everybody; a breaker tells which.
    _our_fault(100, "Meta finds a parameter invalid", _OUR_DATA),
    _our_fault(131008, "A required parameter is missing", _OUR_DATA),
    _our_fault(131009, "A parameter's value is invalid", _OUR_DATA),
    _our_fault(131051, "The message type is not supported", _OUR_DATA),
    _our_fault(131052, "The media can't be downloaded", "Check the link of the media, then resume the campaign."),
    _our_fault(131053, "The media can't be used: type, size or link", "Check the media, then resume the campaign."),
    _our_fault(132000, "The number of parameters differs from the template", _OUR_DATA),
    _our_fault(132008, "A parameter's value is invalid", _OUR_DATA),
    _our_fault(132012, "A parameter's format differs from the template", _OUR_DATA),
    _our_fault(132018, "The template's parameters don't validate", _OUR_DATA),
    _our_fault(135000, "Meta finds the request's parameters wrong", _OUR_DATA),
    _rule(132005, "final", "message", "none", "The text becomes too long with this person's values", "Shorten the values."),
    _rule(131055, "final", "campaign", "breaker", "The method is not allowed for this template", _OUR_DATA, breaker=1),
    _rule(131061, "final", "campaign", "breaker", "The template needs the marketing endpoint", _OUR_DATA, breaker=1),
    _rule(134100, "final", "campaign", "breaker", "Only marketing messages are allowed here", _OUR_DATA, breaker=1),
    # Ambiguous: the message may have been taken before the failure.
    # One of them in thousands is a hiccup; several with no acceptance in between are an outage, so the number waits.
    _rule(1, "doubt", "number", "pause", "Meta had an unknown problem", _WAIT, 30, 300, breaker=5),
    _rule(2, "doubt", "number", "pause", "Meta was down or overloaded", _WAIT, 5, 300, breaker=3),
    _rule(506, "doubt", "message", "none", "Meta says it is a duplicate", _WAIT),
    _rule(131000, "doubt", "number", "pause", "Something went wrong at Meta", _WAIT, 30, 300, breaker=5),
    _rule(131016, "doubt", "number", "pause", "Meta's service was unavailable", _WAIT, 5, 300, breaker=3),
    _rule(133004, "doubt", "number", "pause", "Meta's server was unavailable", _WAIT, 5, 300, breaker=3),
)  # fmt: skip

RULES: dict[int, ErrorRule] = {rule.code: rule for rule in _ROWS}


@dataclass(frozen=True, slots=True)
class Family:
    """Codes from first to last that mean the same here. rule.code is the first."""

    first: int
    last: int
    rule: ErrorRule


def _elsewhere(first: int, last: int, what: str) -> Family:
    """Codes of other calls than sending. As an answer to a message they would be unknown, so they are treated alike."""
    rule = _rule(first, "final", "message", "breaker", what, _NO_MESSAGE, breaker=3, alarm=True)
    return Family(first, last, rule)


FAMILIES = (
    Family(200, 299, _rule(200, "again", "account", "block", "A permission is missing or was removed", _REPLACE_IT)),
    Family(470, 480, _our_fault(470, "A refusal of the old On-Premises API", _OUR_DATA)),
    Family(1000, 1026, _our_fault(1000, "A refusal of the old On-Premises API", _OUR_DATA)),
    _elsewhere(131020, 131020, "Groups only: not about a message"),
    _elsewhere(131041, 131041, "Groups only: not about a message"),
    _elsewhere(131059, 131060, "An incoming message that can't be shown"),
    _elsewhere(131200, 131299, "Groups only: not about a message"),
    _elsewhere(133000, 133003, "Registration only: an earlier deregistration is incomplete"),
    _elsewhere(133005, 133006, "Registration only: the PIN is wrong, or the number must be verified first"),
    _elsewhere(133008, 133009, "Registration only: too many wrong PINs, or too fast"),
    _elsewhere(133015, 133016, "Registration only: the number was just deleted, or (de)registered too often"),
    _elsewhere(136025, 136025, "Management only: the verification of the number failed"),
    _elsewhere(138000, 139999, "Calling and flows only: not about a message"),
    _elsewhere(141000, 141999, "Health status only: 141006 no payment method, 141010 the business is not verified"),
    _elsewhere(147000, 147999, "User names only: not about a message"),
    _elsewhere(200005, 200007, "Analytics only: not about a message"),
    _elsewhere(1752041, 1752041, "Onboarding only: not about a message"),
    _elsewhere(2388000, 2388999, "Template management only: too many templates, or a format that is refused"),
    _elsewhere(2494100, 2494100, "Migration only: the number is being moved"),
    _elsewhere(2593000, 2593999, "Management only: not about a message"),
)


# What Meta reports in an outage, mixed: together they make a run.
DOUBTFUL_CODES = tuple(rule.code for rule in RULES.values() if rule.verdict == "doubt")

# Refusals that an upload's id may be the reason for: it is uploaded again, once, before anything else follows.
MEDIA_CODES = frozenset((131009, 131053))

# The parameter that is invalid is the media's id, by Meta's own words: with a new id the message can go.
MEDIA_GONE = replace(
    RULES[131009],
    verdict="again",
    scope="template",
    sentence="Meta no longer knows the media of the header",
    fix="Nothing: it is uploaded again.",
)
_MEDIA = re.compile(r"\bmedia\b", re.IGNORECASE)


def rule_for(code: int, subcode: int | None = None, *, http_status: int = 400, details: str = "") -> ErrorRule:
    """Return the rule of a code that Meta answered or reported. details: Meta's words, where the code isn't enough.

    subcode 33 of code 100 means a number that is gone. An unknown code is never sent again: refused for good with
    a 4xx, in doubt with anything else; its breaker is short, because nobody knows what it means.
    """
    if code == 100 and subcode == 33:
        return RULES[33]
    if code == MEDIA_GONE.code and _MEDIA.search(details):
        return MEDIA_GONE
    known = RULES.get(code)
    if known is not None:
        return known
    for family in FAMILIES:
        if family.first <= code <= family.last:
            return replace(family.rule, code=code)
    verdict: Verdict = "final" if 400 <= http_status < 500 else "doubt"
    sentence = "Meta gave an error that is not known here"
    return ErrorRule(code, verdict, "message", "breaker", sentence, "Report it.", breaker=3, alarm=True)
