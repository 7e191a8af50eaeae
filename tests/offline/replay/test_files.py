"""Lines of a file that are sent, specified: as they stand there, each once."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter

import pytest
import zstandard

from commands.cli import main
from local.generators.games import __main__ as generated
from offline.replay import files
from offline.replay.files import unwrapped
from tests.offline.replay.conftest import GAMES, lines


class TestFile:
    def test_is_sent_line_by_line(self, bus, tmp_path, capsys):
        """Events as the generator writes them; broken lines too, for the stream to
        refuse them; no empty ones."""
        sent = [data for data, _ in GAMES.payloads()][:200]
        broken = [b'{"user_id":', b"\xff\xfe", b'["data"]', b"nothing"]
        path = tmp_path / "events.ndjson"
        path.write_bytes(
            b"\xef\xbb\xbf" + b"\r\n".join([*sent, b"", *broken, b"  ", b"end"])
        )
        topic, status = bus.replay("file", str(path))

        messages = bus.receive(topic, 205)
        output = capsys.readouterr().out
        assert status == 0
        assert Counter(message.data for message in messages) == Counter(
            [*sent, *broken, b"end"]
        )
        assert "205 messages sent" in output
        assert "5 other" in output
        assert "5 without an event_id" in output

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_may_be_packed(self, bus, tmp_path, pack):
        """As gzip or Zstandard, told by its content."""
        path = tmp_path / "events"
        path.write_bytes(pack(b'{"a":1}\n{"a":2}\n'))
        topic, status = bus.replay("file", str(path))

        assert status == 0
        assert {message.data for message in bus.receive(topic, 2)} == {
            b'{"a":1}',
            b'{"a":2}',
        }

    def test_may_hold_whole_messages(self, bus, tmp_path):
        """What the generator writes with its faults is what it delivers: payload and
        attributes as they are; one that is empty with attributes, too."""
        path = tmp_path / "messages.ndjson"
        generated.main(
            [
                *(str(path), "--faults", "--users", "30", "--seed", "3"),
                *("--maximum-events", "40", "--days", "20"),
            ]
        )
        topic, status = bus.replay("file", str(path))

        def counted(messages):
            return Counter(
                (message.data, *sorted(message.attributes.items()))
                for message in messages
            )

        expected = counted(GAMES.deliveries())
        assert status == 0
        assert counted(bus.receive(topic, expected.total())) == expected

    def test_is_skipped_into(self, bus, tmp_path):
        """Lines are counted as they stand in the file, empty ones too."""
        path = lines(tmp_path / "events", [b"1", b"", b"3", b"4"])
        topic, _ = bus.replay("file", path, "--skip", "2", "--limit", "1")

        assert [message.data for message in bus.receive(topic, 1)] == [b"3"]

    def test_leaves_out_what_no_message_can_hold(
        self, bus, tmp_path, monkeypatch, capsys
    ):
        """Lines too long for a message or for memory, messages that are empty, and
        attributes that Pub/Sub takes of nobody. The others arrive."""
        monkeypatch.setattr(files, "MAXIMUM_LINE_BYTES", 11_000_000)
        path = lines(
            tmp_path / "events",
            [
                *(b"first", b"x" * 10_000_000, b"y" * 25_000_000),
                b'{"data": ""}',
                b'{"data": "", "attributes": {"a": "%s"}}' % (b"z" * 1025),
                b"last",
            ],
        )
        topic, status = bus.replay("file", path)

        output = capsys.readouterr().out
        assert status == 1
        assert {message.data for message in bus.receive(topic, 2)} == {
            b"first",
            b"last",
        }
        assert "1 left out: larger than a message may be" in output
        assert "1 left out: longer than a line may be" in output
        assert "1 left out: empty" in output
        assert "1 left out: with attributes" in output

    def test_keeps_attributes_of_any_name(self, bus, tmp_path):
        """Names that the client takes for its own arguments are attributes as well."""
        named = dict.fromkeys(("topic", "data", "retry", "timeout", "self"), "x")
        line = json.dumps({"data": {"event_id": "e"}, "attributes": named})
        topic, status = bus.replay("file", lines(tmp_path / "e", [line.encode()]))

        (message,) = bus.receive(topic, 1)
        assert status == 0
        assert (json.loads(message.data), message.attributes) == (
            {"event_id": "e"},
            named,
        )

    def test_that_is_cut_says_how_far_it_came(self, bus, tmp_path, capsys):
        """What could be read is sent; where it ends is told."""
        path = tmp_path / "events.gz"
        many = b"".join(b'{"event_id":"%d"}\n' % number for number in range(300_000))
        path.write_bytes(gzip.compress(many)[:-20])
        status = main(["replay", "file", str(path), "--dry-run"])

        output = capsys.readouterr()
        assert status == 1
        assert "Truncated compressed stream" in output.err
        assert "messages would be sent" in output.out

    def test_has_to_be_there(self, environment, tmp_path, capsys):
        """One that is not is named."""
        assert main(["replay", "file", str(tmp_path / "gone")]) == 1
        assert "gone" in capsys.readouterr().err


class TestMessagesInLines:
    @pytest.mark.parametrize(
        ("line", "parts"),
        [
            (b'{"data": "e30="}', (b"{}", {}, "")),
            (b'{"data": {"a": 1.10}}', (b'{"a": 1.10}', {}, "")),
            (
                b'{"attributes": {"a": "b"}, "data": "e30=", "messageId": "7"}',
                (b"{}", {"a": "b"}, "7"),
            ),
        ],
    )
    def test_are_unwrapped(self, line, parts):
        """Payload, attributes and id; numbers keep their digits."""
        assert unwrapped(line) == parts

    @pytest.mark.parametrize(
        "line",
        [
            b'{"data": "no base64!"}',
            b'{"data": 7}',
            b'{"data": "e30=", "user_id": "u"}',
            b'{"data": "e30=", "attributes": {"a": 1}}',
            b'{"user_id": "u", "note": "\\"data\\""}',
            b'["data"]',
        ],
    )
    def test_are_none_of_what_only_looks_alike(self, line):
        """An event that has a field of that name is an event, and whatever is broken
        is sent as it is."""
        assert unwrapped(line) == (line, {}, "")

    def test_that_have_an_id_are_known_by_it(self, bus, tmp_path):
        """A message without an event_id had its message id for one."""
        wrapped = {"data": base64.b64encode(b"{}").decode(), "messageId": "77"}
        path = lines(tmp_path / "e", [json.dumps(wrapped).encode()])
        topic, _ = bus.replay("file", path)

        (message,) = bus.receive(topic, 1)
        assert message.attributes == {"event_id": "77"}
