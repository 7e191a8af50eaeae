"""
Model versions, the champion pointer, uploaded preprocessors, and leases of runs.

Every object under ``models/<use case>/<version>/`` is written once. Two kinds of object
change, each by compare-and-set on its generation: ``champion.json``, which says what
serves and what scores beside it, and ``runs/<use case>/<kind>/<as of>.json``, which
says who is at work.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

from propensity.edges.artifacts import UNCHANGED, Artifacts, Stored, Unchanged, sha256
from propensity.errors import (
    ArtifactError,
    Conflict,
    NoChampion,
    OldEpoch,
    Pinned,
    PropensityError,
    RequestError,
    RunInProgress,
)

JSON = "application/json"
HTML = "text/html; charset=utf-8"
PARQUET = "application/vnd.apache.parquet"

# The epoch where there is no pointer yet.
NOTHING_SERVES = -1

# The largest epoch that a command may name: room for nanoseconds, and for more after.
LARGEST_EPOCH = 2**62

# Versions that served before are named by the pointer, to go back to; no more than so
# many.
EARLIER = 10

# What unpickling raises of an object that other library versions wrote.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)

# Of so many racing trainers one would have to lose every time to give up.
_CLAIMS = 100

# How often a lease is renewed within the time that it lasts.
_RENEWALS = 5


class Anything(Enum):
    """Says that a promotion does not depend on what serves: it is by hand."""

    SERVES = "anything"


ANYTHING = Anything.SERVES


@dataclass(frozen=True, kw_only=True)
class Champion:
    """
    What ``champion.json`` says.

    Attributes:
        version: What serves.
        epoch: Rises with every change.
        model_sha256: Of the version's model; it is verified by what BigQuery has.
        promoted_at: When the version came to serve.
        previous: What a roll back lets serve, the first of ``earlier``; None for none.
        pinned: Whether training may promote nothing.
        shadow: The version that scores beside it; None for none.
        earlier: The versions that served before, newest first, without those that were
            rolled back.
    """

    version: int
    epoch: int
    model_sha256: str
    promoted_at: str
    previous: int | None
    pinned: bool = False
    shadow: int | None = None
    earlier: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """Names and SHA-256 of what was stored for a version, by file name."""

    version: int
    objects: Mapping[str, str]
    checksums: Mapping[str, str]


@dataclass
class Lease:
    """
    A run's right to be the only one of its kind and as-of date, for a while.

    ``Registry.kept`` renews it while the run works. ``waiting_since`` is when a run of
    this date first found that it had to wait for data; it outlives the runs that gave
    up, and ends with the one that is done.
    """

    name: str
    run_id: str
    generation: int
    began_at: datetime
    duration: timedelta
    waiting_since: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def running(self, *, until: datetime) -> bytes:
        """Return what the object says while the run works."""
        note = {
            "state": "running",
            "run_id": self.run_id,
            "began_at": _instant(self.began_at),
            "expires_at": _instant(until),
        }
        return _json({**note, **self.waiting()})

    def waiting(self) -> dict[str, str]:
        """Return what the object says of the wait, nothing where there is none."""
        since = self.waiting_since
        return {} if since is None else {"waiting_since": _instant(since)}


@dataclass(frozen=True)
class Finished:
    """A run that was done before, with the answer it gave."""

    answer: Mapping[str, Any]
    run_id: str = ""


class Registry:
    """The objects of one use case in the bucket."""

    def __init__(self, artifacts: Artifacts, use_case: str) -> None:
        self.artifacts = artifacts
        self.use_case = use_case

    # Versions

    def claim(self, *, run_id: str, at: datetime) -> int:
        """
        Claim the next version: of two trainers one gets it, the other the one after.

        Raises:
            Conflict: A hundred others were quicker.
        """
        version = max(self.versions(), default=-1) + 1
        note = _json({"run_id": run_id, "claimed_at": _instant(at)})
        for candidate in range(version, version + _CLAIMS):
            try:
                self.artifacts.create(
                    self._object(candidate, "claim.json"), note, content_type=JSON
                )
            except Conflict:
                continue
            return candidate
        raise Conflict(f"no version could be claimed after {_CLAIMS} tries")

    def versions(self) -> list[int]:
        """Return the claimed versions, ascending."""
        prefix = f"models/{self.use_case}/"
        parts = (
            name.removeprefix(prefix).split("/")[0]
            for name in self.artifacts.names(prefix)
        )
        return sorted({int(part) for part in parts if part.isdigit()})

    def publish(
        self, version: int, files: Mapping[str, tuple[bytes, str]]
    ) -> Published:
        """
        Store a version's files, each once.

        Args:
            version: A claimed one.
            files: Bytes and content type by file name.
        """
        objects, checksums = {}, {}
        for name, (data, content_type) in files.items():
            objects[name] = self._object(version, name)
            checksums[name] = sha256(data)
            self.artifacts.create(objects[name], data, content_type=content_type)
        return Published(version=version, objects=objects, checksums=checksums)

    def load(self, metadata: Mapping[str, Any]) -> tuple[Any, Any]:
        """
        Return a version's preprocessor and model, unpickled after verification.

        Args:
            metadata: Its row of ``ma_model_training_metadata``. The checksums come
                from there and not from the bucket: whoever can only write to the
                bucket can not run code here.

        Raises:
            ArtifactError: An object is missing, or its bytes are not those recorded.
        """
        parts = []
        for part in ("preprocessor", "model"):
            data = self.artifacts.read_verified(
                metadata[f"{part}_object"], checksum=metadata[f"{part}_sha256"]
            )
            parts.append(unpickled(data))
        return parts[0], parts[1]

    def _object(self, version: int, name: str) -> str:
        return f"models/{self.use_case}/{version}/{name}"

    # The champion

    def champion(self) -> Champion:
        """
        Return what serves.

        Raises:
            NoChampion: Nothing has been promoted yet.
        """
        champion, _ = self._champion()
        if champion is None:
            raise NoChampion(
                f"{self.use_case} has no champion yet: run modelTraining first"
            )
        return champion

    def find_champion(self) -> Champion | None:
        """Return what serves, or None where nothing was promoted yet."""
        return self._champion()[0]

    def champion_since(self, generation: int) -> tuple[Champion | None, int] | None:
        """
        Return what serves and its generation, or None if that still is a known one.

        Args:
            generation: The one that is known; 0 to read it in any case.

        Raises:
            ArtifactError: The pointer is damaged.
        """
        stored = self.artifacts.find_newer(self._pointer, than=generation)
        if stored is UNCHANGED:
            return None
        assert not isinstance(stored, Unchanged)
        return self._parsed(stored)

    def _champion(self) -> tuple[Champion | None, int]:
        return self._parsed(self.artifacts.find(self._pointer))

    def _parsed(self, stored: Stored | None) -> tuple[Champion | None, int]:
        if stored is None:
            return None, 0
        found = _object_of(stored, self._pointer)
        # What a later deploy may have added means nothing here.
        known = {field.name for field in fields(Champion)} & set(found)
        try:
            champion = Champion(**{name: found[name] for name in known})
        except TypeError as error:
            raise ArtifactError(f"{self._pointer} is no champion: {error}") from error
        if not _is_sound(champion):
            raise ArtifactError(f"{self._pointer} names no version: {found}")
        # Before `earlier` was kept, the previous version was all there was of it.
        earlier = champion.earlier or (champion.previous,)
        champion = replace(
            champion, earlier=tuple(one for one in earlier if one is not None)
        )
        return champion, stored.generation

    def promote(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        instead_of: int | Anything | None,
        epoch: int | None = None,
    ) -> Champion:
        """
        Make a version the champion, if the champion is still the expected one.

        A version that scored as shadow no longer does. A pin stays: a promotion by
        hand changes what is pinned.

        Args:
            version: What shall serve.
            model_sha256: Of its model's bytes.
            at: Now.
            instead_of: The version that it was compared with; None for no champion;
                ANYTHING to promote by hand, whatever serves.
            epoch: The command's, which must be above the present one; None for the
                next.

        Raises:
            Conflict: Another version was promoted since.
            Pinned: A version is pinned, and this is not by hand.
            OldEpoch: The epoch is not above the present one.
        """

        def promoted(champion: Champion | None) -> Champion:
            found = champion.version if champion else None
            if champion and found == version:
                return champion
            if instead_of is not ANYTHING:
                if champion and champion.pinned:
                    raise Pinned(
                        f"version {found} is pinned: version {version} was not promoted"
                    )
                if found != instead_of:
                    raise Conflict(
                        f"the champion is version {found} and no longer {instead_of}: "
                        f"version {version} was compared with another"
                    )
            return _crowned(champion, version, model_sha256=model_sha256, at=at)

        return self._change(promoted, epoch=epoch)

    def roll_back(
        self,
        to: int,
        *,
        model_sha256: str,
        at: datetime,
        epoch: int | None = None,
    ) -> Champion:
        """
        Let the version serve again that served before, as if the last never had.

        So a second roll back goes one further back, and never to what was rolled back.
        A pin stays; without one training may promote again.

        Args:
            to: The pointer's ``previous``, so that of two who roll back at once both
                come to the same version.
            model_sha256: Of its model's bytes.
            at: Now.
            epoch: As in ``promote``.

        Raises:
            NoChampion: Nothing serves, or nothing did before.
            Conflict: Another version served before than ``to``.
            OldEpoch: The epoch is not above the present one.
        """

        def rolled_back(champion: Champion | None) -> Champion:
            found = self._existing(champion)
            if found.version == to:
                return found
            if found.previous is None:
                raise NoChampion(
                    f"no version served before version {found.version}: there is none "
                    "to roll back to"
                )
            if found.previous != to:
                raise Conflict(
                    f"before version {found.version} version {found.previous} served, "
                    f"and not {to}"
                )
            earlier = found.earlier[1:]
            return replace(
                found,
                version=to,
                model_sha256=model_sha256,
                promoted_at=_instant(at),
                previous=earlier[0] if earlier else None,
                earlier=earlier,
                shadow=None if found.shadow == to else found.shadow,
            )

        return self._change(rolled_back, epoch=epoch)

    def pin(
        self,
        version: int,
        *,
        model_sha256: str,
        at: datetime,
        epoch: int | None = None,
    ) -> Champion:
        """
        Make a version the champion, and let training promote none until ``unpin``.

        Arguments and errors are those of ``promote`` by hand.
        """

        def pinned(champion: Champion | None) -> Champion:
            if champion is None or champion.version != version:
                champion = _crowned(champion, version, model_sha256=model_sha256, at=at)
            return replace(champion, pinned=True)

        return self._change(pinned, epoch=epoch)

    def unpin(self, *, epoch: int | None = None) -> Champion:
        """
        Let training promote again.

        Raises:
            NoChampion: Nothing serves.
            OldEpoch: The epoch is not above the present one.
        """
        return self._change(
            lambda champion: replace(self._existing(champion), pinned=False),
            epoch=epoch,
        )

    def shadow(self, version: int, *, epoch: int | None = None) -> Champion:
        """
        Let a version score beside the champion, for the log; the champion is no shadow.

        Raises:
            NoChampion: Nothing serves.
            OldEpoch: The epoch is not above the present one.
        """

        def shadowed(champion: Champion | None) -> Champion:
            found = self._existing(champion)
            return replace(found, shadow=None if found.version == version else version)

        return self._change(shadowed, epoch=epoch)

    def unshadow(self, *, epoch: int | None = None) -> Champion:
        """Let no version score beside the champion. Raises as ``shadow``."""
        return self._change(
            lambda champion: replace(self._existing(champion), shadow=None),
            epoch=epoch,
        )

    def _existing(self, champion: Champion | None) -> Champion:
        if champion is None:
            raise NoChampion(f"{self.use_case} has no champion yet")
        return champion

    def _change(
        self,
        change: Callable[[Champion | None], Champion],
        *,
        epoch: int | None,
    ) -> Champion:
        """
        Change the pointer by compare-and-set, again where another was quicker.

        A command with an epoch raises the epoch even where it changes nothing else, so
        that older commands come too late. One without leaves such a pointer alone.
        """
        if epoch is not None and not 0 <= epoch <= LARGEST_EPOCH:
            raise RequestError(
                f"an epoch is a whole number from 0 to {LARGEST_EPOCH}, not {epoch}",
                field="epoch",
            )
        for _ in range(_CLAIMS):
            champion, generation = self._champion()
            current = champion.epoch if champion else NOTHING_SERVES
            if epoch is not None and epoch <= current:
                raise OldEpoch(
                    f"the pointer of {self.use_case} has epoch {current}: a command "
                    f"with epoch {epoch} is not newer, and changed nothing"
                )
            changed = change(champion)
            if epoch is None and changed == champion:
                return champion
            changed = replace(changed, epoch=current + 1 if epoch is None else epoch)
            try:
                self.artifacts.replace(
                    self._pointer, _json(asdict(changed)), generation=generation
                )
            except Conflict:
                continue
            return changed
        raise Conflict(f"the pointer could not be changed in {_CLAIMS} tries")

    @property
    def _pointer(self) -> str:
        return f"models/{self.use_case}/champion.json"

    # Uploaded preprocessors

    def upload_preprocessor(self, preprocessor: Any) -> tuple[str, str]:
        """
        Store an unfitted preprocessor under its checksum.

        Returns:
            The object's name and SHA-256, to be recorded in ``ma_preprocessors``.
        """
        data = pickled(preprocessor)
        checksum = sha256(data)
        name = f"preprocessors/{self.use_case}/{checksum}.joblib"
        if self.artifacts.find(name) is None:
            self.artifacts.create(name, data)
        return name, checksum

    def preprocessor(self, recorded: Mapping[str, Any]) -> Any:
        """Return an uploaded preprocessor, unpickled after verification."""
        data = self.artifacts.read_verified(
            recorded["object"], checksum=recorded["sha256"]
        )
        return unpickled(data)

    # Leases

    def begin(
        self,
        kind: str,
        as_of: date,
        *,
        run_id: str,
        now: datetime,
        duration: timedelta,
        again: bool,
    ) -> Lease | Finished:
        """
        Take the lease of a run, or learn that it is done.

        Args:
            kind: "train", "predict" or "evaluate".
            as_of: The run's as-of date.
            run_id: This run's own.
            now: The lease ends at ``now + duration``, unless it is ``kept``.
            duration: For how long a run that died blocks others.
            again: Take it though the run is done: to run again.

        Raises:
            RunInProgress: Another run holds it.
        """
        name = f"runs/{self.use_case}/{kind}/{as_of.isoformat()}.json"
        stored = self.artifacts.find(name)
        since = None
        if stored is not None:
            found = _object_of(stored, name)
            since = found.get("waiting_since")
            state, ends = found.get("state"), str(found.get("expires_at", ""))
            if state == "done" and "answer" in found and not again:
                return Finished(found["answer"], found.get("run_id", ""))
            if state == "running" and _instant(now) < ends:
                raise RunInProgress(
                    f"{kind} of {self.use_case} for {as_of} is under way since "
                    f"{found.get('began_at')}; its lease ends at {ends}"
                )
        lease = Lease(name, run_id, 0, began_at=now, duration=duration)
        lease.waiting_since = datetime.fromisoformat(since) if since else None
        try:
            lease.generation = self.artifacts.replace(
                name,
                lease.running(until=now + duration),
                generation=stored.generation if stored else 0,
            )
        except Conflict as error:
            raise RunInProgress(
                f"{kind} of {self.use_case} for {as_of} has just begun elsewhere"
            ) from error
        return lease

    @contextlib.contextmanager
    def kept(self, lease: Lease, *, clock: Callable[[], datetime]) -> Iterator[None]:
        """
        Renew a lease while a block runs, as often as it takes to miss a few times.

        So a run may take as long as it takes, and one that was killed blocks the next
        for ``lease.duration`` at most. Who has lost the lease all the same learns it
        from ``check``.

        Args:
            lease: As ``begin`` gave it.
            clock: Says what time it is, in UTC.
        """
        stopped = threading.Event()

        def renew() -> None:
            pause = lease.duration.total_seconds() / _RENEWALS
            while not stopped.wait(pause):
                try:
                    self.renew(lease, now=clock())
                except Conflict:
                    return
                except PropensityError:
                    continue

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def renew(self, lease: Lease, *, now: datetime) -> None:
        """
        Let a lease last until ``now + duration``.

        Raises:
            Conflict: Another run has taken it.
        """
        with lease.lock:
            lease.generation = self.artifacts.replace(
                lease.name,
                lease.running(until=now + lease.duration),
                generation=lease.generation,
            )

    def finish(self, lease: Lease, answer: Mapping[str, Any], *, at: datetime) -> None:
        """Say that a run is done, with its answer for whoever asks again."""
        note = {
            "state": "done",
            "run_id": lease.run_id,
            "ended_at": _instant(at),
            "answer": dict(answer),
        }
        self.artifacts.replace(lease.name, _json(note), generation=lease.generation)

    def release(self, lease: Lease, *, error: str, at: datetime) -> None:
        """Say that a run failed, so that the next may begin at once."""
        note = {
            "state": "failed",
            "run_id": lease.run_id,
            "ended_at": _instant(at),
            "error": error,
            **lease.waiting(),
        }
        self.artifacts.replace(lease.name, _json(note), generation=lease.generation)

    def check(self, lease: Lease) -> None:
        """
        Raise Conflict if a run has outlived its lease and another has taken it.

        To be asked before anything is published.
        """
        with lease.lock:
            stored = self.artifacts.find(lease.name)
            is_lost = stored is None or stored.generation != lease.generation
        if is_lost:
            raise Conflict(
                f"the lease {lease.name} has been taken over: this run was too slow, "
                "and publishes nothing"
            )


def _crowned(
    champion: Champion | None, version: int, *, model_sha256: str, at: datetime
) -> Champion:
    """Return the pointer with another version in the champion's place."""
    if champion is None:
        return Champion(
            version=version,
            epoch=NOTHING_SERVES,
            model_sha256=model_sha256,
            promoted_at=_instant(at),
            previous=None,
        )
    return replace(
        champion,
        version=version,
        model_sha256=model_sha256,
        promoted_at=_instant(at),
        previous=champion.version,
        shadow=None if champion.shadow == version else champion.shadow,
        earlier=(champion.version, *champion.earlier)[:EARLIER],
    )


