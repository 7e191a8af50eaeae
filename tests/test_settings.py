"""
Settings, specified: read once, whole, frozen, and refused where anything is odd.

``read`` is the whole vocabulary: variables in, settings out.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.stack.state import PORT_OFFSETS
from propensity import settings as module
from propensity.errors import SettingsError
from propensity.settings import Settings

NAMES = [field.name for field in fields(Settings)]
# Two of no default: the project, and where a deployment must say what it reads.
EMPTY = {"bucket", "ga4_dataset", "user_column", "label_event", "budget"} | {
    "bigquery_endpoint",
    "bigquery_storage_endpoint",
}


def read(**variables: str) -> Settings:
    """Settings of an environment that has a project and these variables."""
    return Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p", **variables})


class TestFromEnvironment:
    def test_needs_a_project_only(self):
        """The project is the one variable that every function must have."""
        assert read() == Settings(project="p")

    def test_says_that_the_project_is_missing(self):
        """Without a project the variable is named, and nothing is guessed."""
        with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT") as refused:
            Settings.from_environment({})

        assert refused.value.field == "GOOGLE_CLOUD_PROJECT"

    def test_reads_the_process_s_own_environment(self, monkeypatch):
        """Without a mapping it is the process's variables that are read."""
        for name in [name for name in module.os.environ if name.startswith("PROPENS")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "shop-1")
        monkeypatch.setenv("PROPENSITY_REFRESH_S", "7")

        assert Settings.from_environment().project == "shop-1"
        assert Settings.from_environment().refresh_s == 7

    def test_reads_text_whole_and_real_numbers(self):
        """Each variable arrives in its setting, in the setting's type."""
        settings = read(
            PROPENSITY_BUCKET="my-bucket",
            PROPENSITY_GA4_DATASET="analytics_123456",
            PROPENSITY_USER_COLUMN="user_id",
            PROPENSITY_EXPORT_WAIT_MINUTES="0",
            PROPENSITY_ALERT_REVIEW_COST="1.5",
            BIGQUERY_EMULATOR_HOST="http://127.0.0.1:9050",
        )

        assert settings.bucket == "my-bucket"
        assert settings.ga4_dataset == "analytics_123456"
        assert settings.user_column == "user_id"
        assert settings.export_wait_minutes == 0
        assert settings.alert_review_cost == 1.5
        assert settings.bigquery_endpoint == "http://127.0.0.1:9050"

    @pytest.mark.parametrize(
        ("text", "budget"), [("1000", "1000"), ("5%", "5%"), ("7.50 %", "7.5%")]
    )
    def test_reads_a_budget_as_a_number_or_a_share(self, text, budget):
        """In one spelling, as tables and answers have it."""
        assert read(PROPENSITY_BUDGET=text).budget == budget

    def test_refuses_an_unknown_variable(self):
        """A misspelt setting stops the function; the one that it resembles is named."""
        with pytest.raises(SettingsError, match="PROPENSITY_BUCKIT") as refused:
            read(PROPENSITY_BUCKIT="b")

        assert "is it PROPENSITY_BUCKET?" in refused.value.message
        assert refused.value.field == "PROPENSITY_BUCKIT"

    def test_ignores_variables_of_others(self):
        """The platform sets many; the folder of real data and local ports are no
        setting of a function either."""
        ports = {f"PROPENSITY_PORT_{name.upper()}": "8081" for name in PORT_OFFSETS}
        settings = read(
            PROPENSITY_DATA="/data",
            PROPENSITY_PORT_BASE="9080",
            **ports,
            K_SERVICE="f",
            PORT="8080",
            PATH="/bin",
        )

        assert settings == read()

    @pytest.mark.parametrize(
        "name", ["PROPENSITY_DATASETS", "PROPENSITY_PORT", "PROPENSITY_DATA_"]
    )
    def test_ignores_nothing_beside_them(self, name):
        """A variable that only resembles an ignored one is unknown."""
        with pytest.raises(SettingsError, match=name):
            read(**{name: "1"})

    @pytest.mark.parametrize(
        ("text", "dataset"),
        [("", "propensity"), ("   ", "propensity"), (" warehouse\n", "warehouse")],
    )
    def test_takes_blanks_for_nothing(self, text, dataset):
        """As a YAML file or a shell leaves them; an empty variable is not set."""
        assert read(PROPENSITY_DATASET=text).dataset == dataset

    @pytest.mark.parametrize("event", ["inscri\u00e7\u00e3o", "Form Submit"])
    def test_takes_an_event_by_the_name_that_the_export_has(self, event):
        """Events are named in any language."""
        assert read(PROPENSITY_LABEL_EVENT=event).label_event == event

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("GOOGLE_CLOUD_PROJECT", "My Project"),
            ("PROPENSITY_BUCKET", "gs://bucket"),
            ("PROPENSITY_BUCKET", "Bucket"),
            ("PROPENSITY_DATASET", "project.dataset"),
            ("PROPENSITY_DATASET", "d`; DROP TABLE x"),
            ("PROPENSITY_GA4_DATASET", "analytics-1"),
            ("PROPENSITY_LOCATION", "US; DROP"),
            ("PROPENSITY_USE_CASE", "../secrets"),
            ("PROPENSITY_USER_COLUMN", "email"),
            ("PROPENSITY_LABEL_EVENT", "purchase' OR 1=1"),
            ("PROPENSITY_REFRESH_S", "three"),
            ("PROPENSITY_REFRESH_S", "-1"),
            ("PROPENSITY_REFRESH_S", "3.5"),
            ("PROPENSITY_BUDGET", "0"),
            ("PROPENSITY_BUDGET", "0.1"),
            ("PROPENSITY_BUDGET", "120%"),
            ("PROPENSITY_ALERT_REVIEW_COST", "nan"),
            ("PROPENSITY_ALERT_REVIEW_COST", "inf"),
            ("PROPENSITY_ALERT_REVIEW_COST", "1,5"),
        ],
    )
    def test_refuses_a_malformed_value(self, variable, text):
        """A value that is none is refused by its variable, and shown."""
        with pytest.raises(SettingsError, match=variable) as refused:
            read(**{variable: text})

        assert refused.value.field == variable
        assert repr(text) in refused.value.message

    @pytest.mark.parametrize(
        ("variables", "wanted", "texts"),
        [
            (
                ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"),
                "must be a URL, such as",
                (
                    *("127.0.0.1:8090", "http://", "http://[::1"),
                    *("ftp://127.0.0.1:8090", "http://127.0.0.1:99999"),
                    *("http://127.0.0.1:0", "http://user:word@127.0.0.1:8090"),
                    "http://127.0.0.1:٨٠٩٠",
                ),
            ),
            # A scheme is none of gRPC's.
            (
                ("BIGQUERY_STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"),
                "must be a host and a port",
                ("127.0.0.1", "http://127.0.0.1:8091", "[::1:8091", "h:0", "h:65536"),
            ),
        ],
    )
    def test_refuses_what_is_no_address(self, variables, wanted, texts):
        """No request could be sent to it, however often it is tried again."""
        for variable, text in itertools.product(variables, texts):
            with pytest.raises(SettingsError, match=wanted) as refused:
                read(**{variable: text})

            assert refused.value.field == variable

    def test_takes_addresses_as_people_write_them(self):
        """By name or number, and with a slash at the end, behind which paths go."""
        settings = read(
            BIGQUERY_EMULATOR_HOST="http://localhost:9050/",
            STORAGE_EMULATOR_HOST="https://storage.internal",
            PUBSUB_EMULATOR_HOST="[::1]:8432",
        )

        assert settings.bigquery_endpoint == "http://localhost:9050"
        assert settings.storage_endpoint == "https://storage.internal"
        assert settings.pubsub_endpoint == "[::1]:8432"

    @pytest.mark.parametrize(
        ("key", "message", "secret"),
        [
            ("sesame", "32 characters", "sesame"),
            # Bytes of no text could be hashed by no function: each would fail later.
            ("\udcff" * 40, "written in UTF-8", "\\udcff"),
        ],
    )
    def test_repeats_no_secret(self, key, message, secret):
        """A key that cannot be used is refused, and is not shown."""
        with pytest.raises(SettingsError, match=message) as refused:
            read(PROPENSITY_SUPPRESSION_KEY=key)

        assert refused.value.field == "PROPENSITY_SUPPRESSION_KEY"
        assert secret not in refused.value.message

    def test_refuses_thousands_of_digits_in_its_own_words(self):
        """Not in those of Python, which reads 4,300 of them at most."""
        with pytest.raises(SettingsError, match="a whole number of days up to"):
            read(PROPENSITY_RETENTION_DAYS="stream_events=" + "9" * 5000)

    def test_says_what_a_value_must_be(self):
        """The message teaches: bounds and kind, not what a parser stumbled on."""
        with pytest.raises(SettingsError, match="a whole number from 1 to 86400"):
            read(PROPENSITY_REFRESH_S="three")

    @settings(deadline=None)
    @given(st.text(max_size=30))
    def test_reads_any_text_as_a_number_or_refuses_it(self, text):
        """Whatever is in a variable, the answer is settings or a SettingsError."""
        for variable in ("PROPENSITY_REFRESH_S", "PROPENSITY_ALERT_REVIEW_COST"):
            with contextlib.suppress(SettingsError):
                settings = read(**{variable: text})

                assert 1 <= settings.refresh_s <= 86_400
                assert 0 <= settings.alert_review_cost <= 1e6


