"""
Models of users, specified: what was pickled before the modules had rooms still scores.

The pickles were written by the modules at their old names: ``propensity.scoring``,
``propensity.anomaly``, ``propensity.half_space_trees``. They hold a mean of two
logistic regressions and three half-space trees, both fitted to 400 rows of noise.
"""

from __future__ import annotations

import base64
import io
import pickle
import re
import zlib

import joblib
import numpy as np
import pytest

from propensity.models.anomaly import AnomalyModel
from propensity.models.scoring import MeanOfModels

PROBE = np.linspace(-2, 2, 12).reshape(4, 3)

MEAN_OF_MODELS = (
    "eF59U01oE0EUbpqmqbGNbf1v6w/+NYpGq0X8KdSfQtTVCEXwJMPs7iRvdf/YmVhjES3a2sIIipOz"
    "Jw8e1KMiSA5ePHn1JGgvCiII3qsv6yYpljqH3Te7773ve983c6etcry1JVyy1w88n7ncEuUsN7zA"
    "cotKdl5g1L1YuOCZzObqsdo9pW4pmXSYo7OAqysqIzfzazajgZu1LRffxKnlZontFS0uLEPJ3vNR"
    "OM6KAePc8tx6p4xMIiS1RVnJlMn8gBlUMFPJ2GmVG/0ZMeuwh0hAheWp3N8vyLbNLFFbzcm48GxM"
    "7Ts8/33g9D7ZVbAEsVzBAoP5Qs3KnsaGcIMixaLSYrLTsCnnZIJZRRAqLzsD6pqeQ7hAeNy3c8++"
    "zgIlE7ZeKHIlOxx6g1jYVmmmTOIv3eNMaS0yNUGDsC4QyKbdJVc9nWOHtEsKjIoSDox8iNLisiME"
    "xb2SqzHLtvSsW3L8MvEtAyVUsidf254MAlq+HFDfR7RI8Yzs4CU9rEdOYRW64Jq0lotJMsGB+kio"
    "dRpjLzCxFNIyYYoyfoUd9QgzW60jam72vhpXGeQUG1H5fP7cb1zhQ2sRSpcpatveBHEc6qOE/X9Z"
    "hlgEJSy6DnMF0cuCcaV1l/QVtcpw1e2JRUHlYt2vpBvKRxRsDc9QBrbDLhjUYtMKdkMa9sBepDbc"
    "pAYHlhKDg7NwqIaYjPCS2L6JkTA8VliKoMVnFmEUFo3/X4w4Ytz9VIzBQvuJX/oj2ys8qz75cOnH"
    "w2+iWjlQnyvVPF/Lj3aqQTzdkCoM3nWPbXHmq9VKpd6vm0TXieAhC6+KTAxlj2aHVEmHFZF0ndAF"
    "6dzovZtfci/WTMKqxrWA7jnoadwG6J2F1VoM1uRhbR7WwXrYoJmwUWuBvjnoz8OAFodN//iBByjy"
    "Y3+D9H/83RnxhuFlfT3W6BP7naj5NVivGfm3ZpFTTclWLpJs5uPC89eJr6Ofb6eMK0+N6ra3U2+m"
    "H0yOVho8xpbl0ezYnOfV2EDby/b31UqqzukMnC3pjOvZPyZ98ms="
)
ANOMALY_MODEL = (
    "eF6VVGtsFFUUnpl99kWKiImWSukDtgn2hc9gvSVaWhzcYB/RYMJkdnd279SdmXUetFvaCJHWbZkQ"
    "wLtINFSa+MOIadSCaTVklhKpMQSLxlcxPmqLEZBK1a1Qy3r3VSvhh94fN+eee84937nnO2enOfwb"
    "SSSWfltAlgKcqPBqsIwVJYH1B5GevSEpPSF5OD96CZXuQp1It6gyxylIz1vkAlm/l1ECrJtjUrdL"
    "6rGqMa5pSpinvB26TUyZ0CbdCjneB1VEm/WsVl70SK2MwrdziK7SrX5e4FUcxipLLk1RkZ7jlkSV"
    "FXiRVXlJRHVgd/sPdQO379BzWllZYLQAo7glmUN1z/+ZSipbZvGbAqOorIofJfUlIuPlWFWTOYXh"
    "RQZhCDbGi53w+9CK5Y1JeQGsPW2O9GUtksvPu8pETQgEmQDvftbPIX2pM37cIMts8CmZDQQ4eZGz"
    "orncflbBSVgSXggn72HjtthItyiQDWBY93RhWZI92FUnH8WyRw1iPSxIS9iW0ipRT+hF1IAcGDPZ"
    "gZxO5+MxvBIbTajIpWeyfj/+QEFgAyik5yVxJqIxrJ/3iQInqowrqOJi0Lmai4zhXyIpiiSp5J6Q"
    "SIqgCJLEFwTeCAof8cKacFPyUwk9U4X4k6Dk9ygIrkhwwgFXwkJYFE8FlsDVcA0s1Snvg4shP3wL"
    "yLA8BCviWCzxLGLfd/QMfnVjBuQPPBm8sH7GIIpOgbHPBkBFm7bq/NQfIHT87B2q75Ix1FwtCPNj"
    "xhcbP4lsKpgwNvc72od2zhn1pa1dlcsmQc5AZ9/rPfNgunaduQVeN17r41vqRqfA6ePlcGvLj0aN"
    "NjdfnP2mYSt9tebd6FXjUG9Fyc+h38GJs0fbuFZrpMNxpvnE19fBr+5jL+yX58Cu0ay3cqupyBir"
    "vG0bmTSI1cU9zzCK0W0bt2snr4EComuitmEIbO38ru3gezfAR1RVs9L7LXhlD7/jvnxTZPgc9dPI"
    "CjLS17h/+9otUSNPHQa/RK+AI48QM+ta3gByeP3KWOk0WB48c1ivvAKezv3g85G7ouDgvR1MCU9G"
    "qG0HciYPXzW2rCkf7hv/GCi1dw4O+qIgMsa7Z+8/aexumi/L3xsDhz58Z7xs1afGxPQp3xHnHJg9"
    "d23fsG3a8G567Fhl/RS48BBXsWf5rBHenColzKJNMJs2wxy6Ci79p29svMLEewrTyOznt2Mu/rvM"
    "FQtlXrtQQioW59P/WuHyNKUyZM7LyZzo/k+hbAm2JOOZ8ACzWO/GpKVIs92aQS6hsMaEGRy/tNsx"
    "xUnSQhDmDJspXJ2OZxWZRF40obl0O4MHn4cXfTenSdCm7jSfH1hINCMVPRYLb0u/Z0nMA6Tb8QyV"
    "WVXCnZzJq5zg41Q1MREcNEGTNEVTKm5h3ZacbczNAU00dYuA9nTAL6OVfPtea+To5f7C0QPmmqKC"
    "b4pnqMzIywHtfG63qab3ovNiQ6E5Un069n4/ba4JF6fx2SSvV+FUBtUZl8KNl0PP/ZWcewKLZy+p"
    "uRRX2d9y8VSh"
)


