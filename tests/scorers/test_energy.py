import numpy as np
import pytest

from neuralrank.scorers import score


def test_a_case_worked_out_by_hand():
    result = score("energy", None, [0, 1], logits=[[0.0, 0.0], [np.log(3.0), np.log(5.0)]])
    assert result.terms == pytest.approx(np.log([2.0, 8.0]), rel=1e-12)
    assert result.value == pytest.approx(np.log(16.0) / 2, rel=1e-12)


def test_large_logits_do_not_overflow():
    assert score("energy", None, [0, 1], logits=[[1000.0, 1000.0], [-1000.0, -1000.0]]).value == pytest.approx(
        np.log(2.0), rel=1e-9
    )


def test_an_offset_of_the_logits_is_part_of_the_energy():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    labels = np.arange(20) % 2
    moved = score("energy", None, labels, logits=logits + 3.0).value
    assert moved == pytest.approx(score("energy", None, labels, logits=logits).value + 3.0, rel=1e-12)


def test_labels_are_not_used():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    values = {score("energy", None, labels, logits=logits).value for labels in (np.arange(20) % 2, np.arange(20) % 5)}
    assert len(values) == 1
