"""All codes that a problem document can have: what each means, and its status. docs/api.md has them as a table.

A test holds that the table is whole: every code that the source names is here, and nothing else.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """A stable code. more: further members of its problem document."""

    code: str
    status: int
    means: str
    more: tuple[str, ...] = ()


_ALL = (
    # Any operation
    ProblemCode("unauthorized", 401, "No token, or one that is unknown or revoked"),
    ProblemCode("forbidden", 403, "The token lacks the scope"),
    ProblemCode("csrf", 403, "A browser's session, and no proof that its own page made the request"),
    ProblemCode("not_found", 404, "There is no such path"),
    ProblemCode("method_not_allowed", 405, "The path has no such method; `Allow` names those it has"),
    ProblemCode("not_acceptable", 406, "`Accept` leaves no form that the answer could have"),
    ProblemCode("too_many_requests", 429, "Slow down; `Retry-After` says for how long", ("retry_after_s",)),
    ProblemCode("internal", 500, "A bug of the server; it is in its log"),
    ProblemCode("unavailable", 503, "A part of the server is away; try again"),
    ProblemCode("storage_unavailable", 503, "PostgreSQL or Redis is away; whether a write happened is unknown"),
    ProblemCode("configuration", 503, "The server's set-up is wrong; the text says what to set"),
    ProblemCode("too_many_exports", 503, "Enough exports run already; try again"),
    ProblemCode("too_many_listeners", 503, "Enough listen to events already; try again"),
    ProblemCode("starting", 503, "The server is starting"),
    # What is sent
    ProblemCode("bad_request", 400, "The request is no proper HTTP"),
    ProblemCode("invalid_json", 400, "The body is no JSON"),
    ProblemCode("upload_incomplete", 400, "The upload broke off; send it again"),
    ProblemCode("too_large", 413, "The body or file is larger than is taken"),
    ProblemCode("uri_too_long", 414, "The path with its query is longer than 4,094 bytes"),
    ProblemCode("headers_too_large", 431, "The headers are larger than is taken"),
    ProblemCode("unsupported_media_type", 415, "The body's Content-Type isn't taken here"),
    ProblemCode("unsupported_media", 415, "Meta takes no such file, or the bytes are something else"),
    ProblemCode("invalid_input", 422, "A parameter or member can't be used", ("errors",)),
    ProblemCode("invalid_csv", 422, "The CSV can't be imported", ("line",)),
    ProblemCode("invalid_phone", 422, "The path holds no phone number"),
    ProblemCode("unknown_number", 422, "A phone number that is named isn't there"),
    ProblemCode("unknown_template", 422, "A template that is named isn't there"),
    ProblemCode("unknown_media", 422, "A file that is named isn't there"),
    ProblemCode("faq_keywords", 422, "A keyword has no letter or digit that could be found"),
    ProblemCode("opt_out_words", 422, "The words of opting out can't be used; says which and why"),
    ProblemCode("missing_parameter", 422, "The template needs a value that isn't given", ("parameter",)),
    # What isn't there
    ProblemCode("message_not_found", 404, "The conversation has no such message"),
    ProblemCode("campaign_not_found", 404, "There is no such campaign"),
    ProblemCode("number_not_found", 404, "There is no such phone number"),
    ProblemCode("template_not_found", 404, "There is no such template"),
    ProblemCode("media_not_found", 404, "There is no such file"),
    ProblemCode("import_not_found", 404, "The campaign has no such import"),
    ProblemCode("rehearsal_not_found", 404, "The campaign has no such rehearsal"),
    ProblemCode("alarm_not_found", 404, "There is no such alarm"),
    ProblemCode("token_not_found", 404, "There is no such token"),
    ProblemCode("not_suppressed", 404, "The person is not on the do-not-send list"),
    ProblemCode("process_not_found", 404, "The process has ended, or never was"),
    ProblemCode("faq_not_found", 404, "There is no such rule"),
    ProblemCode("conversation_not_found", 404, "There is no conversation with this person"),
    ProblemCode("closed", 410, "The campaign ended long ago: its figures are kept, its contacts and messages are not"),
    # What can't be now
    ProblemCode(
        "window_closed", 409, "More than 24 hours since the person wrote: send a template", ("service_window_ends_at",)
    ),
    ProblemCode("suppressed", 409, "The person is on the do-not-send list", ("reason",)),
    ProblemCode("media_not_ready", 409, "The file isn't here: not yet, or no more", ("state",)),
    ProblemCode(
        "in_flight", 409, "A message to the person is on its way; repeat it after `Retry-After`", ("retry_after_s",)
    ),
    ProblemCode("not_queued", 409, "The reply has left already, or is no reply"),
    ProblemCode("conflict", 409, "The state of things doesn't allow it"),
    ProblemCode("wrong_state", 409, "The campaign's state doesn't allow it; says what would be right", ("state",)),
    ProblemCode("no_template", 409, "The campaign has no template", ("missing",)),
    ProblemCode("no_number", 409, "The campaign has no phone number", ("missing",)),
    ProblemCode("no_contacts", 409, "The campaign has nobody to send to", ("missing",)),
    ProblemCode(
        "template_not_approved", 409, "None of the campaign's templates is approved; or the template of a reply isn't"
    ),
    ProblemCode("template_of_other_account", 409, "A template and a number belong to different accounts"),
    ProblemCode("import_running", 409, "Contacts are still being imported"),
    ProblemCode("number_exists", 409, "The phone number is there already"),
    ProblemCode("in_use", 409, "A campaign uses it"),
    ProblemCode("idempotency_key_reused", 409, "The Idempotency-Key was used for another request"),
    ProblemCode("in_progress", 409, "A request with this Idempotency-Key is being carried out; `Retry-After`"),
    ProblemCode("not_restartable", 409, "Nobody would start this process again", ("kind",)),
    ProblemCode("too_many_faqs", 409, "There are as many rules as there may be"),
    ProblemCode("faq_order", 409, "The order must name each rule once", ("ids",)),
    # Meta's webhooks
    ProblemCode("bad_signature", 401, "The webhook's signature is wrong"),
)

PROBLEM_CODES = {one.code: one for one in _ALL}

# What a campaign may lack to start.
INCOMPLETE = ("no_template", "no_number", "no_contacts", "template_not_approved", "template_of_other_account")


def markdown() -> str:
    """The table of docs/api.md."""
    rows = [
        f"| `{one.code}` | {one.status} | {one.means}{_members(one)} |" for one in sorted(_ALL, key=lambda o: o.code)
    ]
    return "\n".join(["| code | status | means |", "| --- | --- | --- |", *rows])


def _members(one: ProblemCode) -> str:
    return f" (also: {', '.join(f'`{name}`' for name in one.more)})" if one.more else ""