def _is_sound(champion: Champion) -> bool:
    """Tell whether a pointer that was read names versions where it should."""

    def is_number(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    optional = (champion.previous, champion.shadow)
    return (
        is_number(champion.version)
        and is_number(champion.epoch)
        and all(one is None or is_number(one) for one in optional)
        and isinstance(champion.pinned, bool)
        and isinstance(champion.earlier, list | tuple)
        and all(map(is_number, champion.earlier))
    )


def pickled(value: Any) -> bytes:
    """Return a value as joblib writes it, compressed."""
    import joblib  # a lookup reads the pointer without sklearn

    file = io.BytesIO()
    joblib.dump(value, file, compress=3)
    return file.getvalue()


def unpickled(data: bytes) -> Any:
    """
    Return what joblib wrote. The bytes must have been verified before.

    Raises:
        ArtifactError: Today's libraries cannot read them.
    """
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except _UNREADABLE as error:
        raise ArtifactError(
            "an artifact cannot be read with the libraries of this deploy "
            f"({type(error).__name__}: {error}). Make it again: train, or upload"
        ) from error


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()


def _instant(moment: datetime) -> str:
    """Return a moment so that texts sort as moments do."""
    return moment.isoformat(timespec="microseconds")


def _object_of(stored: Stored, name: str) -> dict[str, Any]:
    try:
        value = json.loads(stored.data)
    except ValueError as error:
        raise ArtifactError(f"{name} is not JSON") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} is not a JSON object")
    return value
