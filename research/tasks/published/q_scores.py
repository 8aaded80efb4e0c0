"""Scores of photos from votes on pairs, after Salesses, Schechtner & Hidalgo 2013 (equations 1-2).

With w wins, l losses and t ties of a photo, W = w / (w + l + t) and L = l / (w + l + t). Its score

    Q = 10/3 (W + mean of W over the photos that it beat - mean of L over those it lost to + 1)

lies in 0..10: a win over a photo that often wins counts for more, a loss to one that often loses
against it. A mean over no photo is 0. Each vote counts, so a photo that was beaten twice enters the
mean twice.
"""

import numpy as np
import pandas as pd


def salesses(left, right, choice) -> tuple[pd.Series, pd.Series]:
    """Q by photo id, and its number of votes. left, right: photo ids [n]; choice: "left", "right"
    or "equal" [n]. A vote of a photo against itself is left out."""
    left, right, choice = (np.asarray(v, dtype=object).astype(str) for v in (left, right, choice))
    real = left != right
    left, right, choice = left[real], right[real], choice[real]
    names, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(codes.reshape(-1), 2)
    tie = choice == "equal"
    winner = np.where(choice == "left", left, right)[~tie]
    loser = np.where(choice == "left", right, left)[~tie]
    n = len(names)
    wins, losses = np.bincount(winner, minlength=n), np.bincount(loser, minlength=n)
    count = np.bincount(left, minlength=n) + np.bincount(right, minlength=n)
    share_won, share_lost = wins / count, losses / count
    beaten = np.bincount(winner, weights=share_won[loser], minlength=n) / np.maximum(wins, 1)
    lost_to = np.bincount(loser, weights=share_lost[winner], minlength=n) / np.maximum(losses, 1)
    q = 10 / 3 * (share_won + beaten - lost_to + 1)
    return pd.Series(q, names), pd.Series(count, names)
