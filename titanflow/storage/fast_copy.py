"""Redis, the fast copy: live figures and messages between nodes. An outage costs latency, never a number."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from titanflow.errors import StorageUnavailable
from titanflow.storage import redis_keys

_TIMEOUT_S = 2.0


class FastCopy:
    """A bounded pool of Redis connections. Each call raises StorageUnavailable if Redis is away."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self._pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=pool_size,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = redis.Redis(connection_pool=self._pool)

    def ping(self) -> None:
        """Raise StorageUnavailable unless Redis answers."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def publish_live(self, live: Mapping[int, Mapping[str, object]]) -> None:
        """Store and announce the live figures of campaigns: one round trip for all of them."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for campaign_id, figures in live.items():
                    body = orjson.dumps(figures)
                    pipeline.set(redis_keys.campaign_counts(campaign_id), body, ex=redis_keys.LIVE_TTL_S)
                    pipeline.publish(redis_keys.EVENTS, body)
                pipeline.execute()
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def publish_alarms(self, changed: Sequence[Mapping[str, object]]) -> None:
        """Announce alarms that were raised, counted up or cleared: one round trip for all of them."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for alarm in changed:
                    event = {"type": "alarm", "state": "cleared" if alarm["cleared_at"] else "open", **alarm}
                    pipeline.publish(redis_keys.EVENTS, orjson.dumps(event, option=orjson.OPT_UTC_Z))
                pipeline.execute()
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def live(self, campaign_id: int) -> dict[str, Any] | None:
        """Return the live figures that some node published in the last seconds, or None."""
        try:
            body = self._redis.get(redis_keys.campaign_counts(campaign_id))
        except redis.RedisError as error:
            raise _unavailable(error) from error
        return dict(orjson.loads(body)) if isinstance(body, bytes) else None

    def nudge(self) -> None:
        """Tell the other nodes that the desired state has changed."""
        try:
            self._redis.publish(redis_keys.NUDGES, b"")
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def listen(self, channel: str, *, wait_s: float) -> Generator[bytes | None, None, None]:
        """Yield the messages of a channel; None whenever `wait_s` passed without one. Close it to unsubscribe."""
        subscription = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis-py
        try:
            subscription.subscribe(channel)
            while True:
                message = subscription.get_message(timeout=wait_s)
                yield message["data"] if message else None
        except redis.RedisError as error:
            raise _unavailable(error) from error
        finally:
            subscription.close()

    def count_within(self, key: str, *, window_s: int) -> int:
        """Count one more event of `key` and return how many there were since the window began."""
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, window_s, nx=True)
                return int(pipeline.execute()[0])
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


def _unavailable(error: redis.RedisError) -> StorageUnavailable:
    return StorageUnavailable(
        "Redis can't be reached or didn't answer in time",
        why=type(error).__name__,
        fix="Nothing is lost; live figures return with it.",
    )
