import numpy as np
import pytest

from normcore.experiments import signals


def test_relu_keeps_half_of_the_square():
    q, chi = signals.predict(3.0, "ReLU", depth=10)
    np.testing.assert_allclose(q, 3.0 * 1.5 ** np.arange(10), rtol=1e-10)
    np.testing.assert_allclose(chi, 1.5, rtol=1e-10)


def test_the_mean_field_of_tanh_agrees_with_a_sample():
    q, chi = signals.predict(2.0, "tanh", depth=2)
    a = np.sqrt(2.0) * np.random.default_rng(0).normal(size=2_000_000)
    assert q[1] == pytest.approx(2 * (np.tanh(a) ** 2).mean(), rel=2e-3)
    assert chi[0] == pytest.approx(2 * ((1 - np.tanh(a) ** 2) ** 2).mean(), rel=2e-3)


@pytest.mark.parametrize("activation", signals.ACTIVATIONS)
def test_wide_networks_follow_the_prediction(activation):
    r = signals.measure(1.5, activation, depth=8, width=1000, batch_size=32, seeds=range(2))
    q, chi = signals.predict(1.5, activation, depth=8)
    np.testing.assert_allclose(np.median(r.forward, 0), q, rtol=0.2)
    ratios = r.backward[:, :-1] / r.backward[:, 1:]
    np.testing.assert_allclose(np.median(ratios, 0), chi[:-1], rtol=0.2)


def test_the_parts_make_the_whole():
    r = signals.measure(2.0, depth=5, width=20, batch_size=7, seeds=range(2))
    assert r.forward.shape == (2, 5)
    np.testing.assert_allclose(r.mean + r.var, r.forward)


def test_a_scaled_layer_scales_the_gradient_of_all_others():
    good = signals.measure(2.0, depth=5, width=20, seeds=[3])
    bad = signals.measure(2.0, depth=5, width=20, seeds=[3], factors={2: 7.0})
    np.testing.assert_allclose(bad.of_weights / good.of_weights, [[49, 1, 49, 49, 49]])


def test_large_inputs_scale_the_gradient_of_all_weights_alike():
    plain = signals.measure(2.0, depth=5, width=20, seeds=[3])
    large = signals.measure(2.0, depth=5, width=20, seeds=[3], factors={0: 7.0})
    np.testing.assert_allclose(large.of_weights / plain.of_weights, 49)
    np.testing.assert_allclose(large.backward, plain.backward)


def test_panels_share_their_legend_and_have_their_predictions():
    runs = {"one": np.ones((3, 8)), "two": np.full((3, 8), 2.0)}
    fig = signals.draw({"forward": runs, "backward": runs}, {"backward": [np.ones(8)]})
    assert [ax.get_ylabel() for ax in fig.axes] == ["forward", "backward"]
    assert [len(ax.lines) for ax in fig.axes] == [2, 3]
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_rate_is_the_factor_a_layer():
    values = np.array([[5 * 1.3**k for k in range(12)]])
    np.testing.assert_allclose(signals.rate(values, 3, 9), 1.3)
