"""Fisher vectors against scikit-image, scikit-learn's posteriors and a loop over descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from skimage.feature import fisher_vector as reference
from sklearn.mixture import GaussianMixture

from classic_cv.errors import ParameterError
from classic_cv.features.encoding import FisherVector
from classic_cv.features.encoding.codebook import Mixture
from classic_cv.features.encoding.fisher_vector import Tables, fisher_vector, posteriors, with_squares
from classic_cv.features.local import DenseSIFT, LocalColor, Patches

K, D = 5, 6


def sample(n: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    values: Any = rng.normal(size=(n, D)) + rng.choice([-2, 0, 2], size=(n, D))
    return np.asarray(values, np.float32)


@pytest.fixture
def model() -> Any:
    """scikit-learn's mixture, in float64."""
    return GaussianMixture(K, covariance_type="diag", random_state=0).fit(sample(400).astype(np.float64))


@pytest.fixture
def mixture(model: Any) -> Mixture:
    return Mixture(*(part.astype(np.float32) for part in (model.weights_, model.means_, model.covariances_)))


def parts_of_reference(x: NDArray[np.float32], model: Any, improved: bool) -> NDArray[np.float64]:
    """scikit-image's vector in our order: without the weights' part, Gaussian by Gaussian.

    Its part by standard deviations has the opposite sign of equation 18 of Sanchez et al. 2013.
    """
    from_skimage: Any = reference
    whole = from_skimage(x.astype(np.float64), model, improved=improved)
    means, deviations = whole[K:].reshape(2, K, D)
    vector: NDArray[np.float64] = np.hstack([means, -deviations]).ravel()
    return vector / np.linalg.norm(vector) if improved else vector


@pytest.mark.parametrize("improved", [True, False])
@pytest.mark.parametrize("n", [1, 2, 300])
def test_equals_scikit_image(model: Any, mixture: Mixture, n: int, improved: bool) -> None:
    x = sample(n, 1)
    found = fisher_vector(x, mixture, improved=improved)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, parts_of_reference(x, model, improved), rtol=1e-3, atol=2e-4)


def test_equals_a_loop_over_descriptors(mixture: Mixture) -> None:
    x = sample(40, 2)
    weights, means, variances = (part.astype(np.float64) for part in mixture)
    expected = np.zeros((K, 2 * D))
    for row in x.astype(np.float64):
        z = (row - means) / np.sqrt(variances)
        density = weights * np.exp(-0.5 * (z**2).sum(axis=1)) / np.sqrt(variances.prod(axis=1))
        for k, gamma in enumerate(density / density.sum()):
            expected[k, :D] += gamma * z[k] / np.sqrt(weights[k])
            expected[k, D:] += gamma * (z[k] ** 2 - 1) / np.sqrt(2 * weights[k])
    found = fisher_vector(x, mixture, improved=False)
    np.testing.assert_allclose(found, expected.ravel() / len(x), atol=1e-5)


def test_posteriors_are_those_of_scikit_learn(model: Any, mixture: Mixture) -> None:
    x = sample(200, 3) * 3
    gamma = posteriors(with_squares(x), Tables.of(mixture))
    np.testing.assert_allclose(gamma, model.predict_proba(x.astype(np.float64)), atol=1e-4)
    np.testing.assert_allclose(gamma.sum(axis=1), 1, atol=1e-6)


def test_far_descriptors_and_components_without_weight_stay_finite(mixture: Mixture) -> None:
    weights = mixture.weights.copy()
    weights[2] = 0
    found = fisher_vector(sample(50) * 1e4, mixture._replace(weights=weights)).reshape(K, -1)
    assert np.isfinite(found).all()
    assert not found[2].any()
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_descriptors_drawn_from_the_mixture_give_about_zero() -> None:
    # The expected gradient at the true parameters is 0, and each of its entries has unit variance per descriptor
    # where Gaussians hardly overlap: what normalizes the gradient is its own spread.
    rng = np.random.default_rng(0)
    means = 20 * np.eye(4, 3, dtype=np.float32)
    variances = rng.uniform(0.5, 2, (4, 3)).astype(np.float32)
    weights = np.array([0.4, 0.3, 0.2, 0.1], np.float32)
    group = rng.choice(4, 20_000, p=[0.4, 0.3, 0.2, 0.1])
    x = (means[group] + rng.normal(size=(20_000, 3)) * np.sqrt(variances[group])).astype(np.float32)
    found = fisher_vector(x, Mixture(weights, means, variances), improved=False) * np.sqrt(20_000)
    assert np.abs(found).max() < 4
    assert found.std() == pytest.approx(1, abs=0.35)


