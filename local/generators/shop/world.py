"""The shop's figures: moods, channels, devices, products, kinds of events."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np

DAY = timedelta(days=1)
DAY_US = 86_400_000_000
SECOND_US = 1_000_000
EPOCH = date(1970, 1, 1)
TIME_ZONE = ZoneInfo("America/New_York")
HORIZON_DAYS = 7
BURN_IN_DAYS = 90
INTRADAY_DAYS = 2
LATEST_ARRIVAL_DAYS = 3


DEFAULT_USERS = 6_000
DEFAULT_DAYS = 365
DEFAULT_SEED = 20_240_229
DEFAULT_LAST_DATE = date(2025, 6, 30)


GONE, IDLE, BROWSING, KEEN = range(4)
# A day's expected visits, and purchases a visit, of the average user in each mood.
VISIT = np.array([0.0, 0.055, 0.10, 0.15])
BUY = np.array([0.0, 0.03, 0.10, 0.80])
ARRIVAL_MOOD = np.array([0.0, 0.40, 0.50, 0.10])
# From today's mood (row) to tomorrow's (column).
LOOKED = np.array(
    [[1, 0, 0, 0], [0, 0.80, 0.15, 0.05], [0, 0.30, 0.50, 0.20], [0, 0.05, 0.10, 0.85]]
)
BOUGHT = np.array(
    [[1, 0, 0, 0], [0, 0.30, 0.40, 0.30], [0, 0.30, 0.40, 0.30], [0, 0.15, 0.20, 0.65]]
)
# Rate a day away of stepping down one mood, for a user of patience 1.
FADE = np.array([0.0, 0.010, 0.08, 0.03])
# The last day brings this much more new users than the first, in proportion.
ARRIVAL_GROWTH = 0.6
EARLY_USERS = 0.15
# Mean and standard deviation of the logarithm of each trait.
ACTIVITY = (-0.1, 0.4)
CONVERSION = (0.05, 0.5)
PATIENCE = (0.0, 0.5)
WEEKDAY = np.array([1.05, 1.0, 0.97, 0.98, 1.0, 0.92, 1.08])
TREND_A_YEAR = 0.12
SEASON = 0.10
# Of the demand, in shops that have a season: month and day of its peak, and its
# standard deviation in days.
PEAK = (6, 21)
PEAK_DAYS = 25


CHANNELS: tuple[tuple[str, str, str, float, float], ...] = (
    # source, medium, campaign, share, effect on the log of conversion
    ("google", "organic", "(organic)", 0.34, 0.0),
    ("(direct)", "(none)", "(direct)", 0.24, 0.15),
    ("google", "cpc", "spring_sale", 0.14, 0.2),
    ("newsletter", "email", "weekly", 0.08, 0.5),
    ("instagram", "social", "(not set)", 0.08, -0.5),
    ("shop-compare.example", "referral", "(referral)", 0.05, 0.1),
    ("<Other>", "<Other>", "<Other>", 0.04, 0.0),
    ("(data deleted)", "(data deleted)", "(data deleted)", 0.03, 0.0),
)
DEVICES: tuple[tuple[str, str, str, str, float, float], ...] = (
    # category, operating system, browser, brand, share, effect on log conversion
    ("mobile", "Android", "Chrome", "Samsung", 0.29, -0.3),
    ("mobile", "iOS", "Safari", "Apple", 0.26, -0.2),
    ("desktop", "Windows", "Chrome", "(not set)", 0.24, 0.3),
    ("desktop", "Macintosh", "Safari", "Apple", 0.12, 0.35),
    ("tablet", "iOS", "Safari", "Apple", 0.05, 0.0),
    ("mobile", "<Other>", "<Other>", "<Other>", 0.04, -0.3),
)
COUNTRIES: tuple[tuple[str, str, str], ...] = (
    ("United States", "Americas", "Northern America"),
    ("Canada", "Americas", "Northern America"),
    ("United Kingdom", "Europe", "Northern Europe"),
    ("Germany", "Europe", "Western Europe"),
    ("India", "Asia", "Southern Asia"),
    ("France", "Europe", "Western Europe"),
    ("Mexico", "Americas", "Central America"),
    ("Japan", "Asia", "Eastern Asia"),
    ("Australia", "Oceania", "Australasia"),
    ("Brazil", "Americas", "South America"),
    ("Spain", "Europe", "Southern Europe"),
    ("Italy", "Europe", "Southern Europe"),
    ("Netherlands", "Europe", "Western Europe"),
    ("(not set)", "(not set)", "(not set)"),
    ("Sweden", "Europe", "Northern Europe"),
    ("Poland", "Europe", "Eastern Europe"),
    ("South Korea", "Asia", "Eastern Asia"),
    ("Singapore", "Asia", "South-Eastern Asia"),
    ("Portugal", "Europe", "Southern Europe"),
    ("Ireland", "Europe", "Northern Europe"),
    ("Norway", "Europe", "Northern Europe"),
    ("Chile", "Americas", "South America"),
    ("New Zealand", "Oceania", "Australasia"),
    ("Greece", "Europe", "Southern Europe"),
    ("Kenya", "Africa", "Eastern Africa"),
    ("Iceland", "Europe", "Northern Europe"),
    ("Uruguay", "Americas", "South America"),
    ("Nepal", "Asia", "Southern Asia"),
    ("Estonia", "Europe", "Northern Europe"),
    ("Malta", "Europe", "Southern Europe"),
    ("Fiji", "Oceania", "Melanesia"),
    ("Bhutan", "Asia", "Southern Asia"),
)
# Of a loyalty programme of the shop's stores: days from change to change, points of an
# average member in that time by mood, and from how many in all the tiers begin.
POINTS_DAYS, POINTS, TIERS = 7, np.array([0.0, 0.2, 1.0, 5.0]), (20, 60)
PRODUCTS = 120
CATEGORIES = ("Apparel", "Drinkware", "Bags", "Stationery", "(not set)")
HOSTNAME = "shop.example"


EVENTS = (
    "session_start", "first_visit", "page_view", "view_item", "add_to_cart",
    "begin_checkout", "purchase", "user_engagement", "refund",
)  # fmt: skip
(
    SESSION_START, FIRST_VISIT, PAGE_VIEW, VIEW_ITEM, ADD_TO_CART, BEGIN_CHECKOUT,
    PURCHASE, USER_ENGAGEMENT, REFUND,
) = range(len(EVENTS))  # fmt: skip
# Where in a visit an event stands: pages and items mix, the rest follows in order.
STAGE = np.array([0, 1, 2, 2, 3, 4, 5, 6, 0])
# Expected number a visit, by mood.
PAGES = np.array([0.0, 1.0, 1.5, 2.8])
ITEMS = np.array([0.0, 0.3, 0.8, 2.4])
CART = np.array([0.0, 0.02, 0.07, 0.50])
CHECKOUT = np.array([0.0, 0.1, 0.15, 0.35])
SECOND_VISIT = 0.12
REFUNDED = 0.09
LATE = 0.02
DUPLICATED = 0.005
LOGGED_IN = 0.35