def named_modules(pickled: str) -> set[str]:
    """The modules of this package that a pickle names."""
    data = zlib.decompress(base64.b64decode(pickled))
    return {name.decode() for name in re.findall(rb"propensity\.[a-z_.]+", data)}


STALE = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.InconsistentVersionWarning"
)


@STALE
@pytest.mark.parametrize(
    ("pickled", "kind", "modules", "expected"),
    [
        pytest.param(
            MEAN_OF_MODELS,
            MeanOfModels,
            {"propensity.scoring"},
            [
                0.08336189540671514,
                0.1818001864329442,
                0.5387772166819259,
                0.8227213128703947,
            ],
            id="mean of models",
        ),
        pytest.param(
            ANOMALY_MODEL,
            AnomalyModel,
            {"propensity.anomaly", "propensity.half_space_trees"},
            [
                0.8756989247311828,
                0.5729032258064516,
                0.7053763440860215,
                0.8086021505376344,
            ],
            id="half-space trees",
        ),
    ],
)
def test_a_model_of_before_is_read_and_scores_the_same(
    pickled, kind, modules, expected
):
    """A pickle names the old module of its class; it is read, and is of today's class,
    and its scores are those of then."""
    model = joblib.load(io.BytesIO(base64.b64decode(pickled)))

    assert named_modules(pickled) == modules
    assert type(model) is kind
    assert model.predict_proba(PROBE)[:, 1].tolist() == pytest.approx(
        expected, rel=1e-12
    )


@STALE
def test_a_forest_of_before_it_had_a_module_is_read():
    """Between the rooms and the module of their own, trees were named in that of the
    detector; they are read, and score the same."""
    model = joblib.load(io.BytesIO(base64.b64decode(ANOMALY_MODEL)))
    written = pickle.dumps(model, protocol=2)
    today = b"propensity.models.forest\nForest\n"
    before = b"propensity.models.half_space_trees\n_Forest\n"

    again = pickle.loads(written.replace(today, before))

    assert today in written
    assert again.predict_proba(PROBE).tolist() == model.predict_proba(PROBE).tolist()
