"""
Redaction, specified: a dead letter can be sent again, and says of nobody who they are.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import zlib

import pytest
import zstandard

from propensity.events.redaction import REMOVED, personal_fields, redacted
from propensity.privacy.wrapped import MAXIMUM_BYTES, unwrapped
from tests.events import CATALOGUE, bet, registration, written

PERSONAL = personal_fields(CATALOGUE.types)
SAID = ("Ada Muster", "1990-05-04", "1 High Street")


def readable(data: bytes) -> bytes:
    """All that somebody reads of a payload who unpacks as much as can be."""
    texts, rest = [data], data
    while rest.startswith(b"\x1f\x8b"):
        member, inner = zlib.decompressobj(31), bytearray()
        for at in range(len(rest)):
            try:
                inner += member.decompress(rest[at : at + 1])
            except zlib.error:
                rest = b""
                break
            if member.eof:
                rest = rest[at + 1 :]
                break
        else:
            rest = b""
        texts.append(readable(bytes(inner)))
    if rest.startswith(b"\x28\xb5\x2f\xfd"):
        inner = bytearray()
        reader = zstandard.ZstdDecompressor().stream_reader(rest)
        with contextlib.suppress(zstandard.ZstdError):
            while part := reader.read(64):
                inner += part
        texts.append(bytes(inner))
    return b"\n".join(texts)


def test_personal_fields_are_those_that_types_declare():
    """By the kinds of the event types, whatever their names."""
    assert PERSONAL == {
        "name": "personal",
        "street_address": "personal",
        "date_of_birth": "birth date",
    }


def test_leaves_an_age_in_the_place_of_a_birth_date():
    """Sent again, the registration is what it would have been."""
    sent = written(registration(label="maybe"))
    fields = json.loads(redacted(sent, PERSONAL))

    assert fields.pop("age") == 35
    assert (fields["name"], fields["street_address"]) == (REMOVED, REMOVED)
    assert "date_of_birth" not in fields
    assert fields["label"] == "maybe"


def test_leaves_no_birth_date_that_gives_no_age():
    """One that is none, or a time that is none: nothing of it stays."""
    for changed in ({"date_of_birth": "May 1990"}, {"event_time": "soon"}):
        fields = json.loads(redacted(written(registration(**changed)), PERSONAL))
        assert fields["date_of_birth"] == REMOVED


@pytest.mark.parametrize(
    "data",
    [
        written(registration())[:-1],
        written(registration()).replace(b'"campaign"', b'"campaign'),
        b"[" + written(registration()) + b"]",
        json.dumps(written(registration()).decode()).encode(),
        written(registration()).decode().encode("utf-16"),
        b"\xff" + written(registration()),
        b'{"name": "Ada Muster',
        b"{'name': 'Ada Muster', 'date_of_birth': '1990-05-04'}",
        json.dumps({"n\u0061me": "Ada Muster", "x": 1}).encode(),
        b'{"event": {"name" : "Ada Muster"}}',
        b'{"Name": "Ada Muster", "DATE_OF_BIRTH": "1990-05-04"}',
        b'{"dateOfBirth": "1990-05-04", "street-address": "1 High Street"}',
    ],
)
def test_finds_fields_in_what_is_no_event(data):
    """Broken, nested, quoted twice, in another encoding, or spelled another way: the
    field is then missing, and the message a dead letter for that."""
    kept = redacted(data, PERSONAL).replace(b"\0", b"")

    assert not [text for text in SAID if text.encode() in kept]


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, zstandard.compress, base64.b64encode, base64.encodebytes],
)
def test_finds_fields_in_what_is_packed(pack):
    """By gzip, Zstandard or base64, which no event is: it is packed again without."""
    packed = redacted(pack(written(registration())), PERSONAL)
    inner, *_ = unwrapped(packed) or (b"",)

    assert json.loads(inner)["user_id"] == "u1"
    assert inner == redacted(written(registration()), PERSONAL)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"{}") + gzip.compress(written(registration())),
        gzip.compress(b" " * MAXIMUM_BYTES + written(registration())),
        zstandard.compress(b" " * MAXIMUM_BYTES + written(registration())),
        gzip.compress(gzip.compress(b" " * MAXIMUM_BYTES + written(registration()))),
        gzip.compress(b"{}") + written(registration()),
        zstandard.compress(b"{}") + written(registration()),
        gzip.compress(written(registration()))[:-8] + b"checksum",
        zstandard.compress(written(registration())) + b"x",
    ],
    ids=[
        "joined",
        "long",
        "long zstd",
        "twice",
        "behind",
        "behind zstd",
        "damaged",
        "damaged zstd",
    ],  # fmt: skip
)
def test_finds_fields_wherever_somebody_who_unpacks_does(data):
    """In any member, behind the packed part, and before a damage. What is longer than
    can be looked through, or cannot be read, is kept as far as that goes."""
    left = readable(redacted(data, PERSONAL))

    assert [text for text in SAID if text.encode() in readable(data)]
    assert not [text for text in SAID if text.encode() in left]


@pytest.mark.parametrize(
    "data",
    [
        written(bet(bet_amount="x")),
        b"{",
        b"\xff\x00{",
        b'{"rename": "x"}',
        b"",
        b"abcd",
    ],
)
def test_leaves_all_else_to_the_byte(data):
    """What names nobody is kept as it came."""
    assert redacted(data, PERSONAL) == data


def test_does_nothing_where_personal_fields_are_kept():
    """All is kept, but what no search for a user would find."""
    for data in (b'{"name": "Ada"}', gzip.compress(b'{"name": "Ada"}')):
        assert redacted(data, {}) == data
        assert redacted(gzip.compress(data) + b"!", {}) == gzip.compress(data, mtime=0)


def test_twice_is_once():
    """What was redacted stays as it is when it is sent, and refused, again."""
    once = redacted(written(registration(label="maybe")), PERSONAL)

    assert redacted(once, PERSONAL) == once


@pytest.mark.parametrize(
    "odd",
    [b"\\", b'"', b'"name', b'"name":', b'"name": \\"', b'\\"', b"'name'=", b"[{"],
)
def test_is_one_pass(odd):
    """A megabyte of whatever takes long to search is searched."""
    data = b"x" + odd * (1024**2 // len(odd))

    assert redacted(redacted(data, PERSONAL), PERSONAL) == redacted(data, PERSONAL)
