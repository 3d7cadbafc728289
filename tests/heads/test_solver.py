"""The solver reaches the optimum that LinearSVC reaches, by every way that it can take there."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.heads import _newton_step, _reduction, _solver
from classic_cv.heads._lbfgs import BatchLBFGS
from classic_cv.heads._line_search import line_search
from classic_cv.heads._newton_step import Factor, Gram
from classic_cv.heads._reduction import RowSpace
from classic_cv.heads._solver import SquaredHingeSolver
from classic_cv.heads.svm import LinearSVM, one_vs_rest

Floats = NDArray[np.float32]


def overlapping(n: int, d: int, K: int, seed: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Correlated features of classes that overlap, with 5 % of the labels wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, K, n)
    q = min(d, 30)
    latent = rng.standard_normal((K, q))[y] * 0.5 + rng.standard_normal((n, q))
    X = latent @ (rng.standard_normal((q, d)) / np.sqrt(q)) + 0.3 * rng.standard_normal((n, d)) + 0.2
    wrong = rng.random(n) < 0.05
    y[wrong] = rng.integers(0, K, int(wrong.sum()))
    return X.astype(np.float32), y


def objectives(
    X: NDArray[Any],
    y: NDArray[Any],
    coef: NDArray[Any],
    intercept: NDArray[Any],
    C: float,
    weights: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Each problem's objective, written out in float64."""
    classes = np.unique(y)
    values = []
    for row, (w, b) in enumerate(zip(coef.astype(np.float64), intercept.astype(np.float64), strict=True)):
        sign = np.where(y == classes[1 if len(classes) == 2 else row], 1.0, -1.0)
        loss = np.maximum(0, 1 - sign * (X.astype(np.float64) @ w + b)) ** 2
        s = 1.0 if weights is None else weights if weights.ndim == 1 else weights[row]
        values.append(0.5 * (w @ w + b * b) + C * (s * loss).sum())
    return np.array(values)