def test_order_does_not_matter_and_neither_do_repetitions(mixture: Mixture) -> None:
    x = sample(60, 4)
    expected = fisher_vector(x, mixture)
    np.testing.assert_allclose(fisher_vector(x[::-1], mixture), expected, atol=1e-4)
    np.testing.assert_allclose(fisher_vector(np.repeat(x, 3, axis=0), mixture), expected, atol=1e-4)


def test_units_do_not_matter(mixture: Mixture) -> None:
    units = np.array([0.01, 0.1, 1, 2, 10, 100], np.float32)
    weights, means, variances = mixture
    scaled = Mixture(weights, means * units, variances * units**2)
    x = sample(80, 5)
    np.testing.assert_allclose(fisher_vector(x * units, scaled), fisher_vector(x, mixture), atol=1e-3)


def photos(n: int = 6, side: int = 48) -> NDArray[np.uint8]:
    load: Any = skimage.data.astronaut
    photo = load()[::2, ::2]
    return np.stack([photo[20 * i : 20 * i + side, 25 * i : 25 * i + side] for i in range(n)])


@pytest.mark.parametrize("positions", [True, False])
def test_the_estimator_is_describe_whiten_encode(positions: bool) -> None:
    X = photos()
    extractor = FisherVector(DenseSIFT(bins=(3.0,)), n_components=3, pca=5, positions=positions).fit(X)
    local = extractor.descriptor.describe(X[0])
    x = (
        np.hstack([local.descriptors, np.ones((len(local.descriptors), 1), np.float32)])
        @ extractor.whitening_
    )
    if positions:
        x = np.hstack([x, (local.positions / 48 - 0.5) * np.sqrt(12)]).astype(np.float32)
    codebook = extractor.codebook_
    d = x.shape[1]
    assert d == 5 + 2 * positions
    mixture = Mixture(codebook[:, 0], codebook[:, 1 : 1 + d], codebook[:, 1 + d :])
    np.testing.assert_allclose(mixture.weights.sum(), 1, atol=1e-5)
    np.testing.assert_allclose(extractor.transform(X[:1])[0], fisher_vector(x, mixture), atol=1e-4)
    assert extractor.n_features_out_ == 3 * 2 * d


def test_without_pca_units_of_the_descriptor_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    X = photos()
    extractor = FisherVector(LocalColor(bins=(3.0,)), n_components=3, pca=0)
    expected = extractor.fit(X).transform(X)
    assert extractor.whitening_.shape == (1, 96)
    plain = LocalColor.describe

    def in_levels(self: LocalColor, image: NDArray[np.uint8]) -> Any:
        local = plain(self, image)
        return local._replace(descriptors=local.descriptors * np.float32(256))

    monkeypatch.setattr(LocalColor, "describe", in_levels)
    np.testing.assert_allclose(extractor.fit(X).transform(X), expected, atol=5e-3)


def test_names_say_cell_gaussian_and_value() -> None:
    extractor = FisherVector(DenseSIFT(bins=(3.0,)), n_components=2, pca=3, pyramid=(1, (1, 2))).fit(photos())
    names = extractor.get_feature_names_out().tolist()
    assert names[:6] == [f"1x1_y0_x0_w0_mean{i}" for i in range(5)] + ["1x1_y0_x0_w0_deviation0"]
    assert names[-1] == "1x2_y0_x1_w1_deviation4"
    assert len(set(names)) == len(names) == 3 * 2 * 10


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"n_components": 0}, r"FisherVector\(n_components=0\): expected `int` >= 1"),
        ({"pca": -1}, r"FisherVector\(pca=-1\): expected `int` >= 0"),
        ({"pyramid": ()}, r"FisherVector\(pyramid=\(\)\): expected `array` of length >= 1"),
        ({"pyramid": (1, (1, 1))}, "the same grid is given twice; give each once"),
        ({"random_state": -1}, r"FisherVector\(random_state=-1\): expected `int` >= 0"),
        ({"descriptor": DenseSIFT(bins=(0.0,))}, r"DenseSIFT\(bins=\(0.0,\).*expected `float` >= 1"),
        ({"descriptor": Patches(size=3.5)}, r"expected `int`, got `float` - at `\$.size`"),  # type: ignore[arg-type]
        ({"descriptor": {"type": "patches"}}, r"\}\): expected `Patches`, got `dict`"),
        ({"descriptor": "patches"}, "expected `object`, got `str`"),
        ({"descriptor": FisherVector()}, "expected `object`, got `FisherVector`"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        FisherVector(**params).fit(photos(1))
