"""Redis, the fast copy: live figures and messages between nodes. An outage costs latency, never a number."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from titanflow.domain.live import NumberLive
from titanflow.errors import StorageUnavailable
from titanflow.storage import redis_keys

Numbers = tuple[NumberLive, ...]

_TIMEOUT_S = 2.0
_MOST_RACES = 8


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

    def exchange_live(self, campaign_id: int, node_id: int, numbers: Sequence[NumberLive]) -> dict[int, Numbers]:
        """Tell what this node's numbers do for a campaign. Returns what all nodes told in the last seconds, by node."""
        key = redis_keys.campaign_live(campaign_id)
        body = orjson.dumps({"at": time.time(), "numbers": [asdict(number) for number in numbers]})
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(key, str(node_id), body)
                pipeline.expire(key, redis_keys.LIVE_TTL_S)
                pipeline.hgetall(key)
                return _fresh(pipeline.execute()[-1])
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def live(self, campaign_id: int) -> dict[int, Numbers]:
        """Return what the nodes told of a campaign in the last seconds, by node."""
        try:
            return _fresh(self._redis.hgetall(redis_keys.campaign_live(campaign_id)))
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def publish_stats(self, figures: Mapping[str, object]) -> None:
        """Announce the counts and live figures of a campaign."""
        try:
            self._redis.publish(redis_keys.EVENTS, orjson.dumps(figures))
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def publish_alarms(self, changed: Sequence[Mapping[str, object]]) -> None:
        """Announce alarms that were raised, counted up or cleared: one round trip for all of them."""
        self._publish(
            [{"type": "alarm", "state": "cleared" if alarm["cleared_at"] else "open", **alarm} for alarm in changed]
        )

    def publish_states(self, changed: Sequence[Mapping[str, object]]) -> None:
        """Announce changes of campaigns' states, in order."""
        self._publish([{"type": "state", **{k: v for k, v in one.items() if k != "id"}} for one in changed])

    def _publish(self, events: Sequence[Mapping[str, object]]) -> None:
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.publish(redis_keys.EVENTS, orjson.dumps(event, option=orjson.OPT_UTC_Z))
                pipeline.execute()
        except redis.RedisError as error:
            raise _unavailable(error) from error

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

    def change(self, key: str, change: Callable[[bytes | None], bytes], *, ttl_s: int) -> None:
        """Replace a value by what `change` makes of it, as one step; `change` runs again if others were faster.

        Raises StorageUnavailable also if others were faster each time.
        """
        try:
            with self._redis.pipeline(transaction=True) as pipeline:
                for _ in range(_MOST_RACES):
                    pipeline.watch(key)  # type: ignore[no-untyped-call]  # redis-py
                    known = pipeline.get(key)
                    pipeline.multi()
                    pipeline.set(key, change(known if isinstance(known, bytes) else None), ex=ttl_s)
                    with suppress(redis.WatchError):
                        pipeline.execute()
                        return
        except redis.RedisError as error:
            raise _unavailable(error) from error
        raise StorageUnavailable("Too many change the same at once", why=f"{_MOST_RACES} others were faster")

    def forget(self, key: str) -> None:
        """Delete a value."""
        try:
            self._redis.delete(key)
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()


def _fresh(told: Any) -> dict[int, Numbers]:
    """A node that died leaves its last word behind as long as others speak."""
    oldest = time.time() - redis_keys.LIVE_TTL_S
    parsed = {int(node_id): orjson.loads(body) for node_id, body in dict(told).items()}
    return {
        node_id: tuple(NumberLive(**number) for number in one["numbers"])
        for node_id, one in parsed.items()
        if one["at"] >= oldest
    }


def _unavailable(error: redis.RedisError) -> StorageUnavailable:
    return StorageUnavailable(
        "Redis can't be reached or didn't answer in time",
        why=type(error).__name__,
        fix="Nothing is lost; live figures return with it.",
    )
