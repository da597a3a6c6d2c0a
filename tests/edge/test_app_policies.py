"""Policies and fronts over REST at the edge: listed, shown, and served as soon as the file changes."""

from typing import Any

import httpx

from edge.service import EdgeService
from policies.front import Front
from policies.fronts import Fronts
from tests.edge.test_app import FRONT_BODY, Picture, body, is_problem
from thinwire.bundle import FRONT, Bundle


async def test_policies_are_listed_and_shown(
    http: httpx.AsyncClient, bundle: Bundle, service: EdgeService, fine: Any, coarse: Any
) -> None:
    content = (await http.get("/v1/policies")).json()
    assert content == {
        "bundle": {"name": "test", "digest": bundle.digest},
        "digest": service.front_file.current.digest,
        "policies": [fine.to_json(), coarse.to_json()],
    }
    shown = (await http.get(f"/v1/policies/{coarse.policy.id}")).json()
    assert shown == {"id": coarse.policy.id, "measurements": [coarse.to_json()]}
    assert is_problem(await http.get("/v1/policies/p-unknown"), 404, "unknown_policy")


async def test_a_new_front_is_served_without_a_restart(
    http: httpx.AsyncClient, bundle: Bundle, coarse: Any, fine: Any, picture: Picture
) -> None:
    Fronts((Front(bundle.name, bundle.digest, (coarse,)),)).save(bundle.path(FRONT))
    content = (await http.get("/v1/policies")).json()
    assert [policy["id"] for policy in content["policies"]] == [coarse.policy.id]
    response = await http.post("/v1/classify", json=body(picture()))
    assert response.json()["policy"]["id"] == coarse.policy.id


async def test_a_policy_on_two_fronts_is_listed_and_shown_with_both_figures(
    http: httpx.AsyncClient, bundle: Bundle, coarse: Any, fading: Any
) -> None:
    fronts = Fronts(tuple(Front(bundle.name, bundle.digest, (one,)) for one in (coarse, fading)))
    fronts.save(bundle.path(FRONT))
    measurements = [coarse.to_json(), fading.to_json()]
    assert (await http.get("/v1/policies")).json()["policies"] == measurements
    shown = (await http.get(f"/v1/policies/{coarse.policy.id}")).json()
    assert shown == {"id": coarse.policy.id, "measurements": measurements}
    assert [one["channel"]["model"] for one in measurements] == ["awgn", "rayleigh"]


async def test_the_answer_says_which_front_the_policy_is_from(
    http: httpx.AsyncClient, bundle: Bundle, fine: Any, fading: Any, picture: Picture
) -> None:
    fronts = Fronts(tuple(Front(bundle.name, bundle.digest, (one,)) for one in (fine, fading)))
    fronts.save(bundle.path(FRONT))

    async def front(**parameters: Any) -> Any:
        response = await http.post("/v1/classify", json=body(picture(), **parameters))
        return response.json()["policy"]["front"]

    rayleigh = {"model": "rayleigh", "snr_db": 10.0}
    assert await front() == FRONT_BODY
    assert await front(channel={"model": "rayleigh", "snr_db": 0.0}) == rayleigh
    assert await front(policy=fading.policy.id) == rayleigh
    assert await front(policy="none") is None