class TestSettings:
    def test_are_frozen(self):
        """What was read at the start of a function stays as it is."""
        with pytest.raises(FrozenInstanceError):
            read().refresh_s = 1  # type: ignore[misc]

    def test_have_a_parser_each(self):
        """No setting can be forgotten by the reader, nor is there one of none."""
        assert set(module._PARSERS) == set(NAMES)

    @pytest.mark.parametrize("name", [n for n in NAMES if n not in EMPTY | {"project"}])
    def test_have_defaults_that_parse(self, name):
        """A default written into its variable gives the same setting."""
        default = getattr(Settings(project="p"), name)
        variable = module._variable(name)

        assert getattr(read(**{variable: str(default)}), name) == default

    def test_have_variables_of_their_own(self):
        """No two settings share a variable."""
        variables = [module._variable(name) for name in NAMES]

        assert len(set(variables)) == len(variables)
        assert all(re.fullmatch(r"[A-Z0-9_]+", name) for name in variables)


class TestRequired:
    def test_names_the_variable_that_is_missing(self):
        """A setting that this function needs and lacks is named by its variable."""
        assert read(PROPENSITY_BUCKET="my-bucket").required("bucket") == "my-bucket"
        with pytest.raises(SettingsError, match="PROPENSITY_BUCKET is not set"):
            read().required("bucket")
