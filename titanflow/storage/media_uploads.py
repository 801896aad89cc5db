"""Meta's ids of our media: one upload for each file and number, used by all campaigns until it expires.

Who uploads is decided by one statement. An id that Meta refuses before its time is given up once; after that the file
itself is at fault, and the campaign's breaker has the word.
"""

from dataclasses import dataclass

from psycopg.rows import class_row

from titanflow.storage.database import Database

# Meta keeps an upload for 30 days; a day less, so that no message in flight meets its end.
_KEPT_DAYS = 29
# An upload whose node has died is begun again after so long; it is prolonged piece by piece.
UPLOADING_S = 15
# Answers to what left with the old id still come in while the new one is there.
_OLD_ID_S = 5


@dataclass(frozen=True, slots=True)
class Upload:
    """How a file stands for a number. meta_media_id None: not there; then error says why, if it was tried."""

    kind: str
    filename: str | None
    meta_media_id: str | None
    error: str | None
    waiting: bool


_OF = """
    SELECT media.kind, media.filename,
           CASE WHEN upload.expires_at > now() THEN upload.meta_media_id END AS meta_media_id, upload.error,
           coalesce(upload.retry_at > now(), false) AS waiting
    FROM media LEFT JOIN media_uploads AS upload ON upload.media_id = media.id AND upload.number_id = %(number_id)s
    WHERE media.id = %(media_id)s
"""


def of(db: Database, media_id: int, number_id: int) -> Upload | None:
    """Return how a file stands for a number; None if there is no such file."""
    with db.connection() as connection, connection.cursor(row_factory=class_row(Upload)) as cursor:
        return cursor.execute(_OF, {"media_id": media_id, "number_id": number_id}).fetchone()


@dataclass(frozen=True, slots=True)
class Job:
    """One upload to be done. access_token: encrypted."""

    phone_number_id: str
    access_token: bytes
    mime_type: str
    size_bytes: int
    filename: str | None


_BEGIN = """
    INSERT INTO media_uploads AS known (media_id, number_id, uploading_until)
    SELECT media.id, number.id, now() + make_interval(secs => %(uploading_s)s)
    FROM media, phone_numbers AS number WHERE media.id = %(media_id)s AND number.id = %(number_id)s
    ON CONFLICT (media_id, number_id) DO UPDATE SET uploading_until = EXCLUDED.uploading_until
    WHERE (known.uploading_until IS NULL OR known.uploading_until < now())
      AND (known.meta_media_id IS NULL OR known.expires_at <= now())
      AND (known.retry_at IS NULL OR known.retry_at <= now())
    RETURNING media_id, number_id
"""

_JOB = """
    SELECT number.phone_number_id, number.access_token, media.mime_type, media.size_bytes, media.filename
    FROM media, phone_numbers AS number WHERE media.id = %(media_id)s AND number.id = %(number_id)s
"""


def begin(db: Database, media_id: int, number_id: int) -> Job | None:
    """Take an upload on. None if it isn't needed, somebody else does it, or it failed a moment ago."""
    parameters = {"media_id": media_id, "number_id": number_id, "uploading_s": UPLOADING_S}
    with db.transaction() as transaction:
        if transaction.execute(_BEGIN, parameters).fetchone() is None:
            return None
        with transaction.cursor(row_factory=class_row(Job)) as cursor:
            return cursor.execute(_JOB, parameters).fetchone()


def prolong(db: Database, media_id: int, number_id: int) -> None:
    """Say that the upload goes on."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE media_uploads SET uploading_until = now() + make_interval(secs => %s)"
            " WHERE media_id = %s AND number_id = %s",
            [UPLOADING_S, media_id, number_id],
        )


def finish(db: Database, media_id: int, number_id: int, *, meta_media_id: str) -> None:
    """Keep Meta's id. An id that lived its time out has shown that the file is all right."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE media_uploads SET refusals = CASE WHEN expires_at <= now() THEN 0 ELSE refusals END,"
            " meta_media_id = %s, uploaded_at = now(), expires_at = now() + make_interval(days => %s),"
            " uploading_until = NULL, failures = 0, error = NULL, retry_at = NULL"
            " WHERE media_id = %s AND number_id = %s",
            [meta_media_id, _KEPT_DAYS, media_id, number_id],
        )


def fail(db: Database, media_id: int, number_id: int, *, error: str, refused: bool) -> None:
    """Keep why an upload failed. It is tried again after 5 s, doubled up to 5 min; refused by Meta: after 10 min."""
    with db.connection() as connection:
        connection.execute(
            "UPDATE media_uploads SET uploading_until = NULL, error = %(error)s, failures = failures + 1,"
            " retry_at = now() + make_interval(secs => CASE WHEN %(refused)s THEN 600"
            " ELSE least(300, 5 * 2 ^ least(failures, 10)) END)"
            " WHERE media_id = %(media_id)s AND number_id = %(number_id)s",
            {"error": error[:300], "refused": refused, "media_id": media_id, "number_id": number_id},
        )


_REFUSED = """
    WITH file AS (
        SELECT (media->>'media_id')::integer AS id FROM campaigns
        WHERE id = %(campaign_id)s AND jsonb_typeof(media->'media_id') = 'number'
    ), given_up AS (
        UPDATE media_uploads AS upload SET meta_media_id = NULL, refusals = refusals + 1, retry_at = NULL
        FROM file WHERE upload.media_id = file.id AND upload.number_id = %(number_id)s
          AND meta_media_id IS NOT NULL AND refusals < 1
        RETURNING upload.media_id
    )
    SELECT EXISTS (SELECT FROM given_up) OR EXISTS (
        SELECT FROM media_uploads AS upload JOIN file ON upload.media_id = file.id
        WHERE upload.number_id = %(number_id)s
          AND (meta_media_id IS NULL OR (refusals > 0 AND uploaded_at > now() - make_interval(secs => %(old_id_s)s))))
"""


def refused(db: Database, campaign_id: int, number_id: int) -> bool:
    """Say that Meta refused the campaign's media. Returns True if the id is renewed for that, else False."""
    parameters = {"campaign_id": campaign_id, "number_id": number_id, "old_id_s": _OLD_ID_S}
    with db.connection() as connection:
        row = connection.execute(_REFUSED, parameters).fetchone()
    return bool(row and row[0])


_NOBODY = """
    SELECT NOT EXISTS (
        SELECT FROM campaign_numbers AS link
        JOIN phone_numbers AS number ON number.id = link.number_id AND number.shown_state = 'active'
        LEFT JOIN media_uploads AS upload ON upload.number_id = number.id AND upload.media_id = %(media_id)s
        WHERE link.campaign_id = %(campaign_id)s AND (upload.error IS NULL OR upload.retry_at <= now()))
"""


def nobody_can(db: Database, campaign_id: int, media_id: int) -> bool:
    """Whether the upload has failed for every number that could send the campaign now."""
    with db.connection() as connection:
        row = connection.execute(_NOBODY, {"campaign_id": campaign_id, "media_id": media_id}).fetchone()
    return bool(row and row[0])


def try_again(db: Database, media_id: int) -> None:
    """Let the next who needs it try at once: whoever resumes a campaign has changed something."""
    with db.connection() as connection:
        connection.execute("UPDATE media_uploads SET retry_at = NULL WHERE media_id = %s", [media_id])
