"""Positions in a chip against known answers."""

import numpy as np

from research.evaluation import localisation


def test_cells_tile_the_chip_row_by_row_from_the_north_west():
    xy = localisation.cell_centres(4)
    assert xy.shape == (16, 2)
    np.testing.assert_allclose(xy[0], [-0.75, -0.75])
    np.testing.assert_allclose(xy[1], [-0.25, -0.75])  # x runs first, y to the south
    np.testing.assert_allclose(xy.mean(0), 0, atol=1e-12)


def test_a_peaked_map_is_localised_to_its_cell():
    xy = localisation.cell_centres(32)
    truth = np.array([[0.3, -0.6], [-0.9, 0.9]])
    similarity = -np.linalg.norm(truth[:, None] - xy[None], axis=2)
    for guess in (
        localisation.best_cell(similarity, xy),
        localisation.least_expected_error(similarity, xy, 0.001),
    ):
        error = localisation.errors_m(guess, truth, 640.0)
        assert (error <= 10 * np.sqrt(2) + 1e-9).all()  # half the diagonal of a 20 m cell
    flat = localisation.least_expected_error(np.zeros((1, 1024)), xy, 0.07)
    assert np.abs(flat).max() < 0.05  # nothing known: the middle


def test_two_far_peaks_are_bet_on_by_mass():
    xy = localisation.cell_centres(8)
    similarity = np.zeros((1, 64))
    similarity[0, 0], similarity[0, [61, 62, 63]] = 1.0, 0.95  # one sharp, one broad
    best = localisation.best_cell(similarity, xy)
    assert best[0].tolist() == xy[0].tolist()
    assert localisation.least_expected_error(similarity, xy, 0.07)[0].sum() > 1  # far south-east


def test_the_likeliest_disc_is_the_one_that_holds_most():
    """Against every disc, counted one by one."""
    rng = np.random.default_rng(0)
    xy, similarity = localisation.cell_centres(9), rng.normal(0, 0.1, (5, 81))
    found = localisation.likeliest_disc(similarity, xy, 0.05, radius=0.5)
    for row, guess in zip(similarity, found):
        share = np.exp(row / 0.05) / np.exp(row / 0.05).sum()
        held = [
            sum(p * max(0, 1 - (np.hypot(*(a - c)) / 0.5) ** 8) for p, a in zip(share, xy))
            for c in xy
        ]
        assert guess.tolist() == xy[int(np.argmax(held))].tolist()
    sharp, broad = np.zeros((1, 81)), slice(60, 63)
    sharp[0, 0], sharp[0, broad] = 1.0, 0.97
    assert localisation.best_cell(sharp, xy)[0].tolist() == xy[0].tolist()
    assert localisation.likeliest_disc(sharp, xy, 0.1)[0].tolist() != xy[0].tolist()


def test_a_fitted_temperature_is_the_one_that_made_the_data():
    rng = np.random.default_rng(1)
    similarity = rng.normal(0, 0.2, (4000, 50))
    share = np.exp(similarity / 0.1)
    share /= share.sum(1, keepdims=True)
    cell = np.array([rng.choice(50, p=p) for p in share])
    found = localisation.fit_temperature(similarity, cell)
    assert abs(np.log(found / 0.1)) < 0.2  # a step of the choices is 0.14
    wrong = rng.permutation(cell)  # nothing is known: trust as little as can be
    assert localisation.fit_temperature(similarity, wrong) == 1.0


def test_cells_are_counted_as_their_centres_are():
    xy = localisation.cell_centres(7)
    np.testing.assert_array_equal(localisation.cell_of(xy, 7), np.arange(49))
    assert localisation.cell_of([[1.0, 1.0]], 7)[0] == 48
    assert localisation.cell_of([[-1.0, 1.0]], 7)[0] == 42


def test_errors_in_metres_take_one_width_or_one_a_chip():
    a, b = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [-1.0, -1.0]])
    np.testing.assert_allclose(localisation.errors_m(a, b, 640), [320, 640 * np.sqrt(2)])
    np.testing.assert_allclose(localisation.errors_m(a, b, [100, 10]), [50, 10 * np.sqrt(2)])
    np.testing.assert_allclose(
        localisation.errors_m(a, b, np.array([[100, 5], [30, 40]])), [50, 50]
    )


def test_best_constant_is_the_best_constant():
    rng = np.random.default_rng(1)
    xy = np.clip(rng.normal([0.4, -0.2], 0.2, (200, 2)), -1, 1)
    guess = localisation.best_constant(xy)
    best = np.median(localisation.errors_m(np.tile(guess, (200, 1)), xy, 2.0))
    for other in rng.uniform(-1, 1, (300, 2)):
        assert best <= np.median(np.linalg.norm(other - xy, axis=1)) + 0.02