def reference(X: Floats, y: NDArray[Any], C: float, **options: Any) -> Any:
    """LinearSVC near the optimum, by its primal solver, which is the precise one."""
    from sklearn.svm import LinearSVC

    weight = options.pop("sample_weight", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LinearSVC(C=C, tol=1e-8, dual=False, max_iter=20_000, **options)
        return model.fit(X.astype(np.float64), y, sample_weight=weight)


def assert_optimal(X: Floats, y: NDArray[Any], C: float, within: float = 1e-5) -> None:
    peer, ours = reference(X, y, C), LinearSVM(C=C).fit(X, y)
    best = objectives(X, y, peer.coef_, peer.intercept_, C)
    found = objectives(X, y, ours.coef_, ours.intercept_, C)
    assert (found / best - 1).max() <= within
    assert (found / best - 1).min() >= -1e-2  # LinearSVC itself stops short on the hardest of these


@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize(
    ("n", "d", "K"),
    [(2000, 60, 4), (120, 400, 3), (200, 210, 4), (400, 50, 2)],
    ids=["tall", "wide", "square", "binary"],
)
def test_reaches_the_optimum_of_linear_svc(n: int, d: int, K: int, C: float) -> None:
    assert_optimal(*overlapping(n, d, K), C)


def test_reaches_the_optimum_on_separable_data() -> None:
    X, y = overlapping(100, 150, 3)
    assert_optimal(X * 3, y, 1.0)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_reaches_the_optimum_on_digits(C: float) -> None:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    assert_optimal((X / 16).astype(np.float32), y, C)


@pytest.mark.parametrize(("n", "d"), [(1500, 40), (80, 200)])
def test_reaches_the_optimum_on_badly_scaled_features(n: int, d: int) -> None:
    X, y = overlapping(n, d, 3)
    scale = np.geomspace(1e-3, 1e2, d, dtype=np.float32)
    assert_optimal(X * scale, y, 1.0, within=1e-4)


def test_large_offsets_and_constant_columns_do_no_harm() -> None:
    X, y = overlapping(600, 30, 3)
    X[:, :10] += 30
    X[:, 3] = 0
    X[:, 4] = 2
    assert_optimal(X, y, 0.1, within=1e-4)


def test_duplicate_columns_and_rows() -> None:
    X, y = overlapping(200, 40, 3)
    assert_optimal(np.tile(X, (2, 3)), np.tile(y, 2), 1.0)


@pytest.mark.parametrize("K", [2, 4])
@pytest.mark.parametrize(("n", "d"), [(600, 30), (60, 150)])
def test_sample_and_class_weights(n: int, d: int, K: int) -> None:
    X, y = overlapping(n, d, K)
    y[y == K - 1] *= np.arange((y == K - 1).sum()) % 3 != 0  # two thirds of the last class are left
    rng = np.random.default_rng(1)
    sample_weight = rng.uniform(0, 3, n) * (rng.random(n) < 0.8)
    for class_weight in ("balanced", {0: 3.0, 1: 0.5}, None):
        peer = reference(X, y, 0.5, class_weight=class_weight, sample_weight=sample_weight)
        ours = LinearSVM(C=0.5, class_weight=class_weight).fit(X, y, sample_weight)
        np.testing.assert_allclose(ours.coef_, peer.coef_, atol=2e-3 * np.abs(peer.coef_).max())
        np.testing.assert_allclose(ours.intercept_, peer.intercept_, atol=2e-3)


def test_a_row_of_weight_zero_is_left_out_and_scored() -> None:
    X, y = overlapping(500, 25, 3)
    out = np.arange(500) % 5 == 0
    signs, _ = one_vs_rest(y, 3)
    solution = SquaredHingeSolver(X, signs, np.tile(~out, (3, 1)).astype(np.float32)).solve(1.0)
    without = LinearSVM().fit(X[~out], y[~out])
    np.testing.assert_allclose(solution.scores.T, without.decision_function(X), atol=5e-3)


def test_warm_start_along_a_path_ends_where_a_cold_start_does() -> None:
    X, y = overlapping(1500, 50, 4)
    signs, _ = one_vs_rest(y, 4)
    path = SquaredHingeSolver(X, signs)
    for C in (0.001, 0.01, 0.1, 1.0, 10.0):
        warm, cold = path.solve(C), SquaredHingeSolver(X, signs).solve(C)
        assert warm.converged.all()
        np.testing.assert_allclose(warm.objective, cold.objective, rtol=2e-5)


def test_problems_solved_in_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = overlapping(800, 40, 5)
    signs, _ = one_vs_rest(y, 5)
    whole = SquaredHingeSolver(X, signs)
    monkeypatch.setattr(_solver, "SYSTEM_BYTES", 4 * 40**2 * 2)
    monkeypatch.setattr(_solver, "LEAST_BLOCK", 1)
    blocks = SquaredHingeSolver(X, signs)
    assert [len(block) for block in blocks.blocks] == [2, 2, 1]
    for C in (0.1, 1.0):
        np.testing.assert_allclose(blocks.solve(C).objective, whole.solve(C).objective, rtol=2e-5)


@pytest.mark.parametrize(
    "limits",
    [
        {"GRAM_FEATURES": 10, "BLOCK_FEATURES": 23},
        {"MAX_STEP_FLOPS": 0.0},
        {"MAX_STEP_FLOPS": 0.0, "GRAM_FEATURES": 10, "BLOCK_FEATURES": 23},
        {"MAX_STEP_FLOPS": 0.0, "GRAM_FEATURES": 10, "BLOCK_FEATURES": 1},
        {"WARM_UP": 1, "PASS_COST": (1e9, 0.0)},
        {"MIN_SLICE_VALUES": 100},
        {"SYSTEM_BYTES": 0, "PASS_COST": (1e9, 0.0)},
    ],
    ids=[
        "blocks of columns",
        "L-BFGS only",
        "L-BFGS with blocks of columns only",
        "diagonal L-BFGS only",
        "Newton from the start",
        "many slices",
        "room for one Hessian",
    ],
)
@pytest.mark.parametrize(("n", "d"), [(900, 60), (300, 200)])
def test_every_way_leads_to_the_optimum(
    n: int, d: int, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = overlapping(n, d, 3)
    signs, _ = one_vs_rest(y, 3)
    best = SquaredHingeSolver(X, signs).solve(0.05, tol=1e-8).objective
    for name, value in limits.items():
        monkeypatch.setattr(_solver, name, value)
    solution = SquaredHingeSolver(X, signs).solve(0.05, tol=1e-5, max_iter=2000)
    assert solution.converged.all()
    np.testing.assert_allclose(solution.objective, best, rtol=2e-5)


@pytest.mark.parametrize("rows_limit", [0, 4000])
def test_the_rows_span_poses_the_same_problem(rows_limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = overlapping(100, 300, 3)
    monkeypatch.setattr(_solver, "ROW_SPACE_ROWS", rows_limit)
    solver = SquaredHingeSolver(X, one_vs_rest(y, 3)[0])
    assert (solver.row_space is None) == (rows_limit == 0)
    peer = reference(X, y, 1.0)
    solution = solver.solve(1.0)
    best = objectives(X, y, peer.coef_, peer.intercept_, 1.0)
    np.testing.assert_allclose(solution.objective, best, rtol=1e-5)
    np.testing.assert_allclose(solution.weights[:, :-1], peer.coef_, atol=2e-3)
    scores = X @ solution.weights[:, :-1].T + solution.weights[:, -1]
    np.testing.assert_allclose(scores, solution.scores.T, atol=1e-3)


def test_reported_objective_is_that_of_the_weights() -> None:
    X, y = overlapping(700, 30, 3)
    solution = SquaredHingeSolver(X, one_vs_rest(y, 3)[0]).solve(0.3)
    expected = objectives(X, y, solution.weights[:, :-1], solution.weights[:, -1], 0.3)
    np.testing.assert_allclose(solution.objective, expected, rtol=1e-5)


def test_too_few_iterations_are_reported() -> None:
    X, y = overlapping(700, 30, 3)
    solution = SquaredHingeSolver(X, one_vs_rest(y, 3)[0]).solve(1.0, max_iter=1)
    assert not solution.converged.any()
    assert solution.n_iter.tolist() == [1, 1, 1]


@pytest.mark.parametrize("weighted", [False, True])
def test_line_search_finds_the_minimum(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    M = (rng.standard_normal((3, 200)) + 0.5).astype(np.float32)
    Q = (rng.standard_normal((3, 200)) + 0.3).astype(np.float32)
    S = rng.uniform(0, 2, (3, 200)).astype(np.float32) if weighted else None
    slope, curve, C = np.array([-1.0, 0.5, 0.1]), np.array([4.0, 0.1, 50.0]), 0.7
    t, start = line_search(M, Q, slope, curve, C, S)

    grid = np.linspace(0, 3, 30_001)
    s = np.ones((3, 200)) if S is None else S
    for k in range(3):
        losses = np.maximum(0, M[k].astype(float) - grid[:, None] * Q[k])
        phi = slope[k] * grid + curve[k] * grid**2 / 2 + C * (s[k] * losses**2).sum(axis=1)
        at = slope[k] * t[k] + curve[k] * t[k] ** 2 / 2
        at += C * (s[k] * np.maximum(0, M[k].astype(float) - t[k] * Q[k]) ** 2).sum()
        assert at - phi.min() <= 2e-4 * (phi[0] - phi.min())
        assert start[k] == pytest.approx((phi[1] - phi[0]) / grid[1], rel=2e-2)


def test_lbfgs_direction_is_the_newton_step_of_a_quadratic_once_it_knows_it() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 4))
    hessian = A @ A.T + np.eye(4)
    memory = BatchLBFGS(memory=4)
    # Conjugate steps: with them, and exact curvature, the recursion builds the inverse exactly.
    steps = np.linalg.inv(np.linalg.cholesky(hessian)).astype(np.float32)
    for step in steps:
        memory.add(step[None], (hessian @ step)[None].astype(np.float32))
    gradient = rng.standard_normal((1, 4)).astype(np.float32)
    direction = memory.direction(gradient, lambda V: V)
    np.testing.assert_allclose(direction[0], -np.linalg.solve(hessian, gradient[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_gram_adds_and_takes_away_rows(weighted: bool) -> None:
    X, _ = overlapping(50, 8, 2)
    weights = np.random.default_rng(0).uniform(0.1, 2, 50).astype(np.float32) if weighted else None
    gram = Gram(8)
    gram.add(X, np.arange(50), weights)
    gram.add(X, np.arange(20), weights, sign=-1.0)
    A = np.hstack([X, np.ones((50, 1))])[20:]
    s = np.ones(30) if weights is None else weights[20:]
    expected = A.T @ (s[:, None] * A)
    np.testing.assert_allclose(np.tril(gram.H), np.tril(expected[:-1, :-1]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gram.h, expected[-1, :-1], rtol=1e-4, atol=1e-4)
    assert gram.c == pytest.approx(expected[-1, -1], rel=1e-5)

    V = np.random.default_rng(1).standard_normal((3, 9)).astype(np.float32)
    solved = Factor(gram, 0.5, 2.0).solve(V)
    np.testing.assert_allclose(
        solved, np.linalg.solve(2 * expected + 0.5 * np.eye(9), V.T).T, rtol=1e-3, atol=1e-4
    )


def test_large_gathers_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = overlapping(100, 8, 2)
    whole, pieces = Gram(8), Gram(8)
    whole.add(X, np.arange(100))
    monkeypatch.setattr(_newton_step, "CHUNK_BYTES", 7 * 4 * 8)
    pieces.add(X, np.arange(100))
    np.testing.assert_allclose(pieces.H, whole.H, rtol=1e-5)


def test_coordinates_in_the_rows_span_keep_lengths_and_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = overlapping(40, 90, 2)
    X[7] = X[3]
    monkeypatch.setattr(_reduction, "CHUNK_BYTES", 8 * 40 * 11)
    span = RowSpace(X)
    np.testing.assert_allclose(span.coordinates @ span.coordinates.T, X @ X.T, rtol=1e-4, atol=1e-3)
    W = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32) @ span.coordinates
    W = np.hstack([W, np.ones((2, 1), np.float32)])
    weights = span.weights(W)
    np.testing.assert_allclose(X @ weights[:, :-1].T, span.coordinates @ W[:, :-1].T, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose((weights**2).sum(axis=1), (W**2).sum(axis=1), rtol=1e-4)
    assert weights[:, -1].tolist() == [1, 1]


def test_plans_weigh_rows_against_columns() -> None:
    X, _ = overlapping(300, 40, 2)
    systems = _newton_step.NewtonSystems(X, 1)
    few, many = np.zeros(300, bool), np.ones(300, bool)
    few[:5] = True
    assert systems.plan(0, few).by_rows
    assert not systems.plan(0, many).by_rows
    m, d = 5, 40
    assert systems.plan(0, few).first == pytest.approx(_newton_step.ROW_COST * (m * m * d + m**3))
    assert systems.plan(0, many).first == pytest.approx(300 * d * d + d**3 / 2)


def test_the_rate_of_descent_is_taken_over_several_iterations() -> None:
    size = 3
    live = _solver._Live(
        index=np.arange(size),
        W=np.zeros((size, 1), np.float32),
        M=np.zeros((size, 1), np.float32),
        Y=np.zeros((size, 1), np.float32),
        S=None,
        f=np.zeros(size),
        stalls=np.zeros(size, np.int64),
        newton=np.zeros(size, bool),
        promised=np.zeros(size),
        trail=[],
        history=BatchLBFGS(memory=2),
    )
    live.trail = [np.array([1.0, 8.0, 1.0])]
    np.testing.assert_allclose(live.rate(), 0)
    # Up and down again on the way: what counts is where it began and where it is.
    live.trail += [np.array([2.0, 1.0, 1.0]), np.array([0.25, 2.0, 1.0])]
    np.testing.assert_allclose(live.rate(), np.log([0.25, 0.25, 1.0]) / 2)
    live.keep(np.array([True, False, True]))
    np.testing.assert_allclose(live.rate(), np.log([0.25, 1.0]) / 2)


def test_blocks_of_columns_have_the_gram_matrices_of_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = overlapping(50, 23, 2)
    monkeypatch.setattr(_solver, "GRAM_FEATURES", 10)
    monkeypatch.setattr(_solver, "BLOCK_FEATURES", 8)
    monkeypatch.setattr(_solver, "CHUNK_BYTES", 4 * 23 * 7)  # a few rows at a time
    found = _solver.shared_grams(X)
    assert [(block.start, block.stop) for block, _ in found] == [(0, 8), (8, 15), (15, 23)]
    # Of 2 or 4 rows per column at most; all of so few, so nothing is scaled.
    monkeypatch.setattr(_solver, "GRAM_FEATURES", 100)
    [(block, whole)] = _solver.shared_grams(X)
    assert (block.start, block.stop) == (0, 23)
    rows = np.sort(np.random.default_rng(0).choice(50, 32, replace=False))
    for block, gram in found:
        expected = X[rows][:, block].T @ X[rows][:, block] * (50 / 32)
        np.testing.assert_allclose(np.tril(gram.H), np.tril(expected), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.tril(whole.H), np.tril(X.T @ X), rtol=1e-4, atol=1e-4)
    assert [bool(gram.h.any()) for _, gram in found] == [False, False, True]
