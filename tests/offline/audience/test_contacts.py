"""
Contact data as Google hashes them.
"""

from __future__ import annotations

import hashlib

import pytest

from offline.audience.destinations import contacts
from tests.offline.audience.people import contact


def address(first, last, **changed):
    """Return what Google knows a user by who has an address alone."""
    place = {"country_code": "GB", "postal_code": "SW1A 1AA", **changed}
    row = contact("a", first_name=first, last_name=last, **place)
    [identifier] = contacts.identifiers(row)
    return identifier


class TestNormalised:
    @pytest.mark.parametrize(
        ("text", "email"),
        [
            (" Anna.Smith@Example.COM ", "anna.smith@example.com"),
            ("Anna.Smith@gmail.com", "annasmith@gmail.com"),
            ("a.b.c@googlemail.com", "abc@googlemail.com"),
            # The suffix is no part of the rule of customer match.
            ("A.b+c.d@gmail.com", "ab+cd@gmail.com"),
            ("a.b@mail.gmail.com", "a.b@mail.gmail.com"),
            ("", ""),
            ("...@gmail.com", ""),
            ("nobody", ""),
            ("a@b", ""),
            # An address with words around it would be the hash of nobody.
            ("Anna Smith <anna@example.com>", ""),
            ("mailto:anna@example.com", ""),
            ("o'hara+1@example.com", "o'hara+1@example.com"),
            ("j\u00f6rg@m\u00fcller.de", "j\u00f6rg@m\u00fcller.de"),
        ],
    )
    def test_email(self, text, email):
        assert contacts.email_of(text) == email

    @pytest.mark.parametrize(
        ("text", "email"),
        [
            # The two examples of the guide.
            ("cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
            ("user.name+NYC@Example.com", "user.name+nyc@example.com"),
            ("a.b+c+d@GoogleMail.com", "ab@googlemail.com"),
            ("+a@gmail.com", ""),
        ],
    )
    def test_email_of_gmail_without_its_tag(self, text, email):
        """As the guide of the Data Manager API says."""
        assert contacts.email_of(text, is_tag_kept=False) == email

    @pytest.mark.parametrize(
        ("text", "phone"),
        [
            ("+44 (20) 7946-0011", "+442079460011"),
            ("+44 (0)20 7946 0011", "+442079460011"),
            ("+49\u00a089/1234\u20135678", "+498912345678"),
            ("0044 20 7946 0011", ""),
            ("020 7946 0011", ""),
            ("", ""),
            ("+0 123", ""),
        ],
    )
    def test_phone(self, text, phone):
        assert contacts.phone_of(text) == phone

    def test_address_is_hashed_but_for_country_and_postal_code(self):
        assert address(" Anna ", "SMITH", country_code="gb") == {
            "first_name": hashlib.sha256(b"anna").hexdigest(),
            "last_name": hashlib.sha256(b"smith").hexdigest(),
            "country_code": "GB",
            "postal_code": "SW1A 1AA",
        }

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            ("Mrs. Anna", "Smith, Jr."),
            ("Prof. Dr. Anna", "Smith III"),
            ("Dr.Anna", "Smith Sr"),
            # As Google's own library for the Data Manager API reads them.
            ("Ms. Anna", "Smith, PhD"),
            ("Anna", "Smith Jr., MD"),
            ("Anna", "Smith 3rd"),
        ],
    )
    def test_names_are_without_titles_and_suffixes(self, first, last):
        """As in Google's guide to the format."""
        assert self.names(first, last) == self.hashes("anna", "smith")

    @pytest.mark.parametrize(
        ("first", "last"),
        [("Andr. Mr", "Jr."), ("Drew", "Hawaii"), ("Ms", "Visr"), ("Vi", "Levi")],
    )
    def test_names_that_only_look_like_them_stay(self, first, last):
        assert self.names(first, last) == self.hashes(first.lower(), last.lower())

    def names(self, first, last):
        identifier = address(first, last)
        return identifier["first_name"], identifier["last_name"]

    def hashes(self, *names):
        return tuple(hashlib.sha256(name.encode()).hexdigest() for name in names)

    @pytest.mark.parametrize("number", [80331, 80331.0])
    def test_takes_a_postal_code_that_is_a_number(self, number):
        identifier = address("Anna", "Schmidt", country_code="DE", postal_code=number)

        assert identifier["postal_code"] == "80331"

    def test_address_without_a_part_is_none(self):
        assert contacts.identifiers(contact("a", first_name="Anna")) == []
