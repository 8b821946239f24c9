"""The loss of maps: what it rewards, and what an unknown mask leaves out."""

from __future__ import annotations

import torch

from edgecnn.train.losses import MAP_WEIGHT, OVERLAP_WEIGHT, map_loss


def test_a_blank_map_of_even_odds_costs_the_cross_entropy_alone() -> None:
    loss = map_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))

    torch.testing.assert_close(loss, torch.tensor(MAP_WEIGHT * 0.6931472))


def test_the_right_map_costs_next_to_nothing_and_the_wrong_one_a_lot() -> None:
    wanted = torch.zeros(1, 1, 8, 8)
    wanted[..., :2, :2] = 1.0
    sure = 20.0 * (2 * wanted - 1)

    assert map_loss(sure, wanted) < 1e-4
    assert map_loss(-sure, wanted) > 10 * map_loss(torch.zeros_like(sure), wanted)


def test_the_overlap_is_dice() -> None:
    """Four of eight pixels that are said are meant, and all that are meant: (2 * 4 + 5) / (8 + 4 + 5)."""
    wanted, said = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    wanted[..., 0, :4], said[..., 0, :] = 1.0, 1.0
    logits = 50.0 * (2 * said - 1)
    crossed = MAP_WEIGHT * 4 * 50.0 / 64

    torch.testing.assert_close(map_loss(logits, wanted), torch.tensor(crossed + OVERLAP_WEIGHT * (1 - 13 / 17)))


def test_maps_that_nobody_drew_do_not_count() -> None:
    logits = torch.stack([torch.full((1, 4, 4), -3.0), torch.full((1, 4, 4), 3.0)])
    wanted = torch.zeros(2, 1, 4, 4)
    known = torch.tensor([[1.0], [0.0]])

    torch.testing.assert_close(map_loss(logits, wanted, known), map_loss(logits[:1], wanted[:1]))
