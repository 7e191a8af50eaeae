"""
Means of two groups, adjusted for a covariate that was known before the treatment.

What the covariate explains is no chance any more, so that fewer users show an effect.
The regression of each group needs sums alone; so those of weeks may be added up.

Source:
    Lin, "Agnostic notes on regression adjustments to experimental data", Annals of
    Applied Statistics 7, 2013: a slope for each group, so that it never does worse than
    the plain difference, also with unequal groups. The covariate as of Deng, Xu, Kohavi
    and Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
    Pre-Experiment Data", WSDM 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

from propensity.measures.intervals import FEW

# A variance below this, in relation to its scale, is rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Sums:
    """
    Sums over the users of a group, of their outcomes and of a covariate.

    Attributes:
        users: Above 0.
        positives: How many of them have an outcome.
        covariates, covariate_squares, products: None where a covariate isn't known;
            products are of outcome and covariate.
    """

    users: int
    positives: int
    outcomes: float
    squares: float
    covariates: float | None = None
    covariate_squares: float | None = None
    products: float | None = None

    @property
    def mean(self) -> float:
        return self.outcomes / self.users

    @property
    def variance(self) -> float:
        """Of the outcomes; a sum's rounding may make it negative otherwise."""
        return max(self.squares / self.users - self.mean**2, 0.0)


@dataclass(frozen=True, kw_only=True)
class Adjusted:
    """
    Means of two groups as if both had the covariate's mean over all users.

    Attributes:
        treated, control: The means.
        treated_users, control_users: How many users would show plain means as exactly.
        slope_variance: Of the difference: where the covariate tells more of the treated
            than of the control group, the effect depends on who the users are.
        explained: Share of the plain difference's variance that is gone.
    """

    treated: float
    control: float
    treated_users: float
    control_users: float
    slope_variance: float = 0.0
    explained: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Line:
    """
    The regression of a group.

    Attributes:
        mean, variance: Of the covariate.
        remaining: Share of the outcomes' variance that it leaves.
    """

    mean: float
    variance: float
    slope: float
    remaining: float


def adjusted(treated: Sums, control: Sums) -> Adjusted:
    """Return the means of two groups; as they are if the covariate says nothing."""
    line = _line(treated)
    control_line = _line(control)
    if line is None or control_line is None:
        return Adjusted(
            treated=treated.mean,
            control=control.mean,
            treated_users=treated.users,
            control_users=control.users,
        )
    users = treated.users + control.users
    share = control.users / users
    # What the groups' means of the covariate differ by is chance.
    chance = line.mean - control_line.mean
    variance = (
        (1 - share) * line.variance
        + share * control_line.variance
        + share * (1 - share) * chance**2
    )
    treated_users = treated.users / line.remaining
    control_users = control.users / control_line.remaining
    before = treated.variance / treated.users + control.variance / control.users
    after = treated.variance / treated_users + control.variance / control_users
    return Adjusted(
        treated=treated.mean - line.slope * share * chance,
        control=control.mean + control_line.slope * (1 - share) * chance,
        treated_users=treated_users,
        control_users=control_users,
        slope_variance=(line.slope - control_line.slope) ** 2 * variance / users,
        explained=1 - after / before,
    )


def _line(group: Sums) -> _Line | None:
    """Return the least squares of a group; None if it has none to rely on."""
    users = group.users
    covariates = group.covariates
    squares = group.covariate_squares
    products = group.products
    if covariates is None or squares is None or products is None:
        return None
    mean = covariates / users
    variance = squares / users - mean**2
    # Of fewer users with an outcome, or without one, no slope is learned.
    is_few = min(group.positives, users - group.positives) < FEW
    if is_few or variance <= ROUNDING * squares / users or not group.variance:
        return None
    covariance = products / users - mean * group.mean
    slope = covariance / variance
    remaining = max(1 - slope * covariance / group.variance, ROUNDING)
    # The slope is a second figure that is learned from these users.
    remaining *= (users - 1) / (users - 2)
    return _Line(mean=mean, variance=variance, slope=slope, remaining=remaining)
