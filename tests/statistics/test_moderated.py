import numpy as np
import pytest

from scvi_downstream.statistics.moderated import (
    LinearFit,
    f_tests,
    fit_linear,
    fit_weighted,
    moderate,
    own_variances,
    t_tests,
    variances_along,
)

OBSERVED = np.array([0.8, 1.3, 0.2, 2.9, 0.6, 1.1, 4.2, 0.4, 0.9, 1.7, 0.3, 0.75])
SPREAD = OBSERVED * 10 ** np.linspace(-1, 1, 12)
COVARIATE = np.array([1.0, 2.5, 9, 0.5, 6, 4, 0.2, 8, 5, 3, 7, 5.5])
FORTY = np.linspace(1, 9, 40)


def _fit(variances, df=4):
    return LinearFit(np.zeros((1, len(variances))), np.eye(1), variances, df)


def _design(rng, n=12):
    return np.column_stack([np.ones(n), np.repeat([0.0, 1.0], n // 2), rng.normal(size=n)])


def test_ordinary_tests_are_those_of_statsmodels():
    from statsmodels.regression.linear_model import OLS

    rng = np.random.default_rng(0)
    design, responses = _design(rng), rng.normal(size=(12, 20))
    fit = fit_linear(responses, design)
    single, joint = t_tests(fit, own_variances(fit), 1), f_tests(fit, own_variances(fit), [1, 2])
    for i in range(20):
        reference = OLS(responses[:, i], design).fit()
        np.testing.assert_allclose(
            single.loc[i, ["effect", "statistic", "p"]].to_numpy(float),
            [reference.params[1], reference.tvalues[1], reference.pvalues[1]],
            rtol=1e-8,
        )
        np.testing.assert_allclose(
            single.loc[i, ["ci_lower", "ci_upper"]].to_numpy(float), reference.conf_int()[1], rtol=1e-8
        )
        np.testing.assert_allclose(joint.loc[i, "p"], reference.f_pvalue, rtol=1e-8)


# Reference: squeezeVar of limma as ported by InMoose 0.9.1, 4 residual degrees of freedom.
@pytest.mark.parametrize(
    ("variances", "trend", "prior_df", "moderated"),
    [
        (OBSERVED, None, 15.05570266078699, [1.0238992761, 1.1288547341, 0.8979527265, 1.4647121996]),
        (OBSERVED, COVARIATE, np.inf, [2.7431610854, 1.9722631108, 0.2850653989, 3.0501600544]),
        (SPREAD, None, 1.625862194753884, [0.2186003748, 0.3022060066, 0.1945703472, 0.8856949963]),
        (SPREAD, COVARIATE, 1.6667021173307845, [0.2238784552, 0.4383018374, 0.0623178006, 0.851723954]),
        (
            np.exp(np.sin(np.arange(40) * 2.3) * 1.2 - 0.3 * FORTY + 2),
            FORTY,
            14.489141840853907,
            [6.6845228538, 7.8843074648, 5.1573420335, 6.5103496182],
        ),
    ],
)
def test_moderated_variances_are_those_of_limma(variances, trend, prior_df, moderated):
    result = moderate(_fit(variances), trend)
    np.testing.assert_allclose(result.prior_df, prior_df, rtol=1e-10)
    np.testing.assert_allclose(result.values[:4], moderated, rtol=1e-8)


def test_the_prior_of_simulated_variances_is_found():
    rng = np.random.default_rng(1)
    true = 2.0 * 10 / rng.chisquare(10, 20_000)
    result = moderate(_fit(true * rng.chisquare(4, 20_000) / 4))
    np.testing.assert_allclose(result.prior_df, 10, rtol=0.15)
    np.testing.assert_allclose(result.prior[0], 2, rtol=0.05)


def test_moderated_null_p_values_are_uniform_and_planted_effects_found_better():
    from scipy import stats

    rng = np.random.default_rng(2)
    n_responses = 4000
    deviations = np.sqrt(10 / rng.chisquare(10, n_responses))
    responses = rng.normal(size=(6, n_responses)) * deviations
    responses[3:, :200] += 3
    design = np.column_stack([np.ones(6), np.repeat([0.0, 1.0], 3)])
    fit = fit_linear(responses, design)
    p = t_tests(fit, moderate(fit), 1)["p"].to_numpy()
    assert stats.kstest(p[200:], "uniform").pvalue > 0.01
    assert stats.kstest(f_tests(fit, moderate(fit), [1])["p"][200:], "uniform").pvalue > 0.01
    ordinary = t_tests(fit, own_variances(fit), 1)["p"].to_numpy()
    assert (p[:200] < 1e-3).mean() > 2 * (ordinary[:200] < 1e-3).mean()


def test_one_coefficient_has_the_same_t_and_f():
    rng = np.random.default_rng(3)
    fit = fit_linear(rng.normal(size=(12, 30)), _design(rng))
    variances = moderate(fit)
    np.testing.assert_allclose(t_tests(fit, variances, 1)["p"], f_tests(fit, variances, [1])["p"], rtol=1e-10)


def test_few_or_constant_responses_are_not_moderated():
    rng = np.random.default_rng(4)
    fit = fit_linear(rng.normal(size=(12, 2)), _design(rng))
    assert moderate(fit).prior_df == 0
    constant = fit_linear(np.zeros((12, 5)), _design(rng))
    assert t_tests(constant, moderate(constant), 1)["p"].isna().all()


def test_degrees_of_freedom_are_bounded_by_what_the_data_are_worth():
    assert moderate(_fit(np.ones(10) + np.arange(10) * 1e-3)).df == 40
    assert moderate(_fit(np.ones(10) + np.arange(10) * 1e-3), n_independent=4.5).df == 18


def test_weighted_tests_are_those_of_observations_scaled_by_the_root_of_their_weights():
    rng = np.random.default_rng(0)
    design, responses, weights = _design(rng), rng.normal(size=(12, 7)), rng.gamma(2, 1, (12, 7))
    fit = fit_weighted(responses, design, weights, 3)
    single, joint = t_tests(fit, own_variances(fit), 1), f_tests(fit, own_variances(fit), [1, 2])
    for i, root in enumerate(np.sqrt(weights).T):
        scaled = fit_linear((root * responses[:, i])[:, None], root[:, None] * design)
        for found, expected in (
            (single, t_tests(scaled, own_variances(scaled), 1)),
            (joint, f_tests(scaled, own_variances(scaled), [1, 2])),
        ):
            np.testing.assert_allclose(found.loc[i], expected.loc[0], rtol=1e-8)


def test_variances_follow_their_trend_and_stay_level_beyond_it():
    covariate = np.linspace(0, 10, 400)
    variances = np.exp(2 - 0.3 * covariate) * np.random.default_rng(0).chisquare(20, 400) / 20
    found = variances_along(_fit(variances), covariate, np.array([[-5.0, 0.0], [5.0, 20.0]]))
    np.testing.assert_allclose(found, np.exp([[2, 2], [0.5, -1]]), rtol=0.15)
