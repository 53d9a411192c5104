"""Particle swarm optimisation (Kennedy and Eberhart, 1995) with the constriction of Clerc and Kennedy (2002)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

_INERTIA, _PULL = 0.7298, 1.49618  # of the constricted swarm, as usual
_PARTICLES, _STEPS = 20, 40
_SEED = 0


def best(score: Callable[[Float64], float], dimensions: int) -> Float64:
    """The place in [0, 1]^dimensions where a swarm found the highest `score`: float64[dimensions], deterministic.

    The middle of all, and each corner of one dimension alone, are among the places where particles begin, so none of
    these is ever better. Of equal scores the first one found stays.
    """
    noise = np.random.default_rng(_SEED)
    begun = [np.full((1, dimensions), 0.5), np.eye(dimensions)]
    place = np.concatenate([*begun, noise.random((max(2, _PARTICLES - 1 - dimensions), dimensions))])
    speed = noise.uniform(-0.5, 0.5, place.shape)
    own, own_score = place.copy(), np.array([score(one) for one in place])
    for _ in range(_STEPS):
        leader = own[own_score.argmax()]
        pulls = noise.random((2, *place.shape))
        speed = _INERTIA * speed + _PULL * (pulls[0] * (own - place) + pulls[1] * (leader - place))
        place = np.clip(place + speed, 0.0, 1.0)
        found = np.array([score(one) for one in place])
        better = found > own_score
        own[better], own_score[better] = place[better], found[better]
    return np.asarray(own[own_score.argmax()])
